//! A worker's end.

use crate::support::{Corner, PATIENCE, corner, eventually};
use gateway_amqp::{Fate, IncomingTask, WorkerClient, WorkerInbox, WorkerSettings};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::time::timeout;
use uuid::Uuid;

async fn task(inbox: &mut WorkerInbox) -> IncomingTask {
    timeout(PATIENCE, inbox.tasks.recv()).await.expect("a task in time").expect("the client lives")
}

async fn consumers(corner: &Corner) -> u32 {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
    let queue = corner.raw.queue_declare(corner.queue.as_str().into(), options, FieldTable::default()).await;
    queue.expect("the queue is there").consumer_count()
}

#[tokio::test]
async fn tasks_that_are_still_here_take_room_when_a_queue_is_consumed_again() {
    corner("room", async |corner| {
        let settings = corner.settings();
        let node = format!("w-{}@test", Uuid::now_v7());
        // Nothing is sent twice because the machine is busy: what is here is counted.
        let publish_timeout = PATIENCE;
        let settings =
            WorkerSettings { publish_timeout, ..WorkerSettings::new(settings.address, node, settings.queues) };
        let (client, mut inbox) = WorkerClient::start(settings);
        client.prefetch(0, 2);
        eventually("it consumes", async || client.state().borrow().consume.is_up()).await;
        for number in 1..=8 {
            let message = corner.publication(number, &corner.queue).message;
            eventually("it is sent", async || client.publish(message.clone()).await == Fate::Sent).await;
        }
        let (first, second) = (task(&mut inbox).await, task(&mut inbox).await);
        client.prefetch(0, 0);
        eventually("nobody consumes", async || consumers(corner).await == 0).await;
        client.prefetch(0, 2);
        assert!(first.receipt.ack().await);
        let third = task(&mut inbox).await;
        assert_eq!(corner.waiting().await, 5, "one made room for one");
        client.prefetch(0, 3);
        let fourth = task(&mut inbox).await;
        assert_eq!(corner.waiting().await, 4);
        for held in [second, third, fourth] {
            assert!(held.receipt.ack().await);
        }
        for _ in 5..=8 {
            assert!(task(&mut inbox).await.receipt.ack().await);
        }
        eventually("one consumer is left", async || consumers(corner).await == 1).await;
        client.close(PATIENCE).await;
    })
    .await;
}
