use crate::support::{PATIENCE, serve, settings};
use gateway_server::Settings;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);
/// Where something else must be done in that time, on a busy machine too.
const LONGER: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_slow_first_head_is_cut() {
    for sent in ["", "G", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let server = serve(Settings { header_timeout: SHORT, ..settings() });
        // The server may begin to count before we know that we are connected.
        let start = Instant::now();
        let mut client = server.connect().await;
        client.send(sent).await;
        assert!(client.is_closed().await);
        let taken = start.elapsed();
        assert!(taken >= SHORT - Duration::from_millis(50) && taken < PATIENCE / 2, "{sent:?}: {taken:?}");
    }
}

#[tokio::test]
async fn a_slow_later_head_is_cut_and_an_idle_connection_is_not() {
    let server = serve(Settings { header_timeout: LONGER, ..settings() });
    let mut idle = server.connect().await;
    idle.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
    let mut slow = server.connect().await;
    slow.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(slow.answer().await.status, 200);
    let start = Instant::now();
    // A byte now and then does not help: the head counts from its first one.
    let drip = async {
        for byte in "GET /name HTTP/1.1\r\nHost: a\r\nX: y".chars().cycle() {
            if tokio::io::AsyncWriteExt::write_all(&mut slow.stream, &[byte as u8]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    crate::support::soon(drip).await;
    assert!(start.elapsed() >= LONGER - Duration::from_millis(50), "{:?}", start.elapsed());
    idle.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 200);
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let server = serve(Settings { request_timeout: SHORT, ..settings() });
    let mut client = server.connect().await;
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 408, "{}", answer.body);
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(server.counters.timed_out(), 0, "it was the client, not us");
}

#[tokio::test]
async fn a_large_body_may_take_its_time_while_it_flows() {
    let server = serve(Settings { request_timeout: LONGER, max_body: 1 << 20, ..settings() });
    let mut client = server.connect().await;
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
    let part = "x".repeat(20_000);
    for _ in 0..10 {
        client.send(&part).await;
        tokio::time::sleep(LONGER / 8).await;
    }
    assert_eq!(client.answer().await.status, 200);
    // And a pause is a pause.
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
    client.send(&part).await;
    assert_eq!(client.answer().await.status, 408);
}

#[tokio::test]
async fn a_slow_answer_is_503() {
    let server = serve(Settings { request_timeout: SHORT, ..settings() });
    let answer = server.ask("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.code()), (503, 205));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(server.counters.timed_out(), 1);
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_our_fault() {
    let server = serve(Settings { request_timeout: SHORT, ..settings() });
    let answer = server.ask("POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    assert_eq!((answer.status, answer.code()), (503, 205));
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let server = serve(Settings { request_timeout: SHORT, ..settings() });
    let mut client = server.connect().await;
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut begin = [0; 12];
    crate::support::soon(tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut begin)).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    crate::support::until("the connection is cut", || server.counters.connections() == 0).await;
    assert_eq!(server.counters.open(), 0);
}
