//! The order of the layers, as a client can see it: who refuses first.

use crate::support::{Answer, NOBODY, ask, ask_with_token, builder, gateway, read, token};
use bytes::Bytes;
use gateway_contract::SPANS;
use http::{Request, header};
use http_body::Frame;
use http_body_util::Full;
use service_gateway::Gateway;
use std::{
    convert::Infallible,
    fmt::Debug,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tower::ServiceExt;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::layer::{self, SubscriberExt};

/// A body that counts how often somebody reads it.
#[derive(Default)]
struct Watched(Arc<AtomicUsize>);

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(1, SeqCst);
        Poll::Ready(None)
    }
}

async fn answer(gateway: &Gateway, request: Request<Full<Bytes>>) -> Answer {
    read(gateway.service().oneshot(request).await.unwrap()).await
}

/// Asks with a body that is watched: the answer, and how often the body was read.
async fn watch(gateway: &Gateway, method: &str, uri: &str, token: Option<&str>) -> (Answer, usize) {
    let reads = Arc::<AtomicUsize>::default();
    let mut request = builder(method, uri).body(Watched(reads.clone())).unwrap();
    if let Some(token) = token {
        request.headers_mut().insert(header::AUTHORIZATION, token.parse().unwrap());
    }
    let answer = read(gateway.service().oneshot(request).await.unwrap()).await;
    (answer, reads.load(SeqCst))
}

#[tokio::test]
async fn the_method_before_the_token_and_the_service() {
    let gateway = gateway().await;
    for path in ["/echo/annotate", "/nope/annotate"] {
        let refused = answer(&gateway, ask("GET", path)).await;
        assert_eq!(refused.refusal(), (405, 100), "{path}");
        assert_eq!(refused.headers[header::ALLOW], "POST, OPTIONS");
        let options = answer(&gateway, ask("OPTIONS", path)).await;
        assert_eq!((options.status.as_u16(), options.text.as_str()), (200, ""), "{path}");
        assert_eq!(options.headers[header::ALLOW], "POST, OPTIONS");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_token_before_the_service_the_uuid_and_the_document() {
    let gateway = gateway().await;
    for (method, path, with_token) in [
        ("POST", "/nope/annotate", (400, 202)),
        ("POST", "/nope/process", (400, 202)),
        ("POST", "/echo/cancel", (400, 206)),
        ("POST", &format!("/echo/cancel?uuid={NOBODY}"), (400, 203)),
        ("POST", "/quiet/annotate", (400, 206)),
        ("POST", "/quiet/annotate?doc_url=nonsense", (400, 207)),
    ] {
        let refused = answer(&gateway, ask(method, path)).await;
        assert_eq!(refused.refusal(), (401, 101), "{method} {path}");
        assert!(refused.headers.contains_key(header::WWW_AUTHENTICATE), "{method} {path}");
        let refused = answer(&gateway, ask_with_token(method, path)).await;
        assert_eq!(refused.refusal(), with_token, "{method} {path} with a token: {refused:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn everything_that_may_refuse_without_the_body_does() {
    let gateway = gateway().await;
    let token = token();
    for (method, uri, token, refusal) in [
        ("GET", "/echo/process", None, (405, 100)),
        ("POST", "/echo/process", None, (401, 101)),
        ("POST", "/nope/process", Some(token.as_str()), (400, 202)),
        ("GET", &format!("/echo/status?uuid={NOBODY}"), None, (400, 203)),
        ("POST", &format!("/echo/cancel?uuid={NOBODY}"), Some(token.as_str()), (400, 203)),
        ("GET", "/echo/doc", None, (404, 100)),
        ("POST", "/temporary_file/a", None, (401, 101)),
        ("POST", "/temporary_file/a%20b", Some(token.as_str()), (400, 105)),
        ("POST", "/temporary_file", None, (401, 101)),
    ] {
        let (refused, reads) = watch(&gateway, method, uri, token).await;
        assert_eq!((refused.refusal(), reads), (refusal, 0), "{method} {uri}");
    }
    // The counter does count: the body of a submission is read.
    let (accepted, reads) = watch(&gateway, "POST", "/echo/process", Some(token.as_str())).await;
    assert!(accepted.status == 200 && reads > 0, "{accepted:?}, read {reads} times");
    gateway.stop().await;
}

#[tokio::test]
async fn the_body_before_the_document_and_the_document_before_sending() {
    let gateway = gateway().await;
    let submission = || builder("POST", "/quiet/annotate").header(header::AUTHORIZATION, token());
    let form = "application/x-www-form-urlencoded";

    // 2 KiB where 1 KiB is allowed, and no document either.
    let request = submission().header(header::CONTENT_TYPE, form).body(Full::from(vec![b'x'; 2048])).unwrap();
    assert_eq!(answer(&gateway, request).await.refusal(), (413, 208));
    // No document, and an idempotency key that cannot be read.
    let request = submission().header("idempotency-key", "").body(Full::default()).unwrap();
    assert_eq!(answer(&gateway, request).await.refusal(), (400, 206));
    // The document stands in the form, so the body must have been read before it is looked for.
    let body = Full::from("doc_url=http%3A%2F%2Fexample.org%2Fa.wav");
    let request =
        submission().header(header::CONTENT_TYPE, form).header("idempotency-key", "").body(body.clone()).unwrap();
    let refused = answer(&gateway, request).await;
    assert_eq!(refused.code(), 209, "{refused:?}");
    let stats = answer(&gateway, ask("GET", "/quiet/stats")).await;
    assert_eq!(stats.json()["invocations"], 0, "nothing was sent yet");

    let request = submission().header(header::CONTENT_TYPE, form).body(body).unwrap();
    assert_eq!(answer(&gateway, request).await.status, 200);
    let stats = answer(&gateway, ask("GET", "/quiet/stats")).await;
    assert_eq!(stats.json()["invocations"], 1);
    gateway.stop().await;
}

#[tokio::test]
async fn refusals_are_measured_and_what_is_not_ours_is_not() {
    let gateway = gateway().await;
    for (method, path) in [
        ("POST", "/echo/annotate"),                       // 401
        ("GET", "/echo/annotate"),                        // 405
        ("GET", &*format!("/echo/status?uuid={NOBODY}")), // 400
        ("GET", "/stranger"),                             // 404, of nobody
    ] {
        answer(&gateway, ask(method, path)).await;
    }
    let metrics = answer(&gateway, ask("GET", "/metrics")).await.text;
    let count = |service: &str, verb: &str, method: &str, status: &str| {
        let series = format!(
            "http_server_request_duration_seconds_count{{service=\"{service}\",verb=\"{verb}\",\
             http_request_method=\"{method}\",http_response_status_code=\"{status}\"}} "
        );
        metrics.lines().find_map(|line| line.strip_prefix(series.as_str())).map(str::to_owned)
    };
    assert_eq!(count("echo", "annotate", "POST", "401").as_deref(), Some("1"), "{metrics}");
    assert_eq!(count("echo", "annotate", "GET", "405").as_deref(), Some("1"), "{metrics}");
    assert_eq!(count("echo", "status", "GET", "400").as_deref(), Some("1"), "{metrics}");
    assert!(!metrics.contains("stranger"), "no label comes from a request");
    let total: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 3, "the path that nobody knows is not counted, nor is this question itself yet");
    gateway.stop().await;
}

/// What the spans of traces say, in the order in which they say it: `begins=NAME`, then `field=value`.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.lock().unwrap().push(format!("{field}={value:?}"));
    }
}

impl<S: Subscriber> layer::Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: layer::Context<'_, S>) {
        if attributes.metadata().target() == SPANS {
            self.0.lock().unwrap().push(format!("begins={}", attributes.metadata().name()));
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: layer::Context<'_, S>) {
        values.record(&mut self.clone());
    }
}

impl Told {
    /// All values of a field.
    fn all(&self, field: &str) -> Vec<String> {
        let told = self.0.lock().unwrap();
        told.iter().filter_map(|it| it.strip_prefix(field)?.strip_prefix('=').map(str::to_owned)).collect()
    }
}

#[tokio::test]
async fn the_trace_is_above_all_that_refuses_and_below_the_name() {
    let gateway = gateway().await;
    let token = token();
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    // Each place in the code that tells a span is met once before: one that another test's thread, where nobody listens,
    // met for the first time after we began to listen would be thought of no interest to anybody.
    answer(&gateway, ask_with_token("POST", "/echo/annotate")).await;
    for (method, path, token, status, spans) in [
        ("GET", "/echo/annotate", None, 405, &["request"][..]),
        ("POST", "/echo/annotate", None, 401, &["request", "auth"]),
        ("POST", "/nope/annotate", Some(&token), 400, &["request", "auth"]),
        ("POST", "/quiet/annotate", Some(&token), 400, &["request", "auth", "document"]),
        ("POST", "/echo/annotate", Some(&token), 200, &["request", "auth", "document", "store"]),
        // Nobody's, and a probe.
        ("GET", "/nobody", None, 404, &[]),
        ("GET", "/livez", None, 200, &[]),
    ] {
        let told = Told::default();
        let mut request = builder(method, path).header("traceparent", caller);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(told.clone()));
        let answered = answer(&gateway, request.body(Full::default()).unwrap()).await;
        drop(subscriber);
        assert_eq!(answered.status.as_u16(), status, "{method} {path}: {answered:?}");
        // What becomes of the task afterwards is another's to tell.
        let mut begun = told.all("begins");
        begun.retain(|name| ["request", "auth", "document", "store"].contains(&name.as_str()));
        assert_eq!(begun, spans, "{method} {path}: {:?}", told.0);
        if spans.is_empty() {
            continue;
        }
        assert_eq!(
            told.all("http.response.status_code"),
            [status.to_string()],
            "{method} {path}: refusals have a status"
        );
        let (own, above) = (&told.all("span.id")[0], told.all("parent.id"));
        assert_eq!(above[0], 0xb7ad_6b71_6920_3331_u64.to_string());
        assert!(above[1..].iter().all(|parent| parent == own), "{method} {path}: {:?}", told.0);
    }
    gateway.stop().await;
}
