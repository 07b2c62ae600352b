//! Against a real Redis, named by `SG_TEST_REDIS_URL`; `tests/run` starts one and sets it.

#![allow(clippy::unwrap_used)]

use gateway_redis::{Address, Client, Heard, Inbox, Lost, Session, Settings};
use redis::aio::MultiplexedConnection;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// There is no test without a server, and no test that passes by not running.
fn url() -> String {
    std::env::var("SG_TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!("SG_TEST_REDIS_URL is not set: these tests need a Redis; tests/run starts one and runs them")
    })
}

/// For the clients of one test, which has a number: they hear its tasks alone, as others may publish more than may
/// wait.
fn settings<const TEST: u8>(url: &str) -> Settings {
    Settings { ours: is_of::<TEST>, ..Settings::new(Address::parse(url).unwrap()) }
}

fn is_of<const TEST: u8>(id: Uuid) -> bool {
    id.as_bytes()[15] == TEST
}

/// A task of this test.
fn task<const TEST: u8>() -> Uuid {
    let mut bytes = *Uuid::now_v7().as_bytes();
    bytes[15] = TEST;
    Uuid::from_bytes(bytes)
}

async fn raw() -> MultiplexedConnection {
    redis::Client::open(url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

fn key(id: Uuid) -> String {
    format!("celery-task-meta-{id}")
}

/// As Celery does it.
async fn store(raw: &mut MultiplexedConnection, id: Uuid, body: &[u8]) {
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("SETEX").arg(key(id)).arg(60).arg(body).cmd("PUBLISH").arg(key(id)).arg(body);
    pipe.query_async::<()>(raw).await.unwrap();
}

async fn heard(inbox: &mut Inbox) -> Heard {
    timeout(PATIENCE, inbox.recv()).await.expect("something is heard in time").expect("the client lives")
}

async fn connected(inbox: &mut Inbox) -> Session {
    loop {
        if let Heard::Connected(session) = heard(inbox).await {
            return session;
        }
    }
}

/// The next result of this task; others are passed over.
async fn of(inbox: &mut Inbox, id: Uuid) -> Vec<u8> {
    loop {
        match heard(inbox).await {
            Heard::Result(result) if result.id == id => return result.body.to_vec(),
            Heard::Result(_) => {}
            Heard::Connected(_) => panic!("the connection was lost"),
        }
    }
}

#[tokio::test]
async fn what_is_published_is_heard_in_order() {
    let (client, mut inbox) = Client::start(settings::<1>(&url()));
    connected(&mut inbox).await;
    assert_eq!(*client.fault().borrow(), None);
    let (mut raw, id) = (raw().await, task::<1>());
    for n in 0..200 {
        store(&mut raw, id, format!("{n}").as_bytes()).await;
    }
    for n in 0..200 {
        assert_eq!(of(&mut inbox, id).await, format!("{n}").as_bytes());
    }
    client.close().await;
    assert!(timeout(PATIENCE, async { while inbox.recv().await.is_some() {} }).await.is_ok());
    assert!(client.fault().borrow().is_some());
}

#[tokio::test]
async fn only_ours_is_heard_and_bodies_are_cut() {
    let ours = |id: Uuid| id.get_version_num() == 7 && is_of::<2>(id);
    let (_client, mut inbox) = Client::start(Settings { ours, limit: 10, ..settings::<2>(&url()) });
    connected(&mut inbox).await;
    let (mut raw, id) = (raw().await, task::<2>());
    store(&mut raw, Uuid::from_u128(2), b"foreign").await;
    store(&mut raw, id, &[b'x'; 1000]).await;
    loop {
        let Heard::Result(result) = heard(&mut inbox).await else { panic!("the connection was lost") };
        assert_eq!(result.id.get_version_num(), 7);
        assert!(result.body.len() <= 11);
        if result.id == id {
            break;
        }
    }
}

#[tokio::test]
async fn what_was_missed_is_fetched() {
    let mut raw = raw().await;
    let [a, b, c, d] = std::array::from_fn(|_| task::<3>());
    store(&mut raw, a, b"first").await;
    store(&mut raw, c, &[b'x'; 1000]).await;
    redis::cmd("LPUSH").arg(key(d)).arg("no result").query_async::<()>(&mut raw).await.unwrap();
    let (_client, mut inbox) = Client::start(Settings { limit: 20, ..settings::<3>(&url()) });
    let session = connected(&mut inbox).await;
    let found = session.fetch(&[a, b, c, d, a]).await.unwrap();
    let found: Vec<_> = found.iter().map(|body| body.as_ref().map(|body| body.len())).collect();
    assert_eq!(found, [Some(5), None, Some(21), None, Some(5)]);
    assert_eq!(session.fetch(&[]).await, Ok(Vec::new()));
    redis::cmd("DEL").arg(key(d)).query_async::<()>(&mut raw).await.unwrap();
}

#[tokio::test]
async fn nothing_is_between_what_is_fetched_and_what_is_heard() {
    let id = task::<4>();
    let (mut writer, mut raw) = (raw().await, raw().await);
    store(&mut raw, id, b"0").await;
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let writing = tokio::spawn(async move {
        let mut n = 0_u64;
        while !*stopped.borrow_and_update() {
            n += 1;
            store(&mut writer, id, n.to_string().as_bytes()).await;
        }
        n
    });
    let number = |body: &[u8]| std::str::from_utf8(body).unwrap().parse::<u64>().unwrap();
    for _ in 0..30 {
        let (client, mut inbox) = Client::start(settings::<4>(&url()));
        let session = connected(&mut inbox).await;
        let fetched = number(session.fetch(&[id]).await.unwrap()[0].as_ref().unwrap());
        let first = number(&of(&mut inbox, id).await);
        let mut last = first;
        while last <= fetched {
            let next = number(&of(&mut inbox, id).await);
            assert_eq!(next, last + 1);
            last = next;
        }
        assert!(first <= fetched + 1, "fetched {fetched}, heard from {first} on");
        client.close().await;
    }
    stop.send_replace(true);
    assert!(writing.await.unwrap() > 0);
}

/// In front of the server: connections that can be cut.
struct Proxy {
    url: String,
    cut: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = url().rsplit_once('@').unwrap().1.trim_end_matches("/0").to_owned();
        let url = url().replace(&there, &listener.local_addr().unwrap().to_string());
        let cut = watch::Sender::new(0);
        let (cuts, mut tasks) = (cut.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let (there, mut cut) = (there.clone(), cuts.subscribe());
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(there).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url, cut, _tasks: tasks }
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again() {
    let proxy = Proxy::start().await;
    let (client, mut inbox) = Client::start(settings::<5>(&proxy.url));
    let old = connected(&mut inbox).await;
    let (mut raw, id) = (raw().await, task::<5>());
    proxy.cut.send_modify(|n| *n += 1);
    let mut fault = client.fault();
    let told = timeout(PATIENCE, fault.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(!told.is_empty() && !told.contains("redis-test-password"), "{told}");
    store(&mut raw, id, b"missed").await;
    let new = connected(&mut inbox).await;
    assert_eq!(old.fetch(&[id]).await, Err(Lost));
    assert_eq!(new.fetch(&[id]).await.unwrap()[0].as_deref(), Some(&b"missed"[..]));
    timeout(PATIENCE, fault.wait_for(Option::is_none)).await.unwrap().unwrap();
    store(&mut raw, id, b"heard").await;
    assert_eq!(of(&mut inbox, id).await, b"heard");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_that_it_missed_something() {
    let (client, mut inbox) = Client::start(settings::<6>(&url()));
    connected(&mut inbox).await;
    let (mut raw, id) = (raw().await, task::<6>());
    let mut fault = client.fault();
    // More than may wait.
    for _ in 0..5000 {
        redis::cmd("PUBLISH").arg(key(id)).arg("x").query_async::<()>(&mut raw).await.unwrap();
    }
    let told = timeout(PATIENCE, fault.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(told.contains("faster"), "{told}");
    let session = connected(&mut inbox).await;
    assert_eq!(session.fetch(&[id]).await, Ok(vec![None]));
}

#[tokio::test]
async fn what_is_wrong_is_told_without_the_password() {
    let port = url().rsplit_once(':').unwrap().1.trim_end_matches("/0").to_owned();
    for (from, to, word) in
        [(":redis-test-password@", ":wrong-password@", "WRONGPASS"), (port.as_str(), "1", "refused")]
    {
        let (client, _inbox) = Client::start(settings::<7>(&url().replace(from, to)));
        let mut fault = client.fault();
        let told = fault.wait_for(|fault| fault.as_deref().is_some_and(|why| why != "not connected yet"));
        let told = timeout(PATIENCE, told).await.unwrap().unwrap().clone().unwrap();
        assert!(told.contains(word) && !told.contains("wrong-password") && !told.contains("redis-test"), "{told}");
    }
}
