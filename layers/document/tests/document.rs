//! What becomes of arguments, and what is refused.

use gateway_contract::{Arguments, Locate, Place, Rejection, Service, Side, Target, Verb, Work, code};
use gateway_document::DocumentLayer;
use http::{Request, StatusCode};
use serde_json::{Map, Value, json};
use std::{convert::Infallible, sync::Arc};
use tower::{Layer, ServiceExt, service_fn};

/// The services that stood around the original when it was recorded.
#[derive(Debug, Clone)]
struct Recorded {
    upload: bool,
}

impl Locate for Recorded {
    fn document(&self, id: &str) -> Result<String, Rejection> {
        Ok(format!("http://mss:5000/get/{}", id.replace('/', "%2F")))
    }

    fn annotations(&self, id: &str) -> Result<String, Rejection> {
        Ok(format!("http://127.0.0.1:8098/document/{id}/annotations?storageType=2"))
    }

    fn admit(&self, name: &str, url: &str) -> Result<String, Rejection> {
        match url.strip_prefix("http://") {
            Some(rest) if rest.starts_with("private/") => Err(Rejection::client(code::URL_NOT_ALLOWED, name)),
            Some(rest) if rest.contains('/') => Ok(url.replace('é', "%C3%A9")),
            _ => Err(Rejection::client(code::INVALID_URL, name)),
        }
    }

    fn upload(&self) -> Option<String> {
        self.upload.then(|| "http://mss:5000/add".into())
    }
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("an object") };
    map
}

/// A submission: to a service that requires a document (or not), the id in its path, its JSON and its fields.
struct Submission {
    requires_document: bool,
    id: Option<&'static str>,
    json: Value,
    fields: Value,
}

impl Submission {
    fn fields(fields: Value) -> Self {
        Self { requires_document: true, id: None, json: json!({}), fields }
    }

    async fn send(self, verb: Verb, upload: bool) -> Result<Work, Rejection> {
        let service = Service {
            index: 0,
            name: "multi".into(),
            route: "multi".into(),
            requires_document: self.requires_document,
        };
        let target = Target { place: Place::Service(Arc::new(service)), verb, document: self.id.map(Into::into) };
        let arguments = Arguments { json: map(self.json), fields: map(self.fields), uploads: Vec::new() };
        let request = Request::post("/").extension(target).extension(arguments).body(()).expect("a request");
        let stack = DocumentLayer::new(Recorded { upload }).layer(service_fn(async |mut request: Request<()>| {
            assert!(request.extensions().get::<Arguments>().is_none(), "taken out");
            Ok::<_, Infallible>(request.extensions_mut().remove::<Work>().expect("left"))
        }));
        stack.oneshot(request).await
    }

    /// `[document, annotations, misc]`
    async fn work(self) -> Value {
        let work = self.send(Verb::Process, true).await.expect("accepted");
        json!([work.document_url, work.annotations_url, work.misc])
    }

    /// Code and text of the refusal.
    async fn refused(self) -> (u16, String) {
        let refusal = self.send(Verb::Annotate, true).await.expect_err("refused").into_refusal();
        assert_eq!((refusal.status, refusal.side), (StatusCode::BAD_REQUEST, Side::Client), "{}", refusal.detail);
        (refusal.code, refusal.detail)
    }
}

/// Tasks as the original's workers got them (they echo the whole argument).
#[tokio::test]
async fn work_is_what_the_original_made_of_it() {
    let doc = "http://127.0.0.1:8097/doc.txt";
    let upload = "http://mss:5000/add";
    let none = || json!({});
    let cases = [
        // status.stub, status.process_nobody
        (None, none(), json!({"doc_url": doc}), json!([doc, null, {"doc_url": doc, "upload_url": upload}])),
        // status.annotate_multipart
        (
            None,
            none(),
            json!({"doc_url": doc, "payload": "some payload"}),
            json!([doc, null, {"doc_url": doc, "payload": "some payload", "upload_url": upload}]),
        ),
        // status.storage_doc+doc_url
        (
            Some("abc123.mp4"),
            none(),
            json!({"doc_url": doc}),
            json!(["http://mss:5000/get/abc123.mp4", null, {"doc_url": doc, "upload_url": upload}]),
        ),
        // annotate.storage_txt_id
        (
            None,
            none(),
            json!({"doc_url": doc, "storage_txt_id": "t1.txt", "storage_aud_xx_id": "foo"}),
            json!([doc, null, {
                "aud_url": "http://mss:5000/get/foo", "doc_url": doc,
                "txt_url": "http://mss:5000/get/t1.txt", "upload_url": upload,
            }]),
        ),
        // annotate.storage_id_bad
        (
            None,
            none(),
            json!({"doc_url": "http://h/d", "storage_id": "x"}),
            json!(["http://h/d", null, {
                "doc_url": "http://h/d", "id_url": "http://mss:5000/get/x", "upload_url": upload,
            }]),
        ),
        // status.txt_url
        (
            None,
            none(),
            json!({"doc_url": doc, "txt_url": "http://h/t.txt"}),
            json!([doc, null, {"doc_url": doc, "txt_url": "http://h/t.txt", "upload_url": upload}]),
        ),
        // status.misc
        (
            None,
            none(),
            json!({"doc_url": doc, "a": "1", "b": "", "stateful": "true"}),
            json!([doc, null, {"a": "1", "b": "", "doc_url": doc, "stateful": "true", "upload_url": upload}]),
        ),
        // process.storage_doc_id
        (
            Some("abc.mp4"),
            json!({"a": 1}),
            none(),
            json!(["http://mss:5000/get/abc.mp4", null, {"a": 1, "upload_url": upload}]),
        ),
        // wire.prog
        (
            None,
            json!({"k": "hé", "n": 1}),
            json!({"doc_url": doc, "sleep": "0.3", "ann_doc_id": "A1"}),
            json!([doc, "http://127.0.0.1:8098/document/A1/annotations?storageType=2", {
                "ann_doc_id": "A1", "doc_url": doc, "k": "hé", "n": 1, "sleep": "0.3", "upload_url": upload,
            }]),
        ),
        // wire.store
        (
            None,
            none(),
            json!({"doc_url": doc, "ann_doc_id": "ID9", "callback_url": "http://127.0.0.1:8099/cb"}),
            json!([doc, "http://127.0.0.1:8098/document/ID9/annotations?storageType=2", {
                "ann_doc_id": "ID9", "callback_url": "http://127.0.0.1:8099/cb", "doc_url": doc, "upload_url": upload,
            }]),
        ),
    ];
    for (id, json, fields, expected) in cases {
        assert_eq!(Submission { requires_document: true, id, json, fields }.work().await, expected);
    }
}

#[tokio::test]
async fn a_service_may_need_no_document() {
    let without = |id, fields| Submission { requires_document: false, id, json: json!({}), fields };
    let upload = "http://mss:5000/add";
    // status.noparams, status.noparams_storage
    assert_eq!(without(None, json!({})).work().await, json!([null, null, {"upload_url": upload}]));
    let stored = without(Some("abc"), json!({})).work().await;
    assert_eq!(stored, json!(["http://mss:5000/get/abc", null, {"upload_url": upload}]));

    let given = without(None, json!({"doc_url": "http://h/d"})).send(Verb::Annotate, false).await.expect("accepted");
    assert_eq!(given.document_url.as_deref(), Some("http://h/d"), "used if given");
    assert_eq!(without(None, json!({"doc_url": "notaurl"})).refused().await.0, code::INVALID_URL, "and judged");
}

#[tokio::test]
async fn later_values_win() {
    let fields = json!({"doc_url": "http://h/é", "storage_txt_id": "t1", "txt_url": "http://h/t", "a": "2"});
    let json = json!({"a": 1, "txt_url": 5, "doc_url": "http://other/", "storage_b_id": "kept", "b": null});
    let work = Submission { requires_document: true, id: None, json, fields }.work().await;
    let misc = json!({
        "a": "2", "txt_url": "http://h/t", "doc_url": "http://h/%C3%A9", "storage_b_id": "kept", "b": null,
        "upload_url": "http://mss:5000/add",
    });
    assert_eq!(work, json!(["http://h/%C3%A9", null, misc]), "and URLs are normalised in both places");
}

#[tokio::test]
async fn nobody_but_the_gateway_sets_the_upload_url() {
    for upload in [true, false] {
        let fields = json!({"doc_url": "http://h/d", "upload_url": "http://evil/", "storage_upload_id": "x"});
        let json = json!({"upload_url": "http://evil/"});
        let submission = Submission { requires_document: true, id: None, json, fields };
        let work = submission.send(Verb::Process, upload).await.expect("accepted");
        let expected = upload.then(|| json!("http://mss:5000/add"));
        assert_eq!(work.misc.get("upload_url"), expected.as_ref());
        assert_eq!(work.misc.len(), 1 + usize::from(upload));
    }
}

#[tokio::test]
async fn storage_arguments_are_not_passed() {
    let fields = json!({"doc_url": "http://h/d", "storage_txt_id": "a/b", "storage_txt": "x", "storage_": "y"});
    let work = Submission::fields(fields).work().await;
    let expected = json!({
        "doc_url": "http://h/d", "txt_url": "http://mss:5000/get/a%2Fb", "upload_url": "http://mss:5000/add",
    });
    assert_eq!(work[2], expected);
}

#[tokio::test]
async fn a_missing_document_is_refused() {
    for fields in [json!({}), json!({"txt_url": "http://h/t", "storage_doc_id": "x"})] {
        let (code, detail) = Submission::fields(fields).refused().await;
        assert_eq!(code, code::MISSING_PARAMETER);
        assert!(detail.contains("doc_url") && detail.contains("multi"), "{detail}");
    }
    // The document is an argument; what the JSON says is the worker's business.
    let json = json!({"doc_url": "http://h/d"});
    let submission = Submission { requires_document: true, id: None, json, fields: json!({}) };
    assert_eq!(submission.refused().await.0, code::MISSING_PARAMETER);
}

#[tokio::test]
async fn every_url_argument_is_judged_by_its_name() {
    let cases = [
        (json!({"doc_url": "notaurl"}), code::INVALID_URL, "doc_url"),
        (json!({"doc_url": ""}), code::INVALID_URL, "doc_url"),
        (json!({"doc_url": "http://h/d", "callback_url": "http://h"}), code::INVALID_URL, "callback_url"),
        (json!({"doc_url": "http://h/d", "any_url": ""}), code::INVALID_URL, "any_url"),
        (json!({"doc_url": "http://private/"}), code::URL_NOT_ALLOWED, "doc_url"),
        (json!({"any_url": "", "doc_url": "http://private/"}), code::URL_NOT_ALLOWED, "doc_url"),
    ];
    for (fields, code, name) in cases {
        assert_eq!(Submission::fields(fields.clone()).refused().await, (code, name.to_owned()), "{fields}");
    }
    let beside =
        Submission { requires_document: true, id: Some("abc"), json: json!({}), fields: json!({"doc_url": "notaurl"}) };
    assert_eq!(beside.refused().await.0, code::INVALID_URL, "judged even if the path names the document");
}

#[tokio::test]
async fn what_can_be_no_id_is_refused() {
    for id in ["", ".", ".."] {
        for name in ["ann_doc_id", "storage_txt_id"] {
            let mut fields = json!({"doc_url": "http://h/d"});
            fields[name] = id.into();
            let (code, detail) = Submission::fields(fields).refused().await;
            assert_eq!(code, code::VALUE);
            assert!(detail.contains(name), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_submission_without_arguments_is_a_fault_of_composition() {
    let service = Service { index: 0, name: "a".into(), route: "a".into(), requires_document: false };
    let target = Target { place: Place::Service(Arc::new(service)), verb: Verb::Annotate, document: None };
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(()));
    let request = Request::post("/").extension(target).body(()).expect("a request");
    let refusal = DocumentLayer::new(Recorded { upload: true }).layer(inner).oneshot(request).await;
    let refusal = refusal.expect_err("refused").into_refusal();
    assert_eq!((refusal.status, refusal.code), (StatusCode::INTERNAL_SERVER_ERROR, code::CONFIGURATION));
    assert_eq!(refusal.side, Side::Gateway);
}

#[tokio::test]
async fn what_is_no_submission_crosses_untouched() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<&str>, u8>();
    let layer = DocumentLayer::new(Recorded { upload: true });
    let unknown = Target { place: Place::UnknownService, verb: Verb::Annotate, document: None };
    let status = Target { place: Place::Gateway, verb: Verb::Status, document: None };
    for target in [None, Some(unknown), Some(status)] {
        let mut request = Request::post("/").extension(Arguments::default()).body("body").expect("a request");
        if let Some(target) = target {
            request.extensions_mut().insert(target);
        }
        let answer = tokio::spawn(layer.layer(mock.clone()).oneshot(request));
        let (seen, respond) = handle.next_request().await.expect("it comes through");
        assert_eq!(*seen.body(), "body");
        assert!(seen.extensions().get::<Work>().is_none() && seen.extensions().get::<Arguments>().is_some());
        respond.send_response(7);
        assert_eq!(answer.await.expect("no panic").expect("an answer"), 7);
    }
}
