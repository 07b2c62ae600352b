use crate::{DispatchLayer, fingerprint, key};
use bytes::Bytes;
use gateway_contract::{
    Body, Identity, Place, Refusal, Rejection, Reply, Service, Submission, Target, Verb, View, Work,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{collections::HashSet, sync::Arc};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;
use uuid::Uuid;

type App = Full<Bytes>;

fn stub() -> Place {
    let service = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
    Place::Service(Arc::new(service))
}

fn asks(verb: Verb, place: Place) -> Request<()> {
    let mut request = Request::post("/stub/x").body(()).unwrap();
    request.extensions_mut().insert(Target { place, verb, document: None });
    request
}

fn work() -> Work {
    let Value::Object(misc) = json!({ "doc_url": "http://h/a", "n": [1, { "b": null, "a": true }] }) else { panic!() };
    Work { document_url: Some("http://h/a".into()), misc, ..Work::default() }
}

fn submits(verb: Verb) -> Request<()> {
    let mut request = asks(verb, stub());
    request.extensions_mut().insert(work());
    request
}

/// What is answered, and what was sent.
async fn dispatch(
    request: Request<()>,
    answer: Result<Uuid, Rejection>,
) -> (Result<Reply<App>, Refusal>, Option<Submission>) {
    let (sent, mut seen) = tokio::sync::mpsc::channel(1);
    let answer = Arc::new(std::sync::Mutex::new(Some(answer)));
    let send = service_fn(move |submission: Submission| {
        sent.try_send(submission).unwrap();
        let answer = answer.lock().unwrap().take().unwrap();
        async move { answer }
    });
    let inner = service_fn(|_: Request<()>| async {
        Ok::<_, Rejection>(Response::new(Body::Inner { body: App::from("inner") }))
    });
    let reply = DispatchLayer::new(send).layer(inner).oneshot(request).await.map_err(Rejection::into_refusal);
    (reply, seen.try_recv().ok())
}

async fn text(reply: Reply<App>) -> Bytes {
    reply.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_submission_is_sent_and_its_uuid_answered() {
    for verb in [Verb::Annotate, Verb::Process] {
        let uuid = Uuid::from_u128(7);
        let (reply, sent) = dispatch(submits(verb), Ok(uuid)).await;
        let reply = reply.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        assert!(matches!(reply.body(), Body::Data { view: View::Submission, .. }));
        assert_eq!(text(reply).await, r#"{"uuid":"00000000-0000-0000-0000-000000000007"}"#);
        let sent = sent.unwrap();
        assert_eq!((&*sent.service.name, sent.verb, sent.work), ("stub", verb, work()));
        assert_eq!((sent.subject, sent.idempotency), (None, None));
    }
}

#[tokio::test]
async fn identity_and_key_go_along() {
    let mut request = submits(Verb::Process);
    request.extensions_mut().insert(Identity { subject: Some("ada".into()) });
    request.headers_mut().insert("idempotency-key", "\"8e03978e\"".parse().unwrap());
    let sent = dispatch(request, Ok(Uuid::nil())).await.1.unwrap();
    assert_eq!(sent.subject.as_deref(), Some("ada"));
    let idempotency = sent.idempotency.unwrap();
    assert_eq!(&*idempotency.key, "8e03978e");
    assert_eq!(idempotency.fingerprint, fingerprint::of("stub", "process", &work()));
}

#[tokio::test]
async fn an_unknown_service_is_202_for_every_verb() {
    for verb in Verb::all() {
        let (reply, sent) = dispatch(asks(verb, Place::UnknownService), Ok(Uuid::nil())).await;
        let refusal = reply.err().unwrap();
        assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, 202));
        assert!(refusal.detail.contains("no service of that name is configured"));
        assert_eq!(sent, None);
    }
}

#[tokio::test]
async fn a_submission_without_work_is_a_fault_of_composition() {
    let (reply, sent) = dispatch(asks(Verb::Annotate, stub()), Ok(Uuid::nil())).await;
    let refusal = reply.err().unwrap();
    assert_eq!((refusal.status, refusal.code), (StatusCode::INTERNAL_SERVER_ERROR, 103));
    assert_eq!(sent, None);
}

#[tokio::test]
async fn what_the_sender_refuses_is_refused() {
    let (reply, _) = dispatch(submits(Verb::Process), Err(Rejection::unavailable("the outbox is full", 3))).await;
    let refusal = reply.err().unwrap();
    assert_eq!((refusal.code, refusal.retry_after), (205, Some(3)));
}

#[tokio::test]
async fn the_sender_is_asked_whether_it_is_ready() {
    // The mock panics when it is called without having been asked.
    let (send, mut handle) = mock::pair::<Submission, Uuid>();
    let send = send.map_err(Rejection::from);
    let inner = service_fn(|_: Request<()>| async { Err::<Reply<App>, _>(Rejection::not_found()) });
    let asked = tokio::spawn(DispatchLayer::new(send).layer(inner).oneshot(submits(Verb::Annotate)));
    let (_, respond) = handle.next_request().await.unwrap();
    respond.send_response(Uuid::nil());
    assert_eq!(asked.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn everything_else_passes() {
    let mut others: Vec<_> =
        Verb::all().into_iter().filter(|verb| !verb.submits()).map(|verb| asks(verb, stub())).collect();
    others.push(asks(Verb::Info, Place::Gateway));
    others.push(asks(Verb::Stats, Place::Platform));
    for request in others {
        let (reply, sent) = dispatch(request, Ok(Uuid::nil())).await;
        assert_eq!((text(reply.unwrap()).await, sent), ("inner".into(), None));
    }
}

#[tokio::test]
async fn a_request_without_target_crosses_untouched() {
    let (inner, mut handle) = mock::pair::<Request<&'static str>, Reply<App>>();
    let send = service_fn(|_: Submission| async { Ok::<_, Rejection>(Uuid::nil()) });
    let mut request = Request::post("/theirs").header("idempotency-key", "").body("theirs").unwrap();
    request.extensions_mut().insert(work());
    let asked = tokio::spawn(DispatchLayer::new(send).layer(inner).oneshot(request));
    let (seen, send) = handle.next_request().await.unwrap();
    assert_eq!((*seen.body(), seen.extensions().get::<Work>()), ("theirs", Some(&work())));
    send.send_response(Response::builder().status(418).body(Body::Inner { body: App::from("tea") }).unwrap());
    let reply = asked.await.unwrap().unwrap();
    assert_eq!((reply.status(), text(reply).await), (StatusCode::IM_A_TEAPOT, "tea".into()));
}

fn key_of(values: &[&[u8]]) -> Result<Option<Box<str>>, ()> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("idempotency-key", HeaderValue::from_bytes(value).unwrap());
    }
    key::read(&headers).map_err(|_| ())
}

#[test]
fn a_key_is_a_string_or_bare() {
    assert_eq!(key_of(&[]), Ok(None));
    let long = "k".repeat(255);
    let cases: [(&str, &str); 6] = [
        ("\"abc\"", "abc"),
        ("abc", "abc"),
        ("  \"a\\\"b\\\\c\" ", "a\"b\\c"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("a/b:c=d;e,f", "a/b:c=d;e,f"),
        (&long, &long),
    ];
    for (sent, key) in cases {
        assert_eq!(key_of(&[sent.as_bytes()]), Ok(Some(key.into())), "{sent}");
    }
}

#[tokio::test]
async fn an_unreadable_key_is_209() {
    let long = format!("\"{}\"", "k".repeat(256));
    let wrong: [&str; 11] =
        ["", "\"\"", "\"", "\"abc", "\"abc\"x", "\"a\\b\"", "\"a b\"", "a b", "a\tb", "h\u{e9}", &long];
    for value in wrong {
        assert_eq!(key_of(&[value.as_bytes()]), Err(()), "{value}");
        let mut request = submits(Verb::Process);
        request.headers_mut().insert("idempotency-key", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let (reply, sent) = dispatch(request, Ok(Uuid::nil())).await;
        let refusal = reply.err().unwrap();
        assert_eq!((refusal.status, refusal.code, sent), (StatusCode::BAD_REQUEST, 209, None));
    }
    assert_eq!(key_of(&[b"a", b"a"]), Err(()), "two keys");
}

fn misc(value: Value) -> Work {
    let mut misc = Map::new();
    misc.insert("v".into(), value);
    Work { misc, ..Work::default() }
}

#[test]
fn different_submissions_have_different_fingerprints() {
    let works = [
        Work::default(),
        Work { document_url: Some(String::new()), ..Work::default() },
        Work { annotations_url: Some(String::new()), ..Work::default() },
        Work { document_url: Some("u".into()), ..Work::default() },
        Work { annotations_url: Some("u".into()), ..Work::default() },
        misc(json!(null)),
        misc(json!(true)),
        misc(json!(false)),
        misc(json!(1)),
        misc(json!("1")),
        misc(json!([])),
        misc(json!({})),
        misc(json!(["ab", "c"])),
        misc(json!(["a", "bc"])),
        misc(json!([["a"], "b"])),
        misc(json!([["a", "b"]])),
        misc(json!(["a", "b"])),
        misc(json!(["b", "a"])),
        misc(json!({ "a": "b" })),
        misc(json!({ "a": { "b": null } })),
        misc(json!({ "a": null, "b": null })),
    ];
    let mut seen = HashSet::new();
    for (service, verb) in [("s", "process"), ("s", "annotate"), ("sp", "rocess")] {
        for work in &works {
            assert!(seen.insert(fingerprint::of(service, verb, work)), "{service} {verb} {work:?}");
        }
    }
}

#[test]
fn the_fingerprint_is_written_down() {
    // Fingerprints are kept over releases: a change here is a change of `FORM`, and of this line.
    let hex: String = fingerprint::of("stub", "process", &work()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "2e51cd2b39a698cd94b0d0ae8c34c8e5228f6fdeb174bd423e4cb896e1cfde8d");
}

/// The value with the keys of every object in reverse.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect(),
        Value::Array(items) => items.iter().map(reversed).collect(),
        other => other.clone(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c]{0,3}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_order_of_keys_does_not_matter(value in any_json()) {
        let turned = reversed(&value);
        prop_assert_eq!(fingerprint::of("s", "v", &misc(value)), fingerprint::of("s", "v", &misc(turned)));
    }

    #[test]
    fn equal_fingerprints_mean_equal_work(one in any_json(), other in any_json()) {
        let same = fingerprint::of("s", "v", &misc(one.clone())) == fingerprint::of("s", "v", &misc(other.clone()));
        prop_assert_eq!(same, one == other);
    }

    #[test]
    fn no_header_makes_the_key_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let read = key_of(&[value.as_bytes()]);
            prop_assert!(read.is_err() || (1..=255).contains(&read.unwrap().unwrap().len()));
        }
    }
}
