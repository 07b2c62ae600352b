//! What the stack is measured with: requests, an application, and stand-ins for what is outside HTTP.

use bytes::Bytes;
use futures_util::FutureExt;
use gateway_auth::{Algorithm, Grant, Policy, sign};
use gateway_contract::{
    Body, BoxFuture, History, Locate, Rejection, Reply, Service as Named, Snapshot, Submission, Tasks,
};
use gateway_route::Routes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Full};
use quick_cache::sync::Cache;
use service_gateway::{Gateway, Options, config};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

const SECRET: [u8; 64] = [7; 64];
const AUDIENCE: &str = "service-gateway";
/// A status as a client sees it while a worker is at it.
const RESULT: &str = r#"{"current":42,"total":100,"worker_id_version":"0.4.3","start_time":"2026-01-01T00:00:00","host":"worker-1","type":"stub"}"#;

/// One service that nobody serves.
const CONFIGURATION: &str = r#"
[auth]
mode = "none"
[store]
url = "sqlite::memory:"
[annotations]
post_url = "http://example.org/{ann_doc_id}/annotations"
[services.stub]
"#;

/// The application behind the layers: answers at once with nothing.
#[derive(Clone, Copy)]
pub(crate) struct Application;

pub(crate) fn application() -> Application {
    Application
}

impl<B> Service<Request<B>> for Application {
    type Response = Reply<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(Reply::new(Body::Inner { body: Empty::new() })))
    }
}

/// Requests.
pub(crate) struct At;

impl At {
    pub(crate) fn path(path: &str) -> Request<Full<Bytes>> {
        Request::get(path).header(header::HOST, "127.0.0.1").body(Full::default()).expect("a valid request")
    }

    pub(crate) fn authorised(mut request: Request<Full<Bytes>>, token: &header::HeaderValue) -> Request<Full<Bytes>> {
        request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        request
    }
}

pub(crate) fn status(id: Uuid) -> Request<Full<Bytes>> {
    At::path(&format!("/stub/status?uuid={id}"))
}

pub(crate) fn submission() -> Request<Full<Bytes>> {
    Request::post("/stub/annotate")
        .header(header::HOST, "127.0.0.1")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from("doc_url=http%3A%2F%2Fexample.org%2Fa.wav&ann_doc_id=42&language=fr"))
        .expect("a valid request")
}

pub(crate) fn policy(public: &[&str]) -> Policy {
    let policy = Policy::builder().algorithms([Algorithm::HS512]).secret(&SECRET).audience(AUDIENCE);
    policy.public(public.iter().copied()).build().expect("a valid policy")
}

pub(crate) fn token() -> header::HeaderValue {
    let grant = Grant::new(AUDIENCE, SystemTime::now() + Duration::from_secs(3600)).with_subject("ann");
    let token = sign(&grant, &SECRET, Algorithm::HS512).expect("a token");
    format!("Bearer {token}").parse().expect("a token is ASCII")
}

pub(crate) fn routes() -> Arc<Routes> {
    let stub = Named { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
    Arc::new(Routes::new([Arc::new(stub)]).expect("one service"))
}

/// Ten thousand tasks at hand, as in a gateway's own cache.
#[derive(Clone)]
pub(crate) struct Known(Arc<Cache<Uuid, Arc<Snapshot>>>, Uuid);

impl Known {
    pub(crate) fn new() -> Self {
        let cache = Cache::new(20_000);
        let mut last = Uuid::nil();
        for _ in 0..10_000 {
            last = Uuid::now_v7();
            let json = format!(r#"{{"uuid":"{last}","status":"PROGRESS","result":{RESULT}}}"#).into();
            let task = Snapshot { service: 0, seq: 1, json, mismatch: None, history: History::default() };
            cache.insert(last, Arc::new(task));
        }
        Self(Arc::new(cache), last)
    }

    pub(crate) fn id(&self) -> Uuid {
        self.1
    }
}

impl Tasks for Known {
    fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
        self.0.get(&id)
    }

    fn load(&self, _: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        Box::pin(ready(Ok(None)))
    }

    fn cancel(&self, _: &Named, _: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        Box::pin(ready(Ok(None)))
    }
}

/// Knows where everything is, and admits every URL that is one.
#[derive(Clone, Copy)]
pub(crate) struct Archive;

impl Locate for Archive {
    fn document(&self, id: &str) -> Result<String, Rejection> {
        Ok(format!("http://archive/{id}"))
    }

    fn annotations(&self, id: &str) -> Result<String, Rejection> {
        Ok(format!("http://notes/{id}"))
    }

    fn admit(&self, _: &str, url: &str) -> Result<String, Rejection> {
        url::Url::parse(url)
            .map(Into::into)
            .map_err(|_| Rejection::client(gateway_contract::code::INVALID_URL, "no URL"))
    }

    fn upload(&self) -> Option<String> {
        None
    }
}

/// Takes a submission and writes nothing down.
#[derive(Clone, Copy)]
pub(crate) struct Fake;

impl Service<Submission> for Fake {
    type Response = Uuid;
    type Error = Rejection;
    type Future = Ready<Result<Uuid, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, submission: Submission) -> Self::Future {
        drop(std::hint::black_box(submission));
        ready(Ok(Uuid::now_v7()))
    }
}

/// A gateway with an embedded broker, a store in memory, and one service that nobody serves: its tasks wait.
pub(crate) struct Running {
    gateway: Gateway,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    pub(crate) fn start() -> Self {
        let file = Some((Path::new("bench.toml"), CONFIGURATION));
        let loaded = config::parse(file, [], &[]).expect("a valid configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let gateway = runtime.block_on(Gateway::start(&loaded.config, Options::default())).expect("a gateway");
        Self { gateway, runtime }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The id of a task that was just accepted, and that the gateway has at hand.
    pub(crate) fn task(&self) -> Uuid {
        let mut service = self.gateway.service();
        let body = self.runtime.block_on(async {
            let answer = service.call(submission()).await.unwrap_or_else(|never| match never {});
            answer.into_body().collect().await.expect("a body in memory").to_bytes()
        });
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let id = answer["uuid"].as_str().and_then(|id| id.parse().ok()).expect("an accepted task");
        let known = service.call(status(id)).now_or_never();
        known.expect("a task just accepted is at hand").unwrap_or_else(|never| match never {});
        id
    }

    pub(crate) fn in_front_of_an_application(
        &self,
    ) -> impl Service<Request<Full<Bytes>>, Response = Reply<Body<Empty<Bytes>>>> + use<> {
        self.gateway.layer().layer(Application)
    }
}
