//! A broker short of memory, which takes no messages. It would hold up every other test, so it has a program of its own;
//! cargo runs one test program after the other. Needs `SG_TEST_RABBITMQCTL` too (`tests/run` sets it).

#[path = "real/support.rs"]
#[expect(dead_code, reason = "shared with the other test program, which uses all of it")]
mod support;

use futures_util::FutureExt;
use gateway_amqp::{Client, Fate, Link, Reason};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;
use support::{PATIENCE, corner, outcome, ready};
use tokio::process::Command;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

/// 0: every message is too much.
async fn watermark(share: &str) {
    let ctl = std::env::var("SG_TEST_RABBITMQCTL").unwrap_or_else(|_| {
        panic!("SG_TEST_RABBITMQCTL is not set: this test commands a RabbitMQ; tests/run starts one and runs it")
    });
    let done = timeout(PATIENCE, Command::new(ctl).args(["set_vm_memory_high_watermark", share]).output()).await;
    let done = done.expect("rabbitmqctl ends in time").expect("rabbitmqctl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn a_blocking_broker_is_told_and_everything_else_goes_on() {
    corner("alarm", async |corner| {
        let mut settings = corner.settings();
        // Longer than a busy broker takes to say that it blocks.
        let publish_timeout = Duration::from_secs(12);
        settings.publish_timeout = publish_timeout;
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        corner.reply(1, true).await;
        watermark("0").await;
        let test = async {
            // The broker says that it blocks only to who publishes.
            let first = corner.publication(1, &corner.queue);
            client.publish(first).await.expect("accepted");
            let published = Instant::now();
            let mut state = client.state();
            let blocked = state.wait_for(|s| matches!(&s.publish, Link::Blocked(why) if why.contains("memory")));
            timeout(PATIENCE, blocked).await.expect("told in time").expect("the client lives");
            let declined = client.publish(corner.publication(2, &corner.queue)).await.expect_err("blocked");
            assert!(matches!(declined.reason, Reason::NotConnected(why) if why.contains("memory")));
            // Results come, receipts go, questions are answered.
            let result = timeout(PATIENCE, inbox.deliveries.recv()).await.expect("in time").expect("a result");
            result.receipt.ack();
            assert_eq!(client.queue(&corner.queue).await.map(|q| q.messages), Ok(0));
            sleep_until(published + publish_timeout + Duration::from_secs(1)).await;
        };
        let ended = AssertUnwindSafe(test).catch_unwind().await;
        watermark("0.4").await;
        ended.unwrap_or_else(|panic| resume_unwind(panic));
        ready(&client).await;
        // Longer than its time to publish it was only held up: it is not given up, and would not be sent twice.
        let held = outcome(&mut inbox).await;
        assert_eq!((held.id, held.fate), (Uuid::from_u128(1), Fate::Sent));
        client.publish(corner.publication(3, &corner.queue)).await.expect("accepted");
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        assert_eq!(inbox.outcomes.try_recv(), None);
        assert_eq!(corner.waiting().await, 2);
    })
    .await;
}
