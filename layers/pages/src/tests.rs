mod answers;

use crate::{About, PageSource, Pages, PagesLayer, Profile, ServicePages};
use bytes::Bytes;
use gateway_contract::{
    Body, BoxFuture, Facts, Needs, Page, Part, Place, Readiness, Refusal, Rejection, Reply, Service, Stats, Target,
    Verb,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

type App = Full<Bytes>;

#[derive(Clone)]
struct Known {
    workers: Option<u32>,
    readiness: Readiness,
    /// The status of the refusal where the store does not count.
    broken: Option<StatusCode>,
}

impl Default for Known {
    fn default() -> Self {
        let parts = vec![
            Part { name: "broker", fault: None, essential: true },
            Part { name: "results", fault: Some("not durable".into()), essential: false },
        ];
        Self { workers: Some(1), readiness: Readiness { parts }, broken: None }
    }
}

impl Known {
    fn without_broker() -> Self {
        let mut known = Self::default();
        known.readiness.parts[0].fault = Some("connection refused: is RabbitMQ running?".into());
        known
    }
}

impl Facts for Known {
    fn workers(&self, _: &Service) -> BoxFuture<Option<u32>> {
        let workers = self.workers;
        Box::pin(async move { workers })
    }

    fn stats(&self, service: Option<&Service>) -> BoxFuture<Result<Stats, Rejection>> {
        let invocations = if service.is_some() { 30 } else { 80 };
        let stats = match self.broken {
            Some(status) => Err(Rejection::new(status, 107, gateway_contract::Side::Gateway, "no store")),
            // `stats.stub.json` of the recording: 2026-11-23T20:21:11Z, and half a second.
            None => Ok(Stats { invocations, since: 1_795_465_271_500 }),
        };
        Box::pin(async { stats })
    }

    fn needs(&self, service: Option<&Service>) -> BoxFuture<Result<Vec<Needs>, Rejection>> {
        let of = |name: &str| Needs {
            service: name.into(),
            waiting: 7,
            desired_workers: 3,
            reason: "7 tasks wait".into(),
            ..Needs::default()
        };
        let needs = match (self.workers, service) {
            (None, _) => Err(Rejection::unavailable("the broker cannot be asked", 5)),
            (_, Some(service)) => Ok(vec![of(&service.name)]),
            (_, None) => Ok(vec![of("keyname"), of("stub")]),
        };
        Box::pin(async { needs })
    }

    fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    fn metrics(&self) -> String {
        "up 1\n".into()
    }
}

fn service(index: u16, name: &str, route: &str) -> Arc<Service> {
    Arc::new(Service { index, name: name.into(), route: route.into(), requires_document: true })
}

fn stub() -> Place {
    Place::Service(service(0, "stub", "stub"))
}

/// The recording's configuration, as far as we have such a thing.
fn stub_profile() -> Profile {
    let about = About {
        name: "Stub service".into(),
        synopsis: "RESTful service providing service stub.".into(),
        institution: "CRIM".into(),
        release_time: "2015-01-01T00:00:00Z".into(),
        support_email: "info-cra@crim.ca".into(),
        category: "Data Manipulation".into(),
        research_subject: "system integration".into(),
        tags: vec!["stub".into(), " research".into(), " ".into()],
    };
    let text = |body: &str, status| PageSource::Text { body: body.into(), status };
    let pages = [
        (Page::Home, PageSource::Redirect("https://github.com/crim-ca/Service".into())),
        (Page::Doc, PageSource::Redirect("https://github.com/crim-ca/Service#doc".into())),
        (Page::ReleaseNotes, PageSource::Html("<p>1.0</p>".into())),
        (Page::Support, text("Not available", StatusCode::NOT_FOUND)),
        (Page::Source, text("", StatusCode::NO_CONTENT)),
    ];
    Profile { about, pages: pages.into() }
}

fn pages() -> Arc<Pages> {
    let of = |service: Arc<Service>, profile: Profile| ServicePages {
        service,
        task: "stub".into(),
        queue: "stub".into(),
        version: "0.4.3".into(),
        profile,
    };
    let platform = Profile {
        about: About { name: "Example platform".into(), tags: vec!["all".into()], ..About::default() },
        pages: [(Page::Home, PageSource::Redirect("https://example.org/".into()))].into(),
    };
    let services = vec![
        of(service(0, "stub", "stub"), stub_profile()),
        of(service(1, "keyname", "other route"), Profile::default()),
    ];
    Arc::new(Pages { version: "1.9.3".into(), services, platform })
}

fn asks(place: Place, verb: Verb) -> Request<()> {
    let mut request = Request::get("/x").body(()).unwrap();
    request.extensions_mut().insert(Target { place, verb, document: None });
    request
}

fn inner() -> impl tower::Service<Request<()>, Response = Reply<App>, Error = Rejection, Future: Send> + Clone {
    service_fn(|_: Request<()>| async { Ok(Response::new(Body::Inner { body: App::from("inner") })) })
}

async fn request(facts: Known, request: Request<()>) -> Result<Reply<App>, Refusal> {
    PagesLayer::new(facts, pages()).layer(inner()).oneshot(request).await.map_err(Rejection::into_refusal)
}

async fn ask(place: Place, verb: Verb) -> Result<Reply<App>, Refusal> {
    request(Known::default(), asks(place, verb)).await
}

async fn text(reply: Reply<App>) -> Bytes {
    reply.into_body().collect().await.unwrap().to_bytes()
}

async fn json_of(reply: Reply<App>) -> Value {
    assert_eq!(reply.headers()["content-type"], "application/json");
    serde_json::from_slice(&text(reply).await).unwrap()
}
