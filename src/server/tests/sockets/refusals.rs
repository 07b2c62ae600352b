use crate::support::{serve, settings, until};

#[tokio::test]
async fn two_lengths_are_refused_and_the_connection_closed() {
    let server = serve(settings());
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "transfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH: 0",
    ] {
        let mut client = server.connect().await;
        // A fine request before it: the number of the request is what is looked at.
        client.send("GET /name HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        client.send(&format!("POST /read HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (400, 100), "{lines:?}");
        assert!(client.is_closed().await);
    }
    assert_eq!(server.counters.malformed(), 3);
}

#[tokio::test]
async fn one_length_is_fine_and_the_connection_lives() {
    let server = serve(settings());
    let mut client = server.connect().await;
    for request in [
        "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    }
}

#[tokio::test]
async fn a_host_is_needed_once_and_valid() {
    let server = serve(settings());
    for lines in ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a/b\r\n", "Host:\r\n", "Host: u@a\r\n"] {
        let answer = server.ask(&format!("GET /name HTTP/1.1\r\n{lines}\r\n")).await;
        assert_eq!((answer.status, answer.code()), (400, 100), "{lines:?}");
    }
    let answer = server.ask("GET /see HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status, 200, "HTTP/1.0 may leave the host out");
    assert!(answer.body.contains(&format!("base http://{}\n", server.address)), "{}", answer.body);
}

#[tokio::test]
async fn a_target_is_a_path() {
    let server = serve(settings());
    let answer = server.ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").await;
    assert_eq!((answer.status, answer.code()), (400, 100));
    assert_eq!(server.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = serve(settings());
    for bytes in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(server.ask(bytes).await.status, 400, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_head_is_bounded() {
    let server = serve(settings());
    let long = "x".repeat(70 * 1024);
    let answer = server.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(answer.status, 431, "too long");
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(server.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await.status, 431, "too many");
    let fine = "x".repeat(30 * 1024);
    assert_eq!(server.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {fine}\r\n\r\n")).await.status, 200);
}

#[tokio::test]
async fn a_body_is_bounded() {
    let server = serve(settings());
    let fits = "x".repeat(1000);
    let request =
        |body: &str| format!("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(server.ask(&request(&fits)).await.body, fits);
    let answer = server.ask(&request(&format!("{fits}x"))).await;
    assert_eq!((answer.status, answer.code()), (413, 208), "told by its length");
    let chunked = "POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = server.ask(&format!("{chunked}3e9\r\n{fits}x\r\n0\r\n\r\n")).await;
    assert_eq!(answer.status, 413, "told by the body: {}", answer.body);
    assert!(answer.body.contains("code 208"), "{}", answer.body);
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = serve(settings());
    let mut client = server.connect().await;
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n").await;
    until("it is refused", || server.counters.answered() == 1).await;
    // Read by nobody. Had the server closed its socket, the first of these would be answered with a reset, and the
    // second would fail: a client that writes before it reads would never see why.
    for _ in 0..50 {
        client.send(&"x".repeat(10_000)).await;
    }
    assert_eq!(client.answer().await.status, 413);
}
