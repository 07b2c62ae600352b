use super::*;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Head and body of an answer over a connection.
async fn over_http(method: &str, accept: &str, rejection: bool) -> (String, String) {
    let inner = service_fn(move |_: Request<hyper::body::Incoming>| async move {
        if rejection {
            Err(Rejection::not_found())
        } else {
            Ok::<Reply<App>, _>(data(r#"{"invocations":1}"#, View::Stats))
        }
    });
    let layered = RespondLayer::new().layer(inner).map_request(|mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Target { place: stub(), verb: Verb::Stats, document: None });
        request
    });
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move {
        let service = TowerToHyperService::new(layered);
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).await
    });
    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    serving.await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("date:")).collect();
    lines.sort_unstable();
    (lines.join("\n"), body.to_owned())
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    listen();
    for rejection in [false, true] {
        for accept in ["*/*", "application/json"] {
            let (get, body) = over_http("GET", accept, rejection).await;
            let (head, nothing) = over_http("HEAD", accept, rejection).await;
            assert_eq!((head, nothing.as_str()), (get.clone(), ""));
            assert!(get.contains(&format!("content-length: {}", body.len())), "{get}");
        }
    }
}

#[tokio::test]
async fn whatever_the_server_does_a_head_has_no_body() {
    let kinds: [fn() -> Reply<App>; 4] = [
        || data("{}", View::JsonOnly),
        || plain("up 1\n", "text/plain"),
        || Response::new(Body::Stream { stream: Full::from("a file").map_err(|never| match never {}).boxed_unsync() }),
        || Response::builder().status(204).body(Body::Plain { bytes: None }).unwrap(),
    ];
    for (kind, length) in kinds.into_iter().zip([Some("2"), Some("5"), Some("6"), None]) {
        let inner = service_fn(move |_: Request<()>| async move { Ok::<_, Rejection>(kind()) });
        let asked = RespondLayer::new().layer(inner).oneshot(asks(Method::HEAD, Place::Gateway, Verb::Metrics));
        let reply = asked.await.unwrap();
        assert_eq!(reply.headers().get("content-length").map(|length| length.to_str().unwrap()), length);
        assert!(http_body::Body::is_end_stream(reply.body()));
    }

    let theirs = service_fn(|_: Request<()>| async {
        Ok::<_, Rejection>(Response::new(Body::Inner { body: App::from("theirs") }))
    });
    let request = Request::head("/").body(()).unwrap();
    let reply = RespondLayer::new().layer(theirs).oneshot(request).await.unwrap();
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "theirs", "the host's server takes care of it");
}
