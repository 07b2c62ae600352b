//! Downloads from a server of our own on the loopback interface, which behaves and misbehaves as told.

#![allow(clippy::unwrap_used)] // the lint looks only into test functions, not into their helpers

use gateway_outside::{Client, DownloadFault, Downloaded, Fault, Limits, Policy};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// A server that hands each connection to `behaviour`, with the request's head and how many came before.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start<F, R>(behaviour: F) -> Self
    where
        F: Fn(TcpStream, String, usize) -> R + Send + Sync + 'static,
        R: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let behaviour = Arc::new(behaviour);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let nth = counter.fetch_add(1, SeqCst);
                let behaviour = behaviour.clone();
                tokio::spawn(async move {
                    let head = read_head(&mut socket).await;
                    // A client that hangs up in the middle is what some tests are about.
                    let _ = behaviour(socket, head, nth).await;
                });
            }
        });
        Self { address, connections }
    }

    /// One that always answers the same.
    async fn answering(answer: &'static str) -> Self {
        Self::start(move |mut socket, _, _| async move { socket.write_all(answer.as_bytes()).await }).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Waits as long as the client stays.
async fn stall(mut socket: TcpStream) -> std::io::Result<()> {
    socket.read_u8().await.map(drop)
}

/// Tries again soon; patient with a server that is slow because the machine is busy.
fn quick() -> Limits {
    Limits { back_off: Duration::from_millis(5), ..Limits::default() }
}

/// Admits this machine: what the tests are about is not the policy.
fn client() -> Client {
    client_with(quick())
}

fn client_with(limits: Limits) -> Client {
    Client::new(Policy::default().with_private_networks(true), limits).unwrap()
}

/// Downloads at most `limit` bytes within a minute; gives what the file holds, too.
async fn download(client: &Client, url: &str, limit: u64) -> (Result<Downloaded, DownloadFault>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("document");
    let deadline = Instant::now() + Duration::from_secs(60);
    let result = client.download(url, &file, limit, deadline, |_, _| ()).await;
    (result, std::fs::read(&file).unwrap_or_default())
}

#[tokio::test]
async fn a_document_comes() {
    let server = Server::start(|mut socket, head, _| async move {
        assert!(head.starts_with("GET /get/some%20talk.wav?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: Basic YW5uOnBhNTU="), "{head}");
        assert!(!head.contains("referer") && !head.contains("cookie"), "{head}");
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: audio/x-wav\r\ncontent-length: 5\r\n\r\nhello").await
    })
    .await;
    let url = server.url("/get/some talk.wav?x=1").replace("://", "://ann:pa55@");
    let (result, file) = download(&client(), &url, 5).await;
    let expected =
        Downloaded { bytes: 5, content_type: Some("audio/x-wav".into()), file_name: Some("sometalk.wav".into()) };
    assert_eq!(result.unwrap(), expected);
    assert_eq!(file, b"hello");
}

#[tokio::test]
async fn progress_is_told() {
    let server = Server::start(|mut socket, _, _| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n").await?;
        socket.write_all(&[7; 300_000]).await
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut heard = Vec::new();
    let file = directory.path().join("document");
    let done =
        client().download(&server.url("/x"), &file, 1 << 20, deadline, |bytes, total| heard.push((bytes, total))).await;
    assert_eq!(done.unwrap().bytes, 300_000);
    assert_eq!(heard.last(), Some(&(300_000, Some(300_000))));
    assert!(heard.is_sorted());
}

#[tokio::test]
async fn a_4xx_is_final() {
    let server = Server::answering("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope").await;
    let (result, file) = download(&client(), &server.url("/x?token=s3cret"), 100).await;
    let fault = result.unwrap_err();
    assert!(matches!(fault, DownloadFault::Status { status: 404, .. }), "{fault}");
    assert!(!fault.to_string().contains("s3cret"), "{fault}");
    assert!(file.is_empty());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_5xx_is_tried_again() {
    let server = Server::start(|mut socket, _, nth| async move {
        let answer: &[u8] = match nth {
            0 => b"HTTP/1.1 500 Oops\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        socket.write_all(answer).await
    })
    .await;
    let (result, file) = download(&client(), &server.url("/x"), 100).await;
    assert_eq!(result.unwrap().bytes, 2);
    assert_eq!(file, b"ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn retries_come_to_an_end() {
    let server = Server::answering("HTTP/1.1 503 Later\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let (result, _) = download(&client(), &server.url("/x"), 100).await;
    assert!(matches!(result, Err(DownloadFault::Status { status: 503, .. })), "{result:?}");
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_asked_again_from_the_start() {
    let server = Server::start(|mut socket, _, nth| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234").await?;
        if nth < 2 { socket.shutdown().await } else { socket.write_all(b"56789").await }
    })
    .await;
    let (result, file) = download(&client(), &server.url("/x"), 100).await;
    assert_eq!(result.unwrap().bytes, 10);
    assert_eq!(file, b"0123456789");
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn too_large_by_its_own_account() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n").await;
    let (result, file) = download(&client(), &server.url("/x"), 100).await;
    assert!(matches!(result, Err(DownloadFault::TooLarge { limit: 100, .. })), "{result:?}");
    assert!(file.is_empty());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn endless_is_cut_at_the_limit() {
    let server = Server::start(|mut socket, _, _| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            socket.write_all(&[0; 4096]).await?;
        }
    })
    .await;
    let (result, file) = download(&client(), &server.url("/x"), 100_000).await;
    assert!(matches!(result, Err(DownloadFault::TooLarge { .. })), "{result:?}");
    assert!(file.len() <= 100_000, "{}", file.len());
}

#[tokio::test]
async fn a_stalled_server_is_left() {
    let server = Server::start(|mut socket, _, _| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234").await?;
        stall(socket).await
    })
    .await;
    let impatient = client_with(Limits { stall_timeout: Duration::from_millis(300), ..quick() });
    let (result, _) = download(&impatient, &server.url("/x"), 100).await;
    let fault = result.unwrap_err();
    assert!(matches!(&fault, DownloadFault::Network { cause, .. } if cause.contains("stopped sending")), "{fault}");
    // The system connects, and the server hears of it when it comes to it.
    while server.connections() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn the_deadline_ends_everything() {
    let server = Server::start(|mut socket, _, _| async move {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
        // Never stalls, never comes to an end in time.
        loop {
            socket.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let deadline = Instant::now() + Duration::from_millis(400);
    let file = directory.path().join("document");
    let result = client().download(&server.url("/x"), &file, 1 << 20, deadline, |_, _| ()).await;
    assert!(matches!(result, Err(DownloadFault::Deadline { .. })), "{result:?}");
}

#[tokio::test]
async fn nobody_listens() {
    // Not at port 1, which nobody is given either.
    let (result, _) = download(&client(), "http://ann:pa55@127.0.0.1:1/x", 100).await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("no connection: Connection refused"), "{message}");
    assert!(!message.contains("pa55"), "{message}");
}

#[tokio::test]
async fn tls_where_none_is_spoken_is_a_fault_and_no_panic() {
    let server = Server::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    // The server waits for a request that never comes.
    let impatient = client_with(Limits { connect_timeout: Duration::from_secs(1), ..quick() });
    let (result, _) = download(&impatient, &server.url("/x").replace("http:", "https:"), 100).await;
    assert!(matches!(result, Err(DownloadFault::Network { .. })), "{result:?}");
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_no_further() {
    let server = Server::start(|mut socket, head, _| async move {
        let n: usize = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        let answer = match n {
            0 => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_owned(),
            n => {
                let next = n - 1;
                format!("HTTP/1.1 302 Found\r\nlocation: /{next}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            }
        };
        socket.write_all(answer.as_bytes()).await
    })
    .await;
    let (result, file) = download(&client(), &server.url("/5"), 100).await;
    assert_eq!(result.unwrap().file_name, Some("0".into()));
    assert_eq!(file, b"ok");
    let (result, _) = download(&client(), &server.url("/6"), 100).await;
    assert!(matches!(result, Err(DownloadFault::Refused { fault: Fault::NotAllowed(_), .. })), "{result:?}");
}

/// A redirect that leads inside is refused, and nobody there hears of it.
#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let inside = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
    let port = inside.address.port();
    for target in
        [format!("http://127.0.0.2:{port}/"), format!("http://[::ffff:127.0.0.2]:{port}/"), "ftp://h/x".into()]
    {
        let server = Server::start(move |mut socket, _, _| {
            let answer = format!("HTTP/1.1 301 Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
            async move { socket.write_all(answer.as_bytes()).await }
        })
        .await;
        let client = Client::new(Policy::default().allow_host("127.0.0.1").unwrap(), quick()).unwrap();
        let (result, _) = download(&client, &server.url("/x"), 100).await;
        assert!(matches!(result, Err(DownloadFault::Refused { .. })), "{result:?}");
        assert_eq!(server.connections(), 1, "a refusal is not tried again");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn our_own_hosts_are_reached_wherever_they_are() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let url = format!("http://localhost:{}/x", server.address.port());
    let (result, _) = download(&Client::new(Policy::default(), quick()).unwrap(), &url, 100).await;
    assert!(matches!(result, Err(DownloadFault::Refused { fault: Fault::NotAllowed(_), .. })), "{result:?}");
    assert_eq!(server.connections(), 0);
    let client = Client::new(Policy::default().always(&url).unwrap(), quick()).unwrap();
    let (result, _) = download(&client, &url, 100).await;
    assert_eq!(result.unwrap().bytes, 2);
}

#[tokio::test]
async fn schemes_for_other_workers_are_not_fetched() {
    let client = Client::new(Policy::default().with_schemes(["http", "s3"]), quick()).unwrap();
    let (result, _) = download(&client, "s3://bucket/key", 100).await;
    let message = result.unwrap_err().to_string();
    assert!(message.contains("use http or https"), "{message}");
}
