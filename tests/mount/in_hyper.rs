//! In hyper, without a framework.

use crate::support::{Answer, NOBODY, do_a_task, gateway, token};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use service_gateway::Gateway;
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_layer::Layer;

/// What the host does without us.
async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

/// A host: accepts connections for ever.
async fn host(gateway: &Gateway) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stack = gateway.layer().layer(tower::service_fn(hello));
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(stack.clone());
            tokio::spawn(async move {
                // How a connection ends is its client's affair.
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, serving)
}

async fn over_http(client: &reqwest::Client, base: &str, method: &str, path: &str, token: Option<&str>) -> Answer {
    let mut request = client.request(method.parse().unwrap(), format!("{base}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let answer = request.send().await.unwrap();
    Answer { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await.unwrap() }
}

#[tokio::test]
async fn at_work_over_a_socket() {
    let gateway = gateway().await;
    let (address, serving) = host(&gateway).await;
    let base = format!("http://{address}");
    let client = gateway_outside::plain_client(Duration::from_secs(30)).unwrap();

    let theirs = over_http(&client, &base, "GET", "/anything", None).await;
    assert_eq!((theirs.status, theirs.text.as_str()), (StatusCode::OK, "hello"));
    let refused = over_http(&client, &base, "POST", "/echo/annotate", None).await;
    assert_eq!(refused.refusal(), (401, 101));
    assert!(refused.headers.contains_key("www-authenticate"));
    let unknown = over_http(&client, &base, "GET", &format!("/echo/status?uuid={NOBODY}"), None).await;
    assert_eq!(unknown.refusal(), (400, 203));
    let head = over_http(&client, &base, "HEAD", "/info", None).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));

    let token = token();
    do_a_task("", async |method, path| over_http(&client, &base, method, &path, Some(&token)).await).await;
    serving.abort();
    gateway.stop().await;
}
