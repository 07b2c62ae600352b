//! Sent, unroutable and refused told apart; timeouts; closing.

use crate::support::{PATIENCE, Proxy, body, corner, eventually, outcome, ready};
use gateway_amqp::{Client, Fate, MAX_PENDING, Reason};
use gateway_celery::Field;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

#[tokio::test]
async fn what_is_confirmed_is_in_the_queue_as_it_was_sent() {
    corner("confirmed", async |corner| {
        let (client, mut inbox) = corner.client().await;
        let sent = corner.publication(7, &corner.queue);
        client.publish(sent.clone()).await.expect("accepted");
        let told = outcome(&mut inbox).await;
        assert_eq!((told.id, told.attempt, told.fate), (sent.id, 1, Fate::Sent));

        let got = corner.raw.basic_get(corner.queue.as_str().into(), Default::default()).await;
        let got = got.expect("the broker answers").expect("a message").delivery;
        assert_eq!(got.data, sent.message.body);
        let properties = &got.properties;
        assert_eq!(*properties.delivery_mode(), Some(2));
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        assert_eq!(text(properties.message_id()), Some(sent.id.to_string()));
        assert_eq!(text(properties.correlation_id()), Some(sent.id.to_string()));
        assert_eq!(text(properties.reply_to()), Some(corner.replies.clone()));
        let headers = properties.headers().as_ref().expect("headers");
        assert_eq!(headers.inner().len(), sent.message.headers.len());
        client.close(PATIENCE).await;
        assert!(matches!(client.publish(sent).await.expect_err("closed").reason, Reason::Closed));
        assert_eq!(inbox.outcomes.recv().await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_5000_messages_each_unroutable_one_is_told() {
    corner("exact", async |corner| {
        let (client, mut inbox) = corner.client().await;
        const ALL: u128 = 5_000;
        let nowhere = |n: u128| n.wrapping_mul(0x9e37_79b9).is_multiple_of(3);
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..8 {
            let client = client.clone();
            let mine = (0..ALL).filter(move |n| n % 8 == sender);
            let publications: Vec<_> =
                mine.map(|n| corner.publication(n, if nowhere(n) { &corner.nobody } else { &corner.queue })).collect();
            senders.spawn(async move {
                for publication in publications {
                    client.publish(publication).await.expect("accepted");
                }
            });
        }
        let mut fates = HashMap::new();
        while fates.len() < ALL as usize {
            let told = outcome(&mut inbox).await;
            assert_eq!(fates.insert(told.id.as_u128(), told.fate), None, "told twice");
        }
        senders.join_all().await;
        let wrong = (0..ALL).filter(|n| match &fates[n] {
            Fate::Sent => nowhere(*n),
            Fate::Unroutable(why) => !nowhere(*n) || !why.contains(&corner.nobody),
            other => panic!("{n}: {other:?}"),
        });
        assert_eq!(wrong.count(), 0);
        let routed = (0..ALL).filter(|n| !nowhere(*n)).count();
        assert_eq!(corner.waiting().await as usize, routed);
        assert_eq!(inbox.outcomes.try_recv(), None);
    })
    .await;
}

#[tokio::test]
async fn what_the_broker_cannot_take_is_refused_and_harms_nothing() {
    corner("refused", async |corner| {
        let mut settings = corner.settings();
        settings.max_message = 1000;
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        let plain = |n| corner.publication(n, &corner.queue);
        let mut large = plain(1);
        large.message.body = body(1001);
        let mut wide = plain(2);
        wide.message.headers.push(("note".into(), Field::Text("x".repeat(20_000))));
        let long = corner.publication(3, &"q".repeat(256));
        for (publication, why) in [(large, "1001 bytes"), (wide, "headers"), (long, "256 bytes")] {
            client.publish(publication).await.expect("accepted");
            match outcome(&mut inbox).await.fate {
                Fate::Refused(text) => assert!(text.contains(why), "{text}"),
                other => panic!("{why}: {other:?}"),
            }
        }
        // An exchange that is not there closes the channel; the message is named, and the channel opened again.
        let mut lost = plain(4);
        lost.message.exchange = "sg-test.no-such-exchange".into();
        client.publish(lost).await.expect("accepted");
        assert!(matches!(outcome(&mut inbox).await.fate, Fate::Refused(why) if why.contains("no exchange")));
        for n in 5..25 {
            client.publish(plain(n)).await.expect("accepted");
            assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        }
        // As large as may be, in many frames.
        let mut full = plain(30);
        full.message.body = body(1000);
        client.publish(full).await.expect("accepted");
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
    })
    .await;
}

#[tokio::test]
async fn a_late_confirm_is_unknown_once_and_no_more() {
    corner("late", async |corner| {
        let proxy = Proxy::start().await;
        let mut settings = corner.settings_at(&proxy.url);
        settings.publish_timeout = Duration::from_millis(300);
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        proxy.stall(true);
        client.publish(corner.publication(1, &corner.queue)).await.expect("accepted");
        let told = outcome(&mut inbox).await;
        assert!(matches!(&told.fate, Fate::Unknown(why) if why.contains("300ms")), "{told:?}");
        proxy.stall(false);
        // The same task again, until it is confirmed in time: the broker has each attempt, and each was told once.
        let mut again = corner.publication(1, &corner.queue);
        loop {
            again.attempt += 1;
            client.publish(again.clone()).await.expect("accepted");
            let told = outcome(&mut inbox).await;
            assert_eq!(told.attempt, again.attempt);
            match told.fate {
                Fate::Sent => break,
                // A busy machine.
                Fate::Unknown(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(inbox.outcomes.try_recv(), None);
        eventually("the broker has them all", async || corner.waiting().await == again.attempt).await;
    })
    .await;
}

#[tokio::test]
async fn publications_are_bounded_by_unread_outcomes() {
    corner("bounded", async |corner| {
        let mut settings = corner.settings();
        // So long it waits for room.
        settings.publish_timeout = Duration::from_secs(10);
        let (client, mut inbox) = Client::start(settings);
        ready(&client).await;
        for n in 0..MAX_PENDING {
            client.publish(corner.publication(n as u128, &corner.queue)).await.expect("accepted");
        }
        let more = || corner.publication(u128::MAX, &corner.queue);
        let declined = client.publish(more()).await.expect_err("no room");
        assert_eq!((declined.publication.id, declined.reason), (Uuid::from_u128(u128::MAX), Reason::Busy));
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        client.publish(more()).await.expect("room again");
    })
    .await;
}

#[tokio::test]
async fn closing_waits_for_confirms_and_leaves_no_publication_untold() {
    corner("closing", async |corner| {
        let (client, mut inbox) = corner.client().await;
        for n in 0..500 {
            client.publish(corner.publication(n, &corner.queue)).await.expect("accepted");
        }
        // Some are under way, and not only on their way to the connection.
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
        client.close(PATIENCE).await;
        let (mut sent, mut told) = (1, 1);
        while let Some(outcome) = inbox.outcomes.recv().await {
            told += 1;
            match outcome.fate {
                Fate::Sent => sent += 1,
                Fate::Unsent(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, 500);
        assert_eq!(corner.waiting().await, sent);
        assert!(inbox.deliveries.recv().await.is_none() && inbox.events.recv().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn closing_gives_up_at_its_deadline() {
    corner("closing-late", async |corner| {
        let proxy = Proxy::start().await;
        let (client, mut inbox) = Client::start(corner.settings_at(&proxy.url));
        ready(&client).await;
        proxy.stall(true);
        client.publish(corner.publication(1, &corner.queue)).await.expect("accepted");
        eventually("the broker has it", async || corner.waiting().await == 1).await;
        tokio::time::timeout(PATIENCE, client.close(Duration::from_millis(200))).await.expect("closed");
        let told = outcome(&mut inbox).await;
        assert!(matches!(told.fate, Fate::Unknown(_)), "{told:?}");
        assert_eq!(inbox.outcomes.recv().await, None);
    })
    .await;
}
