use crate::StatusLayer;
use bytes::Bytes;
use gateway_contract::{
    Body, BoxFuture, History, Place, Refusal, Rejection, Reply, Service, Snapshot, Target, Tasks, Verb, View,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;
use uuid::Uuid;

type App = Full<Bytes>;

/// `status.stub.PENDING` of the recording.
const UUID: &str = "196d46c6-24e0-4c15-b9e8-c797375af31a";
const PENDING: &str = r#"{"result":null,"status":"PENDING","uuid":"196d46c6-24e0-4c15-b9e8-c797375af31a"}"#;

#[derive(Clone, Default)]
struct Keeper {
    near: Arc<HashMap<Uuid, Arc<Snapshot>>>,
    far: Arc<HashMap<Uuid, Arc<Snapshot>>>,
    /// What was asked for, in order.
    asked: Arc<Mutex<Vec<&'static str>>>,
    broken: bool,
}

impl Keeper {
    fn of(near: &[Snapshot], far: &[Snapshot]) -> Self {
        let map = |all: &[Snapshot]| all.iter().map(|one| (UUID.parse().unwrap(), Arc::new(one.clone()))).collect();
        Self { near: Arc::new(map(near)), far: Arc::new(map(far)), ..Self::default() }
    }

    fn note(&self, what: &'static str) {
        self.asked.lock().unwrap().push(what);
    }
}

impl Tasks for Keeper {
    fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
        self.note("peek");
        self.near.get(&id).cloned()
    }

    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        self.note("load");
        let found = if self.broken {
            Err(Rejection::unavailable("the store is away", 1))
        } else {
            Ok(self.far.get(&id).cloned())
        };
        Box::pin(async { found })
    }

    fn cancel(&self, service: &Service, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        self.note("cancel");
        assert_eq!(&*service.name, "stub");
        let found = self.far.get(&id).cloned();
        Box::pin(async { Ok(found) })
    }
}

fn task(service: u16) -> Snapshot {
    let history = History {
        attempts: 2,
        submitted: 1_795_465_340_000,
        sent: Some(1_795_465_340_007),
        started: Some(i64::MAX),
        ended: None,
        reason: None,
    };
    Snapshot { service, seq: 1, json: PENDING.into(), mismatch: None, history }
}

fn asks(verb: Verb, place: Place, query: &str) -> Request<()> {
    let mut request = Request::get(format!("/stub/x{query}")).body(()).unwrap();
    request.extensions_mut().insert(Target { place, verb, document: None });
    request
}

fn stub() -> Place {
    let service = Service { index: 3, name: "stub".into(), route: "stub".into(), requires_document: true };
    Place::Service(Arc::new(service))
}

async fn ask(tasks: &Keeper, request: Request<()>) -> Result<Reply<App>, Refusal> {
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Rejection>(Response::new(Body::Inner { body: App::from("inner") }))
    });
    StatusLayer::new(tasks.clone()).layer(inner).oneshot(request).await.map_err(Rejection::into_refusal)
}

async fn text(reply: Reply<App>) -> Bytes {
    reply.into_body().collect().await.unwrap().to_bytes()
}

fn query() -> String {
    format!("?uuid={UUID}")
}

#[tokio::test]
async fn what_is_near_is_answered_at_once() {
    let tasks = Keeper::of(&[task(3)], &[]);
    let reply = ask(&tasks, asks(Verb::Status, stub(), &query())).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert!(matches!(reply.body(), Body::Data { view: View::ProcessStatus, .. }));
    assert_eq!(text(reply).await, PENDING);
    assert_eq!(*tasks.asked.lock().unwrap(), ["peek"]);
}

#[tokio::test]
async fn what_is_far_is_loaded() {
    let tasks = Keeper::of(&[], &[task(3)]);
    let reply = ask(&tasks, asks(Verb::Status, stub(), &query())).await.unwrap();
    assert_eq!(text(reply).await, PENDING);
    assert_eq!(*tasks.asked.lock().unwrap(), ["peek", "load"]);
}

#[tokio::test]
async fn cancel_asks_the_keeper_whatever_the_method() {
    for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
        let tasks = Keeper::of(&[task(3)], &[task(3)]);
        let mut request = asks(Verb::Cancel, stub(), &query());
        *request.method_mut() = method;
        let reply = ask(&tasks, request).await.unwrap();
        assert!(matches!(reply.body(), Body::Data { view: View::ProcessStatus, .. }));
        assert_eq!(text(reply).await, PENDING);
        assert_eq!(*tasks.asked.lock().unwrap(), ["cancel"]);
    }
}

#[tokio::test]
async fn the_first_uuid_counts() {
    // `status.uuid.twice` of the recording.
    let tasks = Keeper::of(&[task(3)], &[]);
    assert!(ask(&tasks, asks(Verb::Status, stub(), &format!("?a=b&uuid={UUID}&uuid=zzz"))).await.is_ok());
    let refusal = ask(&tasks, asks(Verb::Status, stub(), &format!("?uuid=zzz&uuid={UUID}"))).await.err().unwrap();
    assert_eq!(refusal.code, 203);
}

#[tokio::test]
async fn a_uuid_is_matched_exactly() {
    let tasks = Keeper::of(&[task(3)], &[task(3)]);
    let simple = UUID.replace('-', "");
    let others = [
        "",
        "1",
        "%C3%A9",
        &UUID.to_uppercase(),
        &simple,
        &format!("%7B{UUID}%7D"),
        &format!("urn:uuid:{UUID}"),
        &format!("{UUID}%20"),
        &format!("{}%0A", &UUID[..35]),
    ];
    for other in others {
        for verb in [Verb::Status, Verb::Cancel] {
            let refusal = ask(&tasks, asks(verb, stub(), &format!("?uuid={other}"))).await.err().unwrap();
            assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, 203), "{other:?}");
        }
    }
    assert!(tasks.asked.lock().unwrap().is_empty(), "nobody was asked about what is no uuid");
}

#[tokio::test]
async fn a_missing_uuid_is_206() {
    let tasks = Keeper::default();
    for query in ["", "?", "?UUID=1", "?detail=1"] {
        for verb in [Verb::Status, Verb::Cancel] {
            let refusal = ask(&tasks, asks(verb, stub(), query)).await.err().unwrap();
            assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, 206), "{query:?}");
            assert!(refusal.detail.contains("uuid"));
        }
    }
}

#[tokio::test]
async fn another_services_task_is_unknown() {
    let unknown = ask(&Keeper::default(), asks(Verb::Status, stub(), &query())).await.err().unwrap();
    assert_eq!((unknown.status, unknown.code), (StatusCode::BAD_REQUEST, 203));
    for tasks in [Keeper::of(&[task(4)], &[]), Keeper::of(&[], &[task(4)])] {
        for verb in [Verb::Status, Verb::Cancel] {
            let foreign = ask(&tasks, asks(verb, stub(), &query())).await.err().unwrap();
            assert_eq!((foreign.code, &foreign.detail), (203, &unknown.detail));
        }
    }
}

#[tokio::test]
async fn a_worker_of_another_version_is_204() {
    let mismatch = Snapshot { mismatch: Some("the worker is 0.4.2, configured is 0.4.3".into()), ..task(3) };
    let refusal = ask(&Keeper::of(&[mismatch], &[]), asks(Verb::Status, stub(), &query())).await.err().unwrap();
    assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, 204));
    assert_eq!(refusal.detail, "the worker is 0.4.2, configured is 0.4.3");
}

#[tokio::test]
async fn detail_joins_the_history() {
    let tasks = Keeper::of(&[task(3)], &[]);
    let reply = ask(&tasks, asks(Verb::Status, stub(), &format!("{}&detail=1", query()))).await.unwrap();
    let shown: Value = serde_json::from_slice(&text(reply).await).unwrap();
    let expected = json!({
        "result": null, "status": "PENDING", "uuid": UUID, "attempts": 2,
        "submitted": "2026-11-23T20:22:20.000Z", "sent": "2026-11-23T20:22:20.007Z", "started": null, "ended": null,
    });
    assert_eq!(shown, expected);
    for other in ["detail=0", "detail=true", "detail=0&detail=1", "detail"] {
        let reply = ask(&tasks, asks(Verb::Status, stub(), &format!("{}&{other}", query()))).await.unwrap();
        assert_eq!(text(reply).await, PENDING, "{other}");
    }
}

#[tokio::test]
async fn detail_joins_whatever_object_there_is() {
    for (json, start) in [("{}", "{\"attempts\":2"), ("{\"a\":1}\n", "{\"a\":1,\"attempts\":2")] {
        let joined = crate::detail::join(&Snapshot { json: json.into(), ..task(3) }).unwrap();
        assert!(joined.starts_with(start.as_bytes()));
        assert!(serde_json::from_slice::<Value>(&joined).is_ok());
    }
    for no_object in ["", "[]", "null"] {
        let tasks = Keeper::of(&[Snapshot { json: no_object.into(), ..task(3) }], &[]);
        let request = asks(Verb::Status, stub(), &format!("{}&detail=1", query()));
        assert_eq!(ask(&tasks, request).await.err().unwrap().status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_never_unknown() {
    let tasks = Keeper { broken: true, ..Keeper::default() };
    let refusal = ask(&tasks, asks(Verb::Status, stub(), &query())).await.err().unwrap();
    assert_eq!((refusal.status, refusal.code), (StatusCode::SERVICE_UNAVAILABLE, 205));
}

#[tokio::test]
async fn everything_else_passes() {
    let tasks = Keeper::of(&[task(3)], &[task(3)]);
    let mut others = vec![Request::get(format!("/stub/status{}", query())).body(()).unwrap()];
    others.push(asks(Verb::Status, Place::UnknownService, &query()));
    others.push(asks(Verb::Cancel, Place::UnknownService, ""));
    let verbs = Verb::all().into_iter().filter(|verb| !matches!(verb, Verb::Status | Verb::Cancel));
    others.extend(verbs.map(|verb| asks(verb, stub(), &query())));
    for request in others {
        assert_eq!(text(ask(&tasks, request).await.unwrap()).await, "inner");
    }
    assert!(tasks.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_without_target_crosses_untouched() {
    let (inner, mut handle) = mock::pair::<Request<&'static str>, Reply<App>>();
    let request = Request::post("/theirs?uuid=1").header("x-a", "1").body("theirs").unwrap();
    let asked = tokio::spawn(StatusLayer::new(Keeper::default()).layer(inner).oneshot(request));
    let (seen, send) = handle.next_request().await.unwrap();
    assert_eq!(
        (*seen.body(), seen.uri().to_string(), &seen.headers()["x-a"]),
        ("theirs", "/theirs?uuid=1".into(), &"1".parse().unwrap())
    );
    send.send_response(Response::builder().status(418).body(Body::Inner { body: App::from("tea") }).unwrap());
    let reply = asked.await.unwrap().unwrap();
    assert_eq!((reply.status(), text(reply).await), (StatusCode::IM_A_TEAPOT, "tea".into()));
}
