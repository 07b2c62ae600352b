//! Results, receipts, redelivery, events.

use crate::support::{Corner, PATIENCE, Proxy, corner, eventually, ready};
use gateway_amqp::{Client, Delivery, Inbox};
use gateway_celery::{Event, Hello, TaskEventKind, WorkerEventKind, report};
use lapin::BasicProperties;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use tokio::time::timeout;
use uuid::Uuid;

async fn delivery(inbox: &mut Inbox) -> Delivery {
    timeout(PATIENCE, inbox.deliveries.recv()).await.expect("a delivery in time").expect("the client lives")
}

fn number(delivery: &Delivery) -> u128 {
    let (kind, encoding) = (delivery.content_type.as_deref(), delivery.content_encoding.as_deref());
    let id = delivery.correlation_id.as_deref();
    report(id, kind, encoding, &delivery.body, 1 << 20).expect("a result").id.as_u128()
}

async fn in_reply_queue(corner: &Corner, client: &Client) -> u32 {
    client.queue(&corner.replies).await.expect("the reply queue").messages
}

#[tokio::test]
async fn results_come_in_order_and_go_with_their_receipt() {
    corner("results", async |corner| {
        let (client, mut inbox) = corner.client().await;
        for n in 1..=100 {
            corner.reply(n, n % 2 == 0).await;
        }
        for n in 1..=100 {
            let delivery = delivery(&mut inbox).await;
            assert_eq!(number(&delivery), n);
            assert_eq!((delivery.persistent, delivery.redelivered), (n % 2 == 0, false));
            delivery.receipt.ack();
        }
        client.close(PATIENCE).await;
        let (other, _inbox) = corner.client().await;
        assert_eq!(in_reply_queue(corner, &other).await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_has_no_receipt_comes_again() {
    corner("again", async |corner| {
        let proxy = Proxy::start().await;
        let mut settings = corner.settings_at(&proxy.url);
        settings.prefetch = 2;
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        for n in 1..=3 {
            corner.reply(n, true).await;
        }
        let (first, second) = (delivery(&mut inbox).await, delivery(&mut inbox).await);
        first.receipt.ack();
        // Only two may be out: the third comes when the broker has the receipt.
        assert_eq!(number(&delivery(&mut inbox).await), 3);
        proxy.cut();
        let again = delivery(&mut inbox).await;
        assert_eq!((number(&again), again.redelivered), (2, true));
        assert_eq!(number(&delivery(&mut inbox).await), 3);
        // The old receipt belongs to a channel that is gone: it must not acknowledge anything of the new one.
        second.receipt.ack();
        ready(&client).await;
        proxy.cut();
        let third = delivery(&mut inbox).await;
        assert_eq!((number(&third), third.redelivered), (2, true));
        third.receipt.ack();
        delivery(&mut inbox).await.receipt.ack();
        again.receipt.ack();
        client.close(PATIENCE).await;
        let (other, _inbox) = corner.client().await;
        assert_eq!(in_reply_queue(corner, &other).await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_its_receipt_is_bounded() {
    corner("prefetch", async |corner| {
        let mut settings = corner.settings();
        settings.prefetch = 10;
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        for n in 1..=30 {
            corner.reply(n, false).await;
        }
        eventually("20 stay with the broker", async || in_reply_queue(corner, &client).await == 20).await;
        for n in 1..=30 {
            let delivery = delivery(&mut inbox).await;
            assert_eq!(number(&delivery), n);
            delivery.receipt.ack();
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_gateways_one_receives_until_it_goes() {
    corner("single-active", async |corner| {
        let (first, mut first_inbox) = corner.client().await;
        let (second, mut second_inbox) = corner.client().await;
        for n in 1..=20 {
            corner.reply(n, true).await;
        }
        for n in 1..=20 {
            let delivery = delivery(&mut first_inbox).await;
            assert_eq!(number(&delivery), n);
            if n <= 10 {
                delivery.receipt.ack();
            }
        }
        assert!(second_inbox.deliveries.try_recv().is_err());
        first.close(PATIENCE).await;
        for n in 11..=20 {
            let delivery = delivery(&mut second_inbox).await;
            assert_eq!((number(&delivery), delivery.redelivered), (n, true));
            delivery.receipt.ack();
        }
        second.close(PATIENCE).await;
    })
    .await;
}

#[tokio::test]
async fn events_of_workers_and_tasks_are_read() {
    corner("events", async |corner| {
        let (_client, mut inbox) = corner.client().await;
        let host = corner.queue.as_str();
        let id = Uuid::now_v7();
        let heartbeat = format!(r#"{{"type": "worker-heartbeat", "hostname": "{host}", "active": 3, "freq": 2.0}}"#);
        let tasks = format!(
            r#"[{{"type": "task-received", "hostname": "{host}", "uuid": "{id}"}}, {{"type": "task-started", "hostname": "{host}", "uuid": "{id}"}}]"#
        );
        let put = async |key: &str, body: &str| {
            corner.put("celeryev", key, body.as_bytes(), BasicProperties::default()).await;
        };
        put("worker.heartbeat", "no JSON").await;
        put("worker.heartbeat", &heartbeat).await;
        put("task.multi", &tasks).await;
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let event = timeout(PATIENCE, inbox.events.recv()).await.expect("events in time").expect("the client lives");
            // Other tests' events come here too.
            match event {
                Event::Worker(event) if event.hostname == host => {
                    assert_eq!((event.kind, event.active), (WorkerEventKind::Heartbeat, Some(3)));
                    seen.push(None);
                }
                Event::Task(event) if event.hostname == host => {
                    assert_eq!(event.id, id);
                    seen.push(Some(event.kind));
                }
                _ => {}
            }
        }
        assert_eq!(seen, [None, Some(TaskEventKind::Received), Some(TaskEventKind::Started)]);
    })
    .await;
}

#[tokio::test]
async fn what_a_starting_worker_asks_is_heard_and_can_be_answered() {
    corner("hello", async |corner| {
        let (client, mut inbox) = corner.client().await;
        // As a worker does it: a queue for the answers, then the question to all.
        let (key, none) = (Uuid::now_v7().to_string(), FieldTable::default);
        let (direct, plain) = (lapin::ExchangeKind::Direct, ExchangeDeclareOptions::default());
        corner.raw.exchange_declare("reply.celery.pidbox".into(), direct, plain, none()).await.expect("as Celery's");
        let ours = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = corner.raw.queue_declare("".into(), ours, none()).await.expect("a queue").name().clone();
        let (exchange, bind) = ("reply.celery.pidbox".into(), QueueBindOptions::default());
        corner.raw.queue_bind(queue.clone(), exchange, key.as_str().into(), bind, none()).await.expect("bound");
        let question = serde_json::json!({
            "method": "hello", "arguments": {"from_node": "w@h", "revoked": []}, "ticket": key,
            "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": key},
        });
        let question = question.to_string();
        corner.put("celery.pidbox", "", question.as_bytes(), BasicProperties::default()).await;

        let expected = Hello::read(question.as_bytes(), 10_000).expect("a question");
        let hello = loop {
            // Other tests' questions come here too.
            match timeout(PATIENCE, inbox.events.recv()).await.expect("in time").expect("the client lives") {
                Event::Hello(hello) if hello == expected => break hello,
                _ => {}
            }
        };
        let revoked = Uuid::now_v7();
        client.answer(&hello.answer("gateway@h", &[revoked], 1)).await.expect("answered");
        let answer = timeout(PATIENCE, async {
            loop {
                let got = corner.raw.basic_get(queue.clone(), Default::default()).await.expect("the broker answers");
                if let Some(message) = got {
                    return message.delivery;
                }
                tokio::task::yield_now().await;
            }
        });
        let answer = answer.await.expect("an answer in time");
        let body: serde_json::Value = serde_json::from_slice(&answer.data).expect("JSON");
        assert_eq!(body["gateway@h"]["revoked"], serde_json::json!([revoked]));
        corner.raw.queue_delete(queue, QueueDeleteOptions::default()).await.expect("deleted");
    })
    .await;
}
