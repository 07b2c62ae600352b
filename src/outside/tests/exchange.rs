//! Short exchanges with a server of our own on the loopback interface.

#![allow(clippy::unwrap_used)] // the lint looks only into test functions, not into their helpers

use gateway_outside::{Client, ExchangeFault, Fault, Limits, Policy};
use std::{io::Write, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    time::sleep,
};

/// A server that answers every request with the same; nothing, if that is empty.
async fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://ann:pa55@{}/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            if answer.is_empty() {
                held.push(socket);
            } else {
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        }
    });
    url
}

fn client() -> Client {
    with_patience(Limits::default().stall_timeout)
}

/// One that waits no longer while nothing moves.
fn with_patience(stall_timeout: Duration) -> Client {
    let limits = Limits { stall_timeout, ..Limits::default() };
    Client::new(Policy::default().with_private_networks(true), limits).unwrap()
}

#[tokio::test]
async fn any_status_is_an_answer_and_no_redirect_is_followed() {
    let fine = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let reply = client().get_json(&fine, 2).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
    let moved = server("HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client().post_json(&moved, "{}").await.unwrap().status, 302);
    let broken = server("HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(client().get_json(&broken, 0).await.unwrap().status, 503);
}

#[tokio::test]
async fn faults_are_told_apart_without_passwords() {
    let long = server("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n123").await;
    let fault = client().get_json(&long, 2).await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::TooLarge { limit: 2, .. }), "{fault:?}");
    let silent = server("").await;
    let fault = with_patience(Duration::from_millis(200)).post_json(&silent, "{}").await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::TimedOut { .. }), "{fault:?}");
    assert!(fault.to_string().contains("***@127.0.0.1") && !fault.to_string().contains("pa55"), "{fault}");
    let fault = client().get_json("http://127.0.0.1:1/x", 2).await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::Network { .. }), "{fault:?}");
    let fault = client().put_file(&silent, "/nonexistent".as_ref()).await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::File(_)), "{fault:?}");
}

/// A server that reads a request slowly, `size` bytes at least, and then answers.
async fn slow_server(size: usize) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut piece, mut read) = (vec![0; 32 << 10], 0);
        while read < size {
            read += socket.read(&mut piece).await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
        socket.write_all(b"HTTP/1.1 201 Made\r\ncontent-length: 3\r\n\r\nurl").await.unwrap();
        socket.read_to_end(&mut piece).await
    });
    url
}

#[tokio::test]
async fn what_is_handed_in_may_take_longer_than_nothing_may_move() {
    const SIZE: usize = 4 << 20; // 128 pieces and more: at least 6.4 seconds
    let client = with_patience(Duration::from_secs(4));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![7; SIZE]).unwrap();
    let (one, two, three) = (slow_server(SIZE).await, slow_server(SIZE).await, slow_server(SIZE).await);
    let (put, posted, told) = tokio::join!(
        client.put_file(&one, file.path()),
        client.post_file(&two, file.path(), "x.bin", None, 10),
        client.post_json(&three, vec![b' '; SIZE]),
    );
    let posted = posted.unwrap();
    assert_eq!((posted.status, posted.body.as_slice()), (201, &b"url"[..]));
    assert_eq!((put.unwrap().status, told.unwrap().status), (201, 201));
    let small = tempfile::NamedTempFile::new().unwrap();
    let fault = client.put_file(&server("").await, small.path()).await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::TimedOut { .. }), "nothing moves: {fault:?}");
}

#[tokio::test]
async fn the_policy_counts() {
    let silent = server("").await;
    let strict = Client::new(Policy::default(), Limits::default()).unwrap();
    for url in [silent.as_str(), "ftp://example.org/x", "nonsense"] {
        let fault = strict.post_json(url, "{}").await.unwrap_err();
        assert!(matches!(fault, ExchangeFault::Refused { .. }), "{url}: {fault:?}");
    }
    let port = silent.rsplit(':').next().unwrap();
    // A name is refused when it is looked up, if it leads inside.
    let fault = strict.get_json(&format!("http://localhost:{port}"), 2).await.unwrap_err();
    assert!(matches!(fault, ExchangeFault::Refused { fault: Fault::NotAllowed(_), .. }), "{fault:?}");
}
