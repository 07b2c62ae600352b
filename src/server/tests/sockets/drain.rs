use crate::support::{PATIENCE, serve, settings, soon, until};
use gateway_server::{Current, Inbound, Server, Settings, Summary};
use http::{Request, Response};
use http_body_util::Full;
use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

#[tokio::test]
async fn what_is_under_way_ends_and_idle_connections_close() {
    let mut server = serve(settings());
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    idle.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.header("connection"), None);
    busy.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is under way", || server.counters.busy() == 1).await;

    let start = Instant::now();
    server.stop();
    assert!(idle.is_closed().await);
    assert!(start.elapsed() < PATIENCE / 2, "an idle connection is not kept for the grace");
    let address = server.address;
    soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;

    server.gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_str(), answer.header("connection")), (200, "waited", Some("close")));
    assert!(busy.is_closed().await);
    assert_eq!(server.ended().await, Summary { completed: 2, aborted: 0 });
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut_and_counted() {
    let mut server = serve(Settings { shutdown_grace: Duration::from_millis(200), ..settings() });
    let mut client = server.connect().await;
    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is under way", || server.counters.busy() == 1).await;
    server.stop();
    assert!(client.is_closed().await);
    assert_eq!(server.ended().await, Summary { completed: 0, aborted: 1 });
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_awaited() {
    let mut server = serve(settings());
    let mut client = server.connect().await;
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    until("it is under way", || server.counters.busy() == 1).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(500)).await; // longer than a drained connection listens for a request
    client.send("llo").await;
    assert_eq!(client.answer().await.body, "hello");
    assert_eq!(server.ended().await, Summary { completed: 1, aborted: 0 });
}

#[tokio::test]
async fn clients_that_the_system_accepted_are_answered() {
    // Bound and not serving: the clients connect and send, and nobody has accepted them when the end begins.
    let server = Server::bind(settings()).unwrap();
    let address = server.local_addr();
    let mut clients = Vec::new();
    for _ in 0..50 {
        let stream = soon(TcpStream::connect(address)).await.unwrap();
        soon(stream.writable()).await.unwrap();
        stream.try_write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        clients.push(stream);
    }
    let summary = soon(server.serve(Current::new(fixed()), async {})).await.unwrap();
    assert_eq!(summary, Summary { completed: 50, aborted: 0 });
    for client in clients {
        soon(client.readable()).await.unwrap();
        let mut space = [0; 12];
        assert_eq!(client.try_read(&mut space).unwrap(), 12);
        assert_eq!(&space, b"HTTP/1.1 200");
    }
}

/// How long a connection still listens for a request once the end has begun.
const LISTENS: Duration = Duration::from_millis(250);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_request_that_was_accepted_fails() {
    let mut server = serve(settings());
    let (stopping, answered) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut client, answered) = (server.connect().await, Arc::clone(&answered));
        let stopping = Arc::clone(&stopping);
        clients.spawn(async move {
            loop {
                let sent = client.try_send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
                // Only who was held up between two requests for as long as the connection still listened finds it closed.
                let late = stopping.get().is_some_and(|stopped: &Instant| stopped.elapsed() >= LISTENS);
                let Some(answer) = (if sent.is_ok() { client.try_answer().await } else { None }) else {
                    assert!(late, "a request that came in time is answered");
                    return;
                };
                assert_eq!(answer.status, 200);
                answered.fetch_add(1, SeqCst);
                if answer.header("connection") == Some("close") {
                    assert!(stopping.get().is_some(), "nothing closes before the end");
                    return;
                }
            }
        });
    }
    until("there is load", || answered.load(SeqCst) > 500).await;
    stopping.set(Instant::now()).unwrap();
    server.stop();
    while let Some(client) = soon(clients.join_next()).await {
        client.unwrap();
    }
    let summary = server.ended().await;
    assert_eq!(summary, Summary { completed: answered.load(SeqCst), aborted: 0 });
}

#[tokio::test]
async fn a_dropped_server_cuts_everything() {
    let server = Server::bind(settings()).unwrap();
    let (address, counters) = (server.local_addr(), server.counters());
    let serving = tokio::spawn(server.serve(Current::new(fixed()), std::future::pending()));
    let _client = soon(TcpStream::connect(address)).await.unwrap();
    until("it is accepted", || counters.connections() == 1).await;
    serving.abort();
    until("it is cut", || counters.connections() == 0).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn two_cannot_listen_at_one_address_and_a_wrong_public_url_is_told() {
    let server = Server::bind(settings()).unwrap();
    let taken = Server::bind(Settings { listen: server.local_addr(), ..settings() }).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let wrong = Server::bind(Settings { public_url: Some("example.org".into()), ..settings() }).unwrap_err();
    assert_eq!(wrong.kind(), std::io::ErrorKind::InvalidInput);
}

type Fixed = std::future::Ready<Result<Response<Full<bytes::Bytes>>, Infallible>>;

fn fixed() -> tower::util::ServiceFn<fn(Request<Inbound>) -> Fixed> {
    tower::service_fn(|_| std::future::ready(Ok(Response::new(Full::default()))))
}
