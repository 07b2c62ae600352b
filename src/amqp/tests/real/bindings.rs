//! The reply queue bound to an exchange of workers' results, a task at a time.

use crate::support::{Corner, PATIENCE, Proxy, corner, eventually, ready};
use futures_util::future::join_all;
use gateway_amqp::{Client, ControlError, Inbox};
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};
use tokio::time::timeout;

/// A test with an exchange of its own.
async fn with_exchange(name: &str, test: impl AsyncFnOnce(&Corner, &str)) {
    corner(name, async |corner| {
        let exchange = corner.queue.replace("queue", "exchange");
        test(corner, &exchange).await;
        corner.raw.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.expect("deleted");
    })
    .await;
}

/// A task's queue, as Celery's workers declare it.
async fn workers_queue(corner: &Corner, exchange: &str, key: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(86_400_000));
    let options = QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() };
    corner.raw.queue_declare(key.into(), options, arguments).await.expect("declared");
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    corner.raw.queue_bind(key.into(), exchange.into(), key.into(), options, arguments).await.expect("bound");
}

async fn next(inbox: &mut Inbox) -> Vec<u8> {
    let delivery = timeout(PATIENCE, inbox.deliveries.recv()).await.expect("a delivery in time").expect("it lives");
    let body = delivery.body.to_vec();
    delivery.receipt.ack();
    body
}

async fn send(corner: &Corner, exchange: &str, key: &str, body: &str) {
    corner.put(exchange, key, body.as_bytes(), BasicProperties::default()).await;
}

async fn is_there(client: &Client, queue: &str) -> bool {
    match client.queue(queue).await {
        Ok(_) => true,
        Err(ControlError::NoSuchQueue) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_is_bound_comes_to_us_until_it_is_released() {
    with_exchange("bound", async |corner, exchange| {
        let (client, mut inbox) = corner.client().await;
        client.bind(exchange, "a").await.expect("bound");
        client.bind(exchange, "a").await.expect("twice is once");
        workers_queue(corner, exchange, "a").await;
        send(corner, exchange, "a", "1").await;
        send(corner, exchange, "b", "nobody's").await;
        send(corner, exchange, "a", "2").await;
        assert_eq!((next(&mut inbox).await, next(&mut inbox).await), (b"1".to_vec(), b"2".to_vec()));
        assert!(is_there(&client, "a").await);
        client.release(exchange, "a").await.expect("released");
        assert!(!is_there(&client, "a").await, "a task's queue goes with its binding");
        client.release(exchange, "a").await.expect("what is gone is gone");
        send(corner, exchange, "a", "3").await;
        corner.reply(4, true).await;
        let body = String::from_utf8(next(&mut inbox).await).expect("text");
        assert!(body.contains("\"result\": 4"), "{body}");
    })
    .await;
}

#[tokio::test]
async fn many_are_bound_at_once_and_stay_when_the_connection_goes() {
    with_exchange("many", async |corner, exchange| {
        let proxy = Proxy::start().await;
        let (client, mut inbox) = Client::start(corner.settings_at(&proxy.url));
        ready(&client).await;
        let keys: Vec<_> = (0..300).map(|n| format!("key-{n}")).collect();
        // A busy broker may not answer all of them in time.
        let bind = async |key: &str| eventually("it is bound", async || client.bind(exchange, key).await.is_ok()).await;
        join_all(keys.iter().map(|key| bind(key))).await;
        proxy.cut();
        for key in &keys {
            send(corner, exchange, key, key).await;
        }
        for key in &keys {
            assert_eq!(next(&mut inbox).await, key.as_bytes());
        }
        // The channels of the old connection are not used any more.
        eventually("bindings are made again", async || client.bind(exchange, "late").await.is_ok()).await;
        send(corner, exchange, "late", "late").await;
        assert_eq!(next(&mut inbox).await, b"late");
    })
    .await;
}

#[tokio::test]
async fn an_exchange_that_is_gone_is_declared_again() {
    with_exchange("gone", async |corner, exchange| {
        let (client, mut inbox) = corner.client().await;
        client.bind(exchange, "a").await.expect("bound");
        corner.raw.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.expect("deleted");
        // The first one finds out.
        eventually("bound again", async || client.bind(exchange, "b").await.is_ok()).await;
        send(corner, exchange, "b", "b").await;
        assert_eq!(next(&mut inbox).await, b"b");
    })
    .await;
}

#[tokio::test]
async fn an_exchange_that_differs_is_told_and_used() {
    with_exchange("other", async |corner, exchange| {
        let (kind, options) = (ExchangeKind::Topic, ExchangeDeclareOptions { durable: true, ..Default::default() });
        corner.raw.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await.expect("declared");
        let (client, mut inbox) = corner.client().await;
        client.bind(exchange, "a").await.expect("bound");
        let fault = client.state().borrow().faults[exchange].clone();
        assert!(fault.contains("not as Celery declares it"), "{fault}");
        send(corner, exchange, "a", "1").await;
        assert_eq!(next(&mut inbox).await, b"1");
    })
    .await;
}

#[tokio::test]
async fn a_tasks_queue_that_somebody_reads_stays() {
    with_exchange("read", async |corner, exchange| {
        let (client, _inbox) = corner.client().await;
        let key = corner.nobody.as_str();
        client.bind(exchange, key).await.expect("bound");
        workers_queue(corner, exchange, key).await;
        let options = BasicConsumeOptions::default();
        let _reader = corner.raw.basic_consume(key.into(), "".into(), options, FieldTable::default()).await;
        assert!(matches!(client.release(exchange, key).await, Err(ControlError::Refused(_))));
        assert!(is_there(&client, key).await);
        // The next one has a channel of its own again.
        client.release(exchange, "other").await.expect("released");
    })
    .await;
}

#[tokio::test]
async fn without_a_connection_nothing_is_bound() {
    corner("unbound", async |corner| {
        let (client, _inbox) = Client::start(corner.settings_at("amqp://guest:guest@127.0.0.1:1/%2f"));
        assert_eq!(client.bind("e", "k").await, Err(ControlError::NotConnected));
        let long = "k".repeat(256);
        assert!(matches!(client.bind("e", &long).await, Err(ControlError::Refused(_))));
        client.close(PATIENCE).await;
    })
    .await;
}
