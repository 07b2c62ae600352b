//! Dead letters.

use crate::support::{Corner, PATIENCE, Proxy, corner, eventually, ready};
use gateway_amqp::{Client, DeadLetter, Inbox, Publication};
use gateway_celery::Field;
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicRejectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;
use uuid::Uuid;

/// Settings with a queue whose dead letters go to the corner's third queue, after `ttl` milliseconds if that is given.
fn settings(corner: &Corner, ttl: Option<i32>) -> gateway_amqp::Settings {
    let mut settings = corner.settings();
    let arguments =
        [("x-dead-letter-exchange", Field::from("")), ("x-dead-letter-routing-key", (&*corner.nobody).into())];
    let arguments = arguments.into_iter().chain(ttl.map(|ttl| ("x-message-ttl", Field::Int(ttl))));
    settings.queues[0].arguments = arguments.map(|(name, value)| (name.to_owned(), value)).collect();
    settings.dead_letters = vec![corner.nobody.clone()];
    settings
}

async fn letter(inbox: &mut Inbox) -> DeadLetter {
    timeout(PATIENCE, inbox.dead_letters.recv()).await.expect("a dead letter in time").expect("the client lives")
}

async fn reject_one(corner: &Corner) {
    eventually("a message to reject", async || {
        let options = BasicGetOptions::default();
        match corner.raw.basic_get(corner.queue.as_str().into(), options).await.expect("an answer") {
            Some(message) => message.acker.reject(BasicRejectOptions { requeue: false }).await.expect("rejected"),
            None => false,
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_expired_says_so() {
    corner("expired", async |corner| {
        let (client, mut inbox) = Client::start(settings(corner, Some(1)));
        ready(&client).await;
        client.publish(corner.publication(7, &corner.queue)).await.expect("accepted");
        let letter = letter(&mut inbox).await;
        assert_eq!((letter.task, letter.attempt), (Some(Uuid::from_u128(7)), 1));
        assert_eq!(letter.found_in, corner.nobody);
        let death = letter.death.expect("a cause");
        assert_eq!((death.reason.as_str(), &death.queue, death.count), ("expired", &corner.queue, 1));
        assert!(death.first.is_some_and(|at| at > 1_700_000_000));
    })
    .await;
}

#[tokio::test]
async fn a_message_that_was_rejected_says_which_copy_it_was() {
    corner("rejected", async |corner| {
        let (client, mut inbox) = Client::start(settings(corner, None));
        ready(&client).await;
        let publication = corner.publication(7, &corner.queue);
        client.publish(Publication { attempt: 3, ..publication }).await.expect("accepted");
        reject_one(corner).await;
        let letter = letter(&mut inbox).await;
        assert_eq!((letter.task, letter.attempt), (Some(Uuid::from_u128(7)), 3));
        assert_eq!(letter.death.expect("a cause").reason, "rejected");
        letter.receipt.ack();
        client.close(PATIENCE).await;
        let (client, _inbox) = corner.client().await;
        let left = async || client.queue(&corner.nobody).await.expect("it is there").messages;
        eventually("the broker has the receipt", async || left().await == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_dead_letter_without_its_receipt_comes_again() {
    corner("dead-again", async |corner| {
        let proxy = Proxy::start().await;
        let at_proxy =
            gateway_amqp::Settings { address: corner.settings_at(&proxy.url).address, ..settings(corner, None) };
        let (client, mut inbox) = Client::start(at_proxy);
        ready(&client).await;
        // What no gateway sent: nobody's.
        corner.put("", &corner.nobody, b"[1]", BasicProperties::default()).await;
        let first = letter(&mut inbox).await;
        assert_eq!((first.task, first.attempt, first.death), (None, 1, None));
        proxy.cut();
        let again = letter(&mut inbox).await;
        again.receipt.ack();
        drop(first.receipt);
        client.close(PATIENCE).await;
        let (client, _inbox) = corner.client().await;
        let left = async || client.queue(&corner.nobody).await.expect("it is there").messages;
        eventually("the broker has the receipt", async || left().await == 0).await;
    })
    .await;
}

#[tokio::test]
async fn the_id_is_found_wherever_it_stands() {
    corner("ids", async |corner| {
        let (client, mut inbox) = Client::start(settings(corner, None));
        ready(&client).await;
        let id = Uuid::from_u128(9).to_string();
        let mut headers = FieldTable::default();
        headers.insert("id".into(), AMQPValue::LongString(id.as_str().into()));
        let body = format!(r#"{{"task": "worker.stub", "id": "{id}", "args": []}}"#);
        let plain = BasicProperties::default;
        for (properties, body) in [
            (plain().with_correlation_id(id.as_str().into()), "x"),
            (plain().with_correlation_id("no id".into()).with_message_id(id.as_str().into()), "x"),
            (plain().with_headers(headers), "x"),
            (plain(), body.as_str()),
        ] {
            corner.put("", &corner.nobody, body.as_bytes(), properties).await;
            let letter = letter(&mut inbox).await;
            assert_eq!(letter.task, Some(Uuid::from_u128(9)));
            letter.receipt.ack();
        }
    })
    .await;
}

#[tokio::test]
async fn a_queue_of_dead_letters_is_used_as_it_is_and_made_again() {
    corner("dead-queue", async |corner| {
        let mut other = FieldTable::default();
        other.insert("x-max-length".into(), AMQPValue::LongInt(100));
        let durable = QueueDeclareOptions::durable();
        corner.raw.queue_declare(corner.nobody.as_str().into(), durable, other).await.expect("declared");
        let (client, mut inbox) = Client::start(settings(corner, None));
        ready(&client).await;
        assert!(client.state().borrow().faults.is_empty());
        corner.put("", &corner.nobody, b"1", BasicProperties::default()).await;
        letter(&mut inbox).await.receipt.ack();

        let nobody = || corner.nobody.as_str().into();
        corner.raw.queue_delete(nobody(), QueueDeleteOptions::default()).await.expect("deleted");
        let mut state = client.state();
        let told = state.wait_for(|state| state.faults.contains_key(&corner.nobody));
        let fault = timeout(PATIENCE, told).await.expect("in time").expect("it lives").faults[&corner.nobody].clone();
        assert!(fault.contains("not read"), "{fault}");
        let mended = state.wait_for(|state| state.faults.is_empty());
        timeout(PATIENCE, mended).await.expect("in time").expect("it lives");
        corner.put("", &corner.nobody, b"2", BasicProperties::default()).await;
        letter(&mut inbox).await.receipt.ack();
    })
    .await;
}

#[tokio::test]
async fn what_waits_to_be_read_is_bounded() {
    corner("dead-bound", async |corner| {
        let (client, mut inbox) = Client::start(settings(corner, None));
        ready(&client).await;
        for _ in 0..100 {
            corner.put("", &corner.nobody, b"x", BasicProperties::default()).await;
        }
        let left = async || client.queue(&corner.nobody).await.expect("it is there").messages;
        eventually("the rest stays with the broker", async || left().await == 100 - 32).await;
        for _ in 0..100 {
            letter(&mut inbox).await.receipt.ack();
        }
    })
    .await;
}
