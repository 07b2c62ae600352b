//! With nothing behind it.

use crate::support::{Answer, ask, ask_with_token, configured, gateway, read};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use service_gateway::stack::{Nothing, Stack};
use tower::ServiceExt;

async fn answer(service: &Stack<Nothing>, request: Request<Full<Bytes>>) -> Answer {
    read(service.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn it_answers_for_every_path() {
    let gateway = gateway().await;
    let service = gateway.service();
    for path in ["/nobody", "/doc", "/nope/", "/echo/else", "/"] {
        assert_eq!(answer(&service, ask("GET", path)).await.refusal(), (404, 100), "{path}");
    }
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/info", "/stats"] {
        assert_eq!(answer(&service, ask("GET", path)).await.status, 200, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_unknown_service_is_told_to_those_who_may_know() {
    let gateway = gateway().await;
    let service = gateway.service();
    assert_eq!(answer(&service, ask("POST", "/nope/annotate")).await.refusal(), (401, 101));
    assert_eq!(answer(&service, ask_with_token("POST", "/nope/annotate")).await.refusal(), (400, 202));
    assert_eq!(answer(&service, ask("GET", "/nope/status?uuid=1")).await.refusal(), (400, 202), "status is public");
    gateway.stop().await;
}

#[tokio::test]
async fn it_drains_before_it_stops() {
    let gateway = gateway().await;
    let service = gateway.service();
    gateway.drain();
    let ready = answer(&service, ask("GET", "/readyz")).await;
    assert_eq!((ready.status.as_u16(), ready.json()["parts"]["server"].as_str()), (503, Some("stopping")));
    let accepted = answer(&service, ask_with_token("POST", "/echo/process")).await;
    assert_eq!(accepted.status, 200, "a request that a proxy has already sent is still answered: {accepted:?}");

    gateway.stop().await;
    let refused = answer(&service, ask_with_token("POST", "/echo/process")).await;
    assert_eq!(refused.refusal(), (503, 205), "a stopped gateway accepts nothing");
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn its_host_reloads_it() {
    let gateway = gateway().await;
    let service = gateway.service();
    assert_eq!(answer(&service, ask("GET", "/new/info")).await.refusal(), (400, 202));
    let faulty = gateway.reload(&configured("[platform.pages]\nhome = \"file:missing.html\"\n[services.new]\n")).await;
    assert!(faulty.is_err(), "{faulty:?}");
    assert_eq!(answer(&service, ask("GET", "/new/info")).await.refusal(), (400, 202), "nothing has changed");

    let reloaded = gateway.reload(&configured("[services.new]\nrequires_document = false\n")).await.unwrap();
    assert!(reloaded.changed.iter().any(|path| path.starts_with("services.new")), "{reloaded:?}");
    assert_eq!(reloaded.restart, Vec::<String>::new());
    assert_eq!(answer(&service, ask("GET", "/new/info")).await.status, 200, "a stack that was made before has it");
    assert_eq!(answer(&service, ask_with_token("POST", "/new/process")).await.status, 200);
    gateway.stop().await;
}
