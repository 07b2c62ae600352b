//! What is read from query and body, and what is refused.

use bytes::Bytes;
use futures_util::stream;
use gateway_arguments::{ArgumentsLayer, MAX_FIELDS, MAX_NAME, MAX_PARTS};
use gateway_contract::{Arguments, BoxError, Place, Rejection, Service, Side, Target, Verb, code};
use http::{HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use std::{convert::Infallible, fmt::Write, sync::Arc};
use tower::{Layer, Service as _, ServiceExt, service_fn};

const LIMIT: usize = 64 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=X";

type Body = UnsyncBoxBody<Bytes, BoxError>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body of unknown length that breaks off with an error, or ends.
fn streamed(chunks: Vec<Result<&'static [u8], &'static str>>) -> Body {
    let frames = chunks.into_iter().map(|chunk| chunk.map(|data| Frame::data(data.into())).map_err(BoxError::from));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn target(verb: Verb) -> Target {
    let service = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
    Target { place: Place::Service(Arc::new(service)), verb, document: None }
}

fn request(verb: Verb, query: &str, content_type: &[u8], body: Body) -> Request<Body> {
    let mut request = Request::post(format!("/stub/x?{query}")).extension(target(verb)).body(body).expect("a request");
    if !content_type.is_empty() {
        let value = HeaderValue::from_bytes(content_type).expect("a value");
        request.headers_mut().insert("content-type", value);
    }
    request
}

/// What is left for the layers below, and whether a body is.
async fn send(request: Request<Body>) -> Result<(Option<Arguments>, bool), Rejection> {
    let stack = ArgumentsLayer::new(LIMIT).layer(service_fn(async |mut request: Request<Option<Body>>| {
        Ok::<_, Infallible>((request.extensions_mut().remove::<Arguments>(), request.body().is_some()))
    }));
    stack.oneshot(request).await
}

async fn read(verb: Verb, query: &str, content_type: &str, body: impl Into<Bytes>) -> Value {
    let (arguments, body) = send(request(verb, query, content_type.as_bytes(), full(body))).await.expect("readable");
    assert!(!body, "the body is read");
    let arguments = arguments.expect("left");
    json!([arguments.json, arguments.fields])
}

async fn refused(verb: Verb, query: &str, content_type: &str, body: impl Into<Bytes>) -> String {
    let rejection = send(request(verb, query, content_type.as_bytes(), full(body))).await.expect_err("refused");
    let refusal = rejection.into_refusal();
    assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, code::VALUE), "{}", refusal.detail);
    assert_eq!(refusal.side, Side::Client);
    refusal.detail
}

async fn too_large(request: Request<Body>) {
    let refusal = send(request).await.expect_err("refused").into_refusal();
    assert_eq!((refusal.status, refusal.code), (StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE), "{}", refusal.detail);
    assert!(refusal.detail.contains("65536"), "{}", refusal.detail);
}

fn part(name: &str, value: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[tokio::test]
async fn fields_come_from_query_and_forms_the_query_first() {
    let expected = json!([{}, {"doc_url": "http://h/a b", "k": "query", "z": "1", "é": "✓", "empty": ""}]);
    let query = "doc_url=http%3A%2F%2Fh%2Fa+b&k=query&k=again";
    let form = "k=form&z=1&z=2&%C3%A9=%E2%9C%93&empty";
    for verb in [Verb::Annotate, Verb::Process] {
        for kind in [FORM, "Application/X-WWW-Form-Urlencoded ; charset=UTF-8"] {
            assert_eq!(read(verb, query, kind, form).await, expected, "{kind}");
        }
        let form = [part("k", "form"), part("z", "1"), part("z", "2"), part("é", "✓"), part("empty", "")].concat();
        for kind in [MULTIPART, "multipart/form-data; charset=utf-8; boundary=\"X\""] {
            assert_eq!(read(verb, query, kind, format!("{form}--X--\r\n")).await, expected, "{kind}");
        }
    }
}

#[tokio::test]
async fn recorded_requests_are_read() {
    // `process.form_body` and `wire.prog.submit` of the original.
    let form = "doc_url=http%3A%2F%2F127.0.0.1%3A8097%2Fdoc.txt&x=1";
    let fields = json!({"doc_url": "http://127.0.0.1:8097/doc.txt", "x": "1"});
    assert_eq!(read(Verb::Process, "", FORM, form).await, json!([{}, fields]));

    let query = "doc_url=http%3A%2F%2F127.0.0.1%3A8097%2Fdoc.txt&sleep=0.3&ann_doc_id=A1";
    let fields = json!({"doc_url": "http://127.0.0.1:8097/doc.txt", "sleep": "0.3", "ann_doc_id": "A1"});
    let json = json!({"k": "hé", "n": 1});
    assert_eq!(read(Verb::Process, query, "application/json", r#"{"k":"hé","n":1}"#).await, json!([json, fields]));
}

#[tokio::test]
async fn process_takes_a_json_object() {
    for kind in ["application/json", "APPLICATION/JSON; charset=utf-8; charset=x", "application/ld+json"] {
        let read = read(Verb::Process, "a=1", kind, r#" {"a": 2, "b": [null, {"c": "é"}]} "#).await;
        assert_eq!(read, json!([{"a": 2, "b": [null, {"c": "é"}]}, {"a": "1"}]), "{kind}");
    }
    for nothing in ["", "null", " \r\n ", " null "] {
        assert_eq!(read(Verb::Process, "", "application/json", nothing).await, json!([{}, {}]), "{nothing:?}");
    }
}

#[tokio::test]
async fn other_bodies_count_as_none() {
    for kind in
        ["", "text/plain", "application/jsonx", "application/+json", "text/json", "application", ";;;", "é/json"]
    {
        assert_eq!(read(Verb::Process, "a=1", kind, r#"{"b": 1}"#).await, json!([{}, {"a": "1"}]), "{kind:?}");
    }
    assert_eq!(read(Verb::Annotate, "", "application/json", r#"{"b": 1}"#).await, json!([{}, {}]));
    assert_eq!(read(Verb::Annotate, "", "application/json", "{bad").await, json!([{}, {}]), "as the original");

    let odd = request(Verb::Process, "a=1", b"application/json\xff", full("{bad"));
    assert!(send(odd).await.is_ok(), "a content type that is no text");
}

#[tokio::test]
async fn json_that_is_no_object_is_refused() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep = format!(r#"{{"a": {deep}}}"#);
    for malformed in ["{bad", "{", r#"{"a": 1} x"#, r#"{"a": 1e999}"#, "\u{feff}{}", &deep] {
        let detail = refused(Verb::Process, "", "application/json", malformed.to_owned()).await;
        assert!(detail.contains("not valid JSON") && detail.contains("object"), "{detail}");
    }
    assert!(refused(Verb::Process, "", "application/json", b"{\"a\": \"\xff\"}".as_slice()).await.contains("JSON"));
    for (body, says) in [("[1,2]", "a list"), ("\"a\"", "text"), ("5", "a number"), ("true", "a truth value")] {
        let detail = refused(Verb::Process, "", "application/json", body).await;
        assert!(detail.contains(says) && detail.contains("expected an object"), "{detail}");
    }
}

#[tokio::test]
async fn text_that_is_no_utf8_is_refused_and_not_mended() {
    for query in ["a=%FF", "%C3=1", "a=1&b=%E2%9C"] {
        assert!(refused(Verb::Annotate, query, "", "").await.contains("query"), "{query}");
    }
    for form in [b"a=%FF".as_slice(), b"a=\xff", b"\xc3\x28=1"] {
        assert!(refused(Verb::Annotate, "", FORM, form).await.contains("form"), "{form:?}");
    }
    let replacement = read(Verb::Annotate, "a=%EF%BF%BD&b=100%&c=%zz", "", "").await;
    assert_eq!(replacement, json!([{}, {"a": "\u{fffd}", "b": "100%", "c": "%zz"}]), "what was sent is kept");
}

#[tokio::test]
async fn malformed_forms_are_refused() {
    let whole = format!("{}--X--\r\n", part("a", "1"));
    for end in 0..whole.len() - 4 {
        refused(Verb::Annotate, "", MULTIPART, whole.as_bytes()[..end].to_vec()).await;
    }
    assert!(refused(Verb::Annotate, "", "multipart/form-data", whole.clone()).await.contains("boundary"));
    for kind in ["multipart/form-data; boundary", "multipart/form-data; boundary=Y", "multipart/form-data;;"] {
        refused(Verb::Annotate, "", kind, whole.clone()).await;
    }
    let nameless = "--X\r\nContent-Disposition: form-data\r\n\r\n1\r\n--X--\r\n";
    assert!(refused(Verb::Annotate, "", MULTIPART, nameless).await.contains("no readable name"));
    let odd = b"--X\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\n1\r\n--X--\r\n".as_slice();
    assert!(refused(Verb::Annotate, "", MULTIPART, odd).await.contains("no readable name"));
    let file = "--X\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\n1\r\n--X--\r\n";
    assert!(refused(Verb::Annotate, "", MULTIPART, file).await.contains("\"a\" of the form is a file"));
    let binary = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--X--\r\n".as_slice();
    assert!(refused(Verb::Annotate, "", MULTIPART, binary).await.contains("no UTF-8 text"));
}

#[tokio::test]
async fn names_and_numbers_of_fields_are_bounded() {
    let fields =
        |count: usize| (0..count).fold(String::new(), |mut all, _| write!(all, "a&").map(|()| all).expect("fits"));
    assert_eq!(read(Verb::Annotate, "", FORM, fields(MAX_FIELDS)).await, json!([{}, {"a": ""}]));
    assert!(refused(Verb::Annotate, "", FORM, fields(MAX_FIELDS + 1)).await.contains("1000 fields"));
    assert!(refused(Verb::Annotate, "b=1", FORM, fields(MAX_FIELDS)).await.contains("1000 fields"));

    let parts = |count| format!("{}--X--\r\n", part("a", "1").repeat(count));
    assert_eq!(read(Verb::Annotate, "", MULTIPART, parts(MAX_PARTS)).await, json!([{}, {"a": "1"}]));
    assert!(refused(Verb::Annotate, "", MULTIPART, parts(MAX_PARTS + 1)).await.contains("256 parts"));

    let (fits, long) = ("n".repeat(MAX_NAME), "n".repeat(MAX_NAME + 1));
    assert_eq!(read(Verb::Annotate, &fits, "", "").await[1].as_object().map(|fields| fields.len()), Some(1));
    assert!(refused(Verb::Annotate, &long, "", "").await.contains("256 bytes"));
    assert!(refused(Verb::Annotate, "", MULTIPART, format!("{}--X--", part(&long, ""))).await.contains("256 bytes"));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    for kind in [FORM, MULTIPART, "application/json", "text/plain", ""] {
        let exactly = send(request(Verb::Process, "", b"text/plain", full(vec![b'x'; LIMIT]))).await;
        assert!(exactly.is_ok());
        too_large(request(Verb::Process, "", kind.as_bytes(), full(vec![b'x'; LIMIT + 1]))).await;
        let chunk: &[u8] = &[b'x'; 4096];
        too_large(request(Verb::Process, "", kind.as_bytes(), streamed(vec![Ok(chunk); 17]))).await;
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_waited_for() {
    let pending = || StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()).boxed_unsync();
    for told in ["65537", "18446744073709551615"] {
        let mut request = request(Verb::Annotate, "", b"", pending());
        request.headers_mut().insert("content-length", HeaderValue::from_static(told));
        too_large(request).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_with_its_cause() {
    for kind in [FORM, MULTIPART, "application/json", "text/plain"] {
        let body = streamed(vec![Ok(b"{"), Err("connection reset")]);
        let refusal =
            send(request(Verb::Process, "", kind.as_bytes(), body)).await.expect_err("refused").into_refusal();
        assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, code::VALUE));
        assert_eq!(refusal.cause.expect("a cause").to_string(), "connection reset");
        assert!(!refusal.detail.contains("reset"), "the cause is for the log");
    }
}

#[tokio::test]
async fn what_is_no_submission_crosses_with_its_body() {
    let unknown = Target { place: Place::UnknownService, verb: Verb::Annotate, document: None };
    let others = Verb::all().into_iter().filter(|verb| !verb.submits()).map(target);
    for target in others.map(Some).chain([None, Some(unknown)]) {
        // Polling this body would fail, and so would reading this query.
        let mut request = request(Verb::Status, "a=%FF", FORM.as_bytes(), streamed(vec![Err("was polled")]));
        request.extensions_mut().remove::<Target>();
        request.extensions_mut().extend(target.clone().map(stamped).unwrap_or_default());
        let (arguments, body) = send(request).await.expect("untouched");
        assert!(arguments.is_none() && body, "{target:?}");
    }
}

fn stamped(target: Target) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(target);
    extensions
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_called() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<Option<Body>>, u8>();
    handle.allow(1);
    let mut stack = ArgumentsLayer::new(LIMIT).layer(mock);
    let form = streamed(vec![Ok(b"a="), Ok(b"1")]);
    let request = request(Verb::Annotate, "", FORM.as_bytes(), form);
    let answer = tokio::spawn(stack.ready().await.expect("ready").call(request));
    let (seen, respond) = handle.next_request().await.expect("it comes through");
    assert_eq!(seen.extensions().get::<Arguments>().and_then(|arguments| arguments.field("a")), Some("1"));
    respond.send_response(7);
    assert_eq!(answer.await.expect("no panic").expect("an answer"), 7);
}
