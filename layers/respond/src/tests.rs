mod formats;
mod head;
mod pages;
mod recorded;
mod xml;

use crate::RespondLayer;
use bytes::Bytes;
use gateway_contract::{Body, BoxError, Place, Rejection, Reply, Service, Side, Target, Verb, View, data, plain};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, Once},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;

type App = Full<Bytes>;

fn stub() -> Place {
    let service = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
    Place::Service(Arc::new(service))
}

fn asks(method: Method, place: Place, verb: Verb) -> Request<()> {
    listen();
    let mut request = Request::builder().method(method).uri("/stub/x").body(()).unwrap();
    request.extensions_mut().insert(Target { place, verb, document: None });
    request
}

async fn json_of(reply: Reply<App>) -> Value {
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

/// What the layer makes of `rejection`.
async fn refused(layer: RespondLayer, request: Request<()>, rejection: Rejection) -> Reply<App> {
    listen();
    let slot = Arc::new(Mutex::new(Some(rejection)));
    let inner = service_fn(move |_: Request<()>| {
        let rejection = slot.lock().unwrap().take().unwrap();
        async move { Err::<Reply<App>, _>(rejection) }
    });
    layer.layer(inner).oneshot(request).await.unwrap()
}

/// The layer round a service that must not be asked.
async fn without_inner(request: Request<()>) -> Reply<App> {
    let inner = service_fn(|_: Request<()>| async { panic!("the inner service was asked") });
    let inner = inner.map_response(|reply: Reply<App>| reply).map_err(|rejection: Rejection| rejection);
    RespondLayer::new().layer(inner).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn options_is_answered_for_every_verb() {
    for verb in Verb::all() {
        for place in [stub(), Place::UnknownService, Place::Gateway] {
            let reply = without_inner(asks(Method::OPTIONS, place, verb)).await;
            assert_eq!(reply.status(), StatusCode::OK);
            assert_eq!(reply.headers()["allow"], verb.allow());
            assert!(reply.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
    }
}

#[tokio::test]
async fn the_method_is_judged_before_the_service() {
    // GET /nope/annotate
    let reply = without_inner(asks(Method::GET, Place::UnknownService, Verb::Annotate)).await;
    assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.headers()["allow"], "POST, OPTIONS");
    let body = json_of(reply).await;
    assert_eq!((&body["status"], &body["vesta"]["code"]), (&json!(405), &json!(100)));

    // The recorded `err.405.post_status` and `err.405.delete`.
    let post_status = without_inner(asks(Method::POST, stub(), Verb::Status)).await;
    assert_eq!(post_status.headers()["allow"], "GET, HEAD, OPTIONS");
    let delete = without_inner(asks(Method::DELETE, stub(), Verb::Process)).await;
    assert_eq!(delete.status(), StatusCode::METHOD_NOT_ALLOWED);
    let odd = without_inner(asks(Method::from_bytes(b"BREW").unwrap(), stub(), Verb::Info)).await;
    assert_eq!(odd.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_refusal_is_the_envelope_in_its_order() {
    let mut request = asks(Method::GET, stub(), Verb::Status);
    request.headers_mut().insert("x-request-id", "r-1".parse().unwrap());
    let reply = refused(RespondLayer::new(), request, Rejection::client(206, "say \"uuid\"\n")).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(reply.headers()["cache-control"], "no-store");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    assert_eq!(reply.headers()["x-request-id"], "r-1");
    assert!(matches!(reply.body(), Body::Data { view: View::Error, .. }));
    let text = reply.into_body().collect().await.unwrap().to_bytes();
    let expected = concat!(
        r#"{"status":400,"description":"say \"uuid\"\n","#,
        r#""vesta":{"code":206,"message":"say \"uuid\"\n"},"request_id":"r-1"}"#
    );
    assert_eq!(text, expected);
}

#[tokio::test]
async fn an_unfit_request_id_is_not_told_back() {
    for unfit in ["", "has space", &"x".repeat(65), "\u{e9}"] {
        let mut request = asks(Method::GET, stub(), Verb::Status);
        request.headers_mut().insert("x-request-id", http::HeaderValue::from_bytes(unfit.as_bytes()).unwrap());
        let reply = refused(RespondLayer::new(), request, Rejection::not_found()).await;
        assert!(!reply.headers().contains_key("x-request-id"), "{unfit:?}");
        assert!(json_of(reply).await.get("request_id").is_none(), "{unfit:?}");
    }
    let mut request = asks(Method::GET, stub(), Verb::Status);
    request.headers_mut().insert("x-request-id", "x".repeat(64).parse().unwrap());
    let reply = refused(RespondLayer::new(), request, Rejection::not_found()).await;
    assert_eq!(json_of(reply).await["request_id"], "x".repeat(64));
}

#[tokio::test]
async fn headers_follow_the_refusal() {
    let get = || asks(Method::GET, stub(), Verb::Status);
    let token = Rejection::new(StatusCode::UNAUTHORIZED, 101, Side::Client, "a token is needed");
    let reply = refused(RespondLayer::new(), get(), token).await;
    assert_eq!(reply.headers()["www-authenticate"], r#"Bearer realm="service-gateway""#);

    let reply = refused(RespondLayer::new(), get(), Rejection::unavailable("the broker is away", 7)).await;
    assert_eq!(reply.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.headers()["retry-after"], "7");
    assert!(!reply.headers().contains_key("www-authenticate"));

    let reply = refused(RespondLayer::new(), get(), Rejection::not_found().with_allow("GET")).await;
    assert_eq!(reply.headers()["allow"], "GET");
}

#[tokio::test]
async fn causes_are_shown_in_debug_mode_only() {
    let cause = || {
        let inner: BoxError = "disk full".into();
        Rejection::misplaced("we could not").with_cause(Rejection::misplaced("store").with_cause(inner))
    };
    let get = || asks(Method::GET, stub(), Verb::Status);
    let quiet = json_of(refused(RespondLayer::new(), get(), cause()).await).await;
    assert!(quiet.get("cause").is_none());
    let open = json_of(refused(RespondLayer::new().debug(true), get(), cause()).await).await;
    assert_eq!(open["cause"], json!(["500 (code 103): store", "disk full"]));
    let none = json_of(refused(RespondLayer::new().debug(true), get(), Rejection::not_found()).await).await;
    assert!(none.get("cause").is_none());
}

#[tokio::test]
async fn answers_about_tasks_are_not_stored() {
    let answer = |verb: Verb, own: Option<&'static str>| async move {
        let inner = service_fn(move |_: Request<()>| async move {
            let mut reply: Reply<App> = data("{}", View::ProcessStatus);
            if let Some(own) = own {
                reply.headers_mut().insert("cache-control", own.parse().unwrap());
            }
            Ok::<_, Rejection>(reply)
        });
        let method = if verb.submits() { Method::POST } else { Method::GET };
        RespondLayer::new().layer(inner).oneshot(asks(method, stub(), verb)).await.unwrap()
    };
    for verb in [Verb::Status, Verb::Cancel, Verb::Annotate, Verb::Process] {
        let reply = answer(verb, None).await;
        assert_eq!(reply.headers()["cache-control"], "no-store");
        assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer(verb, Some("max-age=1")).await.headers()["cache-control"], "max-age=1");
    }
    let info = answer(Verb::Info, None).await;
    assert!(!info.headers().contains_key("cache-control"));
    assert_eq!(info.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn plain_answers_are_ours_too() {
    let inner = service_fn(|_: Request<()>| async { Ok::<Reply<App>, Rejection>(plain("up 1\n", "text/plain")) });
    let reply = RespondLayer::new().layer(inner).oneshot(asks(Method::GET, Place::Gateway, Verb::Metrics)).await;
    assert_eq!(reply.unwrap().headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn what_is_not_ours_crosses_untouched() {
    let (inner, mut handle) = mock::pair::<Request<()>, Reply<App>>();
    let mut request = Request::builder().method("OPTIONS").uri("/theirs").body(()).unwrap();
    request.headers_mut().insert("x-request-id", "r-2".parse().unwrap());
    let asked = tokio::spawn(RespondLayer::new().layer(inner).oneshot(request));

    let (seen, send) = handle.next_request().await.unwrap();
    assert_eq!((seen.method(), seen.uri().path()), (&Method::OPTIONS, "/theirs"));
    send.send_response(Response::builder().status(418).body(Body::Inner { body: App::from("tea") }).unwrap());

    let reply = asked.await.unwrap().unwrap();
    assert_eq!((reply.status(), reply.headers()), (StatusCode::IM_A_TEAPOT, &HeaderMap::new()));
    assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "tea");
}

#[tokio::test]
async fn a_refusal_of_what_is_not_ours_is_rendered() {
    let reply = refused(RespondLayer::new(), Request::new(()), Rejection::not_found()).await;
    assert_eq!(reply.status(), StatusCode::NOT_FOUND);
    let body = json_of(reply).await;
    assert_eq!(body["description"], "nothing is at this path");
    assert_eq!(body["vesta"], json!({ "code": 100, "message": "nothing is at this path" }));
}

#[tokio::test]
async fn an_inner_service_that_is_not_ready_is_told_to_the_client() {
    // The mock's error is a `BoxError`: an application's failure, 502.
    let (inner, mut handle) = mock::pair::<Request<()>, Reply<App>>();
    handle.send_error("gone");
    let reply = RespondLayer::new().layer(inner).oneshot(asks(Method::GET, stub(), Verb::Status)).await.unwrap();
    assert_eq!(reply.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(json_of(reply).await["vesta"]["code"], 107);
}

thread_local! {
    /// What was logged on this thread: a test has one of its own.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct ThisThread;

impl io::Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes sure that somebody listens before the first event: `tracing` remembers of each place in the code whether
/// anybody does, and a subscriber that comes at the same moment may be forgotten.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| ThisThread)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What is logged of a refusal.
async fn logged(rejection: Rejection) -> String {
    let mut request = asks(Method::GET, stub(), Verb::Status);
    request.headers_mut().insert("authorization", "Bearer top-secret".parse().unwrap());
    request.headers_mut().insert("x-request-id", "r-3".parse().unwrap());
    *request.uri_mut() = "/stub/status?service_key=top-secret".parse().unwrap();
    LOGGED.take();
    refused(RespondLayer::new(), request, rejection).await;
    String::from_utf8(LOGGED.take()).unwrap()
}

#[tokio::test]
async fn the_side_decides_the_level() {
    let io_error = || io::Error::other("no space");
    let client = logged(Rejection::client(203, "no such task").with_cause(io_error())).await;
    let ours = logged(Rejection::misplaced("composed wrongly").with_cause(io_error())).await;
    let away = logged(Rejection::unavailable("the broker is away", 1)).await;
    let outside = logged(Rejection::from(BoxError::from("boom"))).await;
    for (line, level) in [(&client, "DEBUG"), (&ours, "ERROR"), (&away, "WARN"), (&outside, "WARN")] {
        assert!(line.contains(level), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(!line.contains("top-secret"), "{line}");
        assert!(line.contains(r#"service="stub""#) && line.contains(r#"request_id="r-3""#), "{line}");
    }
    assert!(ours.contains("cause=no space"), "{ours}");
    assert!(outside.contains("cause=boom"), "{outside}");
}

#[tokio::test]
async fn a_client_cannot_forge_a_line() {
    let forged = "a\r\n2026-01-01 ERROR forged \u{1b}[31m\u{202e}z";
    let line = logged(Rejection::client(105, forged).with_cause(io::Error::other("x\ny"))).await;
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(!line.contains(['\u{1b}', '\u{202e}', '\r']), "{line}");
    assert!(line.contains("a2026-01-01 ERROR forged [31mz"), "{line}");

    let long = logged(Rejection::client(105, "é".repeat(5000))).await;
    assert!(long.len() < 4000 && long.contains('…'), "{}", long.len());
}
