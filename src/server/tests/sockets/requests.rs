use crate::support::{Stack, serve, settings, soon, until};
use gateway_server::Settings;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FORWARDED: &str = "Host: inside:5000\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: example.org\r\n\
    X-Script-Name: /gw\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nForwarded: for=6.6.6.6;host=evil\r\n\
    X-Request-Id: theirs-1\r\nX-Real-IP: 6.6.6.6\r\nX-Service-Key: kept";

#[tokio::test]
async fn forwarding_headers_count_from_trusted_proxies_only() {
    let trusting = serve(Settings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..settings() });
    let answer = trusting.ask(&format!("GET /gw/see?q=1 HTTP/1.1\r\n{FORWARDED}\r\n\r\n")).await;
    for line in
        ["base https://example.org/gw\n", "client Some(203.0.113.9)\n", "uri /see?q=1\n", "x-request-id: theirs-1\n"]
    {
        assert!(answer.body.contains(line), "{line} is missing: {}", answer.body);
    }
    assert_eq!(answer.header("x-request-id"), Some("theirs-1"));

    let strict = serve(settings());
    let answer = strict.ask(&format!("GET /gw/see?q=1 HTTP/1.1\r\n{FORWARDED}\r\n\r\n")).await;
    for line in ["base http://inside:5000\n", "client Some(127.0.0.1)\n", "uri /gw/see?q=1\n", "x-service-key: kept\n"]
    {
        assert!(answer.body.contains(line), "{line} is missing: {}", answer.body);
    }
    for name in ["forwarded", "x-script", "x-real-ip", "theirs-1", "6.6.6.6", "evil"] {
        assert!(!answer.body.contains(name), "{name} went through: {}", answer.body);
    }
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(id.len(), 32);
    assert!(answer.body.contains(&format!("x-request-id: {id}\n")), "{}", answer.body);
}

#[tokio::test]
async fn a_public_url_counts_always() {
    let server = serve(Settings { public_url: Some("https://public.example/p".into()), ..settings() });
    let answer = server.ask(&format!("GET /p/see HTTP/1.1\r\n{FORWARDED}\r\n\r\n")).await;
    assert!(answer.body.contains("base https://public.example/p\n"), "{}", answer.body);
    assert!(answer.body.contains("uri /see\n"), "{}", answer.body);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_each_with_its_own_id() {
    let server = serve(settings());
    let mut client = server.connect().await;
    client.send(&"GET /name HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.answer().await.header("x-request-id").unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
    // Counted once the answer is written, which may be a moment after it was read here.
    until("all are counted", || server.counters.answered() == 3).await;
}

#[tokio::test]
async fn head_gets_the_head_alone() {
    let server = serve(settings());
    let mut client = server.connect().await;
    client.send("HEAD /name HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let mut all = String::new();
    soon(client.stream.read_to_string(&mut all)).await.unwrap();
    assert!(
        all.starts_with("HTTP/1.1 200") && all.contains("content-length: 5\r\n") && all.ends_with("\r\n\r\n"),
        "{all}"
    );
}

#[tokio::test]
async fn a_panic_closes_its_own_connection_and_no_other() {
    let server = serve(settings());
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = server.connect().await;
        other.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
        others.push(other);
    }
    until("they are under way", || server.counters.busy() == 4).await;
    for _ in 0..4 {
        let mut client = server.connect().await;
        client.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.is_closed().await);
    }
    server.gate.add_permits(4);
    for other in &mut others {
        assert_eq!(other.answer().await.body, "waited");
    }
    until("all places are given back", || server.counters.busy() == 0 && server.counters.open() == 0).await;
}

#[tokio::test]
async fn a_replaced_stack_answers_the_next_request_on_an_open_connection() {
    let server = serve(settings());
    let (mut client, mut waiting) = (server.connect().await, server.connect().await);
    client.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "first");
    waiting.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is under way", || server.counters.busy() == 1).await;
    server.current.replace(Stack { name: "second", gate: Arc::clone(&server.gate) });
    client.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "second");
    server.gate.add_permits(1);
    assert_eq!(waiting.answer().await.body, "waited", "what was under way ends on the old stack");
}

/// One HTTP/2 frame: kind, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn h2c_is_spoken_with_prior_knowledge() {
    let server = serve(settings());
    let mut client = server.connect().await;
    // HPACK without Huffman codes: GET, http, then :path and :authority as literals.
    let mut head = vec![0x82, 0x86, 0x04, 5];
    head.extend_from_slice(b"/name");
    head.extend_from_slice(&[0x01, 7]);
    head.extend_from_slice(b"h.org:1");
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 5, 1, &head)].concat();
    soon(client.stream.write_all(&bytes)).await.unwrap();
    let body = soon(async {
        loop {
            let mut head = [0; 9];
            client.stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            client.stream.read_exact(&mut payload).await.unwrap();
            if head[3] == 0 && head[8] == 1 {
                return payload; // DATA of stream 1
            }
        }
    });
    assert_eq!(body.await, b"first");
}
