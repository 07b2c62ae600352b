//! Topology and its faults, questions, commands.

use crate::support::{PATIENCE, corner, outcome, ready};
use futures_util::StreamExt;
use gateway_amqp::{Client, ControlError, Fate, Kind, QueueSpec, QueueState};
use gateway_celery::{Field, Stamp, command};
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;
use uuid::Uuid;

#[tokio::test]
async fn a_queue_that_differs_is_told_and_used_as_it_is() {
    corner("differs", async |corner| {
        let mut other = FieldTable::default();
        other.insert("x-max-length".into(), AMQPValue::LongInt(100));
        let durable = QueueDeclareOptions::durable();
        for queue in [&corner.queue, &corner.replies] {
            corner.raw.queue_declare(queue.as_str().into(), durable, other.clone()).await.expect("declared");
        }
        let mut settings = corner.settings();
        // Further queues are declared all the same.
        settings.queues.push(QueueSpec {
            name: corner.nobody.clone(),
            kind: Kind::Quorum,
            arguments: vec![("x-delivery-limit".into(), Field::Int(20))],
        });
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        let faults = client.state().borrow().faults.clone();
        assert_eq!(faults.keys().collect::<Vec<_>>(), [&corner.queue, &corner.replies]);
        let text = &faults[&corner.queue];
        for part in [corner.queue.as_str(), "x-max-length", "not as configured", "used as it is"] {
            assert!(text.contains(part), "{text}");
        }
        for queue in [&corner.queue, &corner.nobody] {
            client.publish(corner.publication(1, queue)).await.expect("accepted");
            assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        }
        corner.reply(1, true).await;
        assert!(timeout(PATIENCE, inbox.deliveries.recv()).await.expect("a delivery in time").is_some());
    })
    .await;
}

#[tokio::test]
async fn the_queues_that_are_declared_are_as_stock_celery_declares_them() {
    corner("stock", async |corner| {
        let (_client, _inbox) = corner.client().await;
        let durable = QueueDeclareOptions::durable();
        // Would be an error if ours differed.
        corner.raw.queue_declare(corner.queue.as_str().into(), durable, FieldTable::default()).await.expect("the same");
        let mut single = FieldTable::default();
        single.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        corner.raw.queue_declare(corner.replies.as_str().into(), durable, single).await.expect("the same");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_cannot_be_is_a_fault_not_an_end() {
    corner("names", async |corner| {
        let mut settings = corner.settings();
        for name in ["q".repeat(300), String::new()] {
            settings.queues.insert(0, QueueSpec { name, kind: Kind::Classic, arguments: Vec::new() });
        }
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        assert_eq!(client.state().borrow().faults.len(), 2);
        client.publish(corner.publication(1, &corner.queue)).await.expect("accepted");
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
    })
    .await;
}

#[tokio::test]
async fn questions_about_queues_are_answered() {
    corner("questions", async |corner| {
        let (client, mut inbox) = corner.client().await;
        for n in 1..=3 {
            client.publish(corner.publication(n, &corner.queue)).await.expect("accepted");
            assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        }
        assert_eq!(client.queue(&corner.queue).await, Ok(QueueState { messages: 3, consumers: 0 }));
        assert_eq!(client.queue(&corner.replies).await, Ok(QueueState { messages: 0, consumers: 1 }));
        assert_eq!(client.queue(&corner.nobody).await, Err(ControlError::NoSuchQueue));
        assert!(matches!(client.queue(&"q".repeat(300)).await, Err(ControlError::Refused(_))));
        assert!(matches!(client.queue("").await, Err(ControlError::Refused(_))));
        // Many at once, more than there are turns.
        let many = (0..50).map(|n| client.queue(if n % 2 == 0 { &corner.queue } else { &corner.nobody }));
        for (n, answer) in futures_util::future::join_all(many).await.into_iter().enumerate() {
            assert_eq!(answer.is_ok(), n % 2 == 0, "{answer:?}");
        }
        assert!(client.state().borrow().control.is_up());
    })
    .await;
}

#[tokio::test]
async fn commands_reach_whoever_listens() {
    corner("commands", async |corner| {
        let (client, _inbox) = corner.client().await;
        let stamp = Stamp { clock: 1, expires: 1_800_000_000.0 };
        let fanout = lapin::ExchangeKind::Fanout;
        let (plain, none) = (ExchangeDeclareOptions::default(), FieldTable::default);
        corner.raw.exchange_declare("celery.pidbox".into(), fanout, plain, none()).await.expect("as Celery's");
        let ours = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = corner.raw.queue_declare("".into(), ours, none()).await.expect("a queue").name().clone();
        let bind = QueueBindOptions::default();
        corner.raw.queue_bind(queue.clone(), "celery.pidbox".into(), "".into(), bind, none()).await.expect("bound");
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let mut heard = corner.raw.basic_consume(queue.clone(), "".into(), options, none()).await.expect("consuming");

        let id = Uuid::now_v7();
        let arguments = serde_json::json!({ "task_id": id, "terminate": true, "signal": "SIGTERM" });
        client.broadcast(&command("revoke", &arguments, stamp)).await.expect("broadcast");
        loop {
            let got = timeout(PATIENCE, heard.next()).await.expect("in time").expect("consuming").expect("a message");
            let body: serde_json::Value = serde_json::from_slice(&got.data).expect("JSON");
            if body["arguments"]["task_id"] == id.to_string() {
                assert_eq!((&body["method"], &body["arguments"]["signal"]), (&"revoke".into(), &"SIGTERM".into()));
                break;
            }
        }
        corner.raw.queue_delete(queue, QueueDeleteOptions::default()).await.expect("deleted");

        let mut long = command("revoke", &arguments, stamp);
        long.exchange = "x".repeat(300);
        assert!(matches!(client.broadcast(&long).await, Err(ControlError::Refused(_))));
    })
    .await;
}
