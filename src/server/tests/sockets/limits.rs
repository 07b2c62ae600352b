use crate::support::{serve, settings, until};
use gateway_server::Settings;

#[tokio::test]
async fn the_next_request_beyond_the_limit_is_shed() {
    let server = serve(Settings { max_concurrency: 1024, ..settings() });
    let mut clients = Vec::new();
    for _ in 0..1024 {
        let mut client = server.connect().await;
        client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        clients.push(client);
    }
    until("all are under way", || server.counters.busy() == 1024).await;

    let mut client = server.connect().await;
    client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code()), (503, 210));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.counters.shed(), 1);
    for probe in ["/livez", "/readyz", "/healthz", "/metrics"] {
        client.send(&format!("GET {probe} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(client.answer().await.status, 200, "{probe}: the connection lives, and probes are exempt");
    }

    server.gate.add_permits(1024);
    for waiting in &mut clients {
        assert_eq!(waiting.answer().await.body, "waited");
    }
    until("all places are given back", || server.counters.busy() == 0).await;
    client.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let server = serve(Settings { max_concurrency: 1, ..settings() });
    let mut client = server.connect().await;
    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is under way", || server.counters.busy() == 1).await;
    drop(client);
    until("its place is free", || server.counters.busy() == 0).await;
    assert_eq!(server.ask("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn connections_are_bounded_and_refused_in_words() {
    let server = serve(Settings { max_concurrency: 1, ..settings() }); // the least there is: 256 connections
    let mut clients = Vec::new();
    for _ in 0..256 {
        clients.push(server.connect().await);
    }
    until("all are accepted", || server.counters.connections() == 256).await;
    let answer = server.ask("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.code()), (503, 210));
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
    assert_eq!(server.counters.turned_away(), 1);
    clients[0].send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(clients[0].answer().await.status, 200, "those that are in stay in");
    drop(clients);
    until("all are gone", || server.counters.connections() == 0).await;
    assert_eq!(server.ask("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
}
