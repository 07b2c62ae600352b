//! Broker away, connections cut, a peer that stays silent.

use crate::support::{PATIENCE, Proxy, corner, eventually, outcome, ready, through};
use gateway_amqp::{Client, Fate, Link, Reason};
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

#[tokio::test]
async fn a_broker_that_is_away_is_tried_until_it_comes() {
    corner("away", async |corner| {
        // A port on which nobody listens, and that nobody else is given meanwhile.
        let port = TcpSocket::new_v4().expect("a socket");
        port.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let (url, _) = through(port.local_addr().expect("an address").port());
        let (client, mut inbox) = Client::start(corner.settings_at(&url));
        let mut state = client.state();
        let down = state.wait_for(|s| matches!(&s.publish, Link::Down(Some(_))));
        let why = timeout(PATIENCE, down).await.expect("told in time").expect("the client lives").publish.clone();
        assert!(why.fault().is_some_and(|why| why.contains("refused")), "{why:?}");
        let declined = client.publish(corner.publication(1, &corner.queue)).await.expect_err("not connected");
        assert!(matches!(&declined.reason, Reason::NotConnected(why) if why.contains("refused")), "{declined:?}");
        let _proxy = Proxy::on(port.listen(16).expect("it listens"));
        ready(&client).await;
        client.publish(*declined.publication).await.expect("accepted");
        assert_eq!(outcome(&mut inbox).await.fate, Fate::Sent);
    })
    .await;
}

#[tokio::test]
async fn a_client_may_be_closed_while_the_broker_is_away() {
    corner("closed-away", async |corner| {
        let (client, mut inbox) = Client::start(corner.settings_at("amqp://guest:guest@127.0.0.1:1"));
        timeout(PATIENCE, client.close(PATIENCE / 2)).await.expect("closed in time");
        assert_eq!(inbox.outcomes.recv().await, None);
        assert_eq!(client.state().borrow().publish, Link::Down(Some("closed".into())));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_come_back_and_each_publication_has_one_outcome() {
    corner("cut", async |corner| {
        let proxy = Proxy::start().await;
        let (client, mut inbox) = Client::start(corner.settings_at(&proxy.url));
        ready(&client).await;
        let (mut accepted, mut told, mut sent) = (0u128, 0u128, 0u32);
        for round in 0..3 {
            for n in 0..300 {
                let publication = corner.publication(round * 1000 + n, &corner.queue);
                match client.publish(publication).await {
                    Ok(()) => accepted += 1,
                    Err(declined) => assert!(matches!(declined.reason, Reason::NotConnected(_)), "{declined:?}"),
                }
                if n == 150 {
                    proxy.cut();
                }
            }
            while told < accepted {
                told += 1;
                match outcome(&mut inbox).await.fate {
                    Fate::Sent => sent += 1,
                    Fate::Unknown(_) | Fate::Unsent(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            ready(&client).await;
        }
        // Connected again after the last cut, which may be noticed only now: sending works, and nothing was told twice.
        eventually("it is sent", async || {
            ready(&client).await;
            match client.publish(corner.publication(9999, &corner.queue)).await {
                Ok(()) => outcome(&mut inbox).await.fate == Fate::Sent,
                Err(_) => false,
            }
        })
        .await;
        assert_eq!(inbox.outcomes.try_recv(), None);
        // What was told as sent is there; what was not known may be.
        assert!(corner.waiting().await > sent);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_given_up_with_its_socket() {
    corner("silent", async |corner| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("an address");
        let url = format!("amqp://someone:hunter222@{address}/");
        let (client, _inbox) = Client::start(corner.settings_at(&url));
        let (mut peer, _) = timeout(PATIENCE, listener.accept()).await.expect("dialled in time").expect("accepted");
        let mut state = client.state();
        let told = state.wait_for(|s| {
            let links = [&s.publish, &s.consume, &s.control];
            links.iter().any(|link| link.fault().is_some_and(|why| why.contains("no answer within 10 s")))
        });
        let told = timeout(PATIENCE, told).await.expect("told in time").expect("the client lives").clone();
        assert!(!format!("{told:?} {client:?}").contains("hunter222"));
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, peer.read_to_end(&mut heard)).await.expect("the socket is shut");
        assert!(end.is_err() || heard.starts_with(b"AMQP"), "{heard:?}");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    corner("password", async |corner| {
        let (_, there) = through(0);
        let url = format!("amqp://nobody:hunter222@{there}/");
        let (client, _inbox) = Client::start(corner.settings_at(&url));
        let mut state = client.state();
        let told = state.wait_for(|s| matches!(&s.consume, Link::Down(Some(_))));
        let told = timeout(PATIENCE, told).await.expect("told in time").expect("the client lives").clone();
        assert!(told.consume.fault().is_some_and(|why| why.contains("ACCESS_REFUSED")), "{told:?}");
        assert!(!format!("{told:?} {client:?}").contains("hunter222"));
    })
    .await;
}
