//! The form of a workflow, on a shelf in memory.

#![allow(clippy::unwrap_used)] // tests

use bytes::Bytes;
use futures_util::StreamExt;
use gateway_contract::{Arguments, Base, BoxFuture, Place, Rejection, Service, Target, Verb};
use gateway_files::{Content, FilesLayer, Found, MAX_PARTS, Name, Shelf};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tower::{Layer, ServiceExt, service_fn};

/// The largest file, and what the form may hold beside its files.
const LIMITS: (u64, u64) = (1000, 200);

/// A name and what was kept under it.
type Kept = (String, Vec<u8>);

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Kept>>>);

impl Shelf for Memory {
    fn put(&self, name: Name, mut content: Content) -> BoxFuture<Result<(), Rejection>> {
        let files = self.0.clone();
        Box::pin(async move {
            let mut all = Vec::new();
            while let Some(piece) = content.next().await {
                all.extend(piece?);
            }
            files.lock().unwrap().push((name.to_string(), all));
            Ok(())
        })
    }

    fn get(&self, _: Name) -> BoxFuture<Result<Option<Found>, Rejection>> {
        Box::pin(async { Ok(None) })
    }
}

/// What is left for the layers below.
async fn read(memory: &Memory, parts: &str, known: Arguments) -> Result<Arguments, Rejection> {
    let (left, below) = (Arc::new(Mutex::new(None)), Arc::default());
    let inner = {
        let (left, below): (Arc<Mutex<Option<Arguments>>>, Arc<Mutex<bool>>) = (Arc::clone(&left), Arc::clone(&below));
        service_fn(move |mut request: Request<Option<Full<Bytes>>>| {
            *left.lock().unwrap() = request.extensions_mut().remove::<Arguments>();
            *below.lock().unwrap() = request.body().is_none();
            async { Err::<gateway_contract::Reply<Full<Bytes>>, _>(Rejection::not_found()) }
        })
    };
    let name = Service::WORKFLOW;
    let service = Service { index: 0, name: name.into(), route: name.into(), requires_document: true };
    let request = Request::post("/")
        .header("content-type", "multipart/form-data; boundary=X")
        .extension(Base("https://h/g".into()))
        .extension(Target { place: Place::Service(Arc::new(service)), verb: Verb::Workflow, document: None })
        .extension(known)
        .body(Some(Full::from(format!("{parts}--X--\r\n"))))
        .unwrap();
    let refused =
        FilesLayer::new(memory.clone(), LIMITS.0, LIMITS.1).layer(inner).oneshot(request).await.err().unwrap();
    match left.lock().unwrap().take() {
        Some(arguments) => {
            assert!(*below.lock().unwrap(), "the body is read");
            Ok(arguments)
        }
        None => Err(refused),
    }
}

fn part(head: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data{head}\r\n\r\n{content}\r\n")
}

fn field(name: &str, content: &str) -> String {
    part(&format!("; name=\"{name}\""), content)
}

fn file(name: &str, file: &str, content: &str) -> String {
    part(&format!("; name=\"{name}\"; filename=\"{file}\""), content)
}

#[tokio::test]
async fn fields_are_read_and_files_are_kept() {
    let memory = Memory::default();
    let parts = [
        field("json", "{}"),
        file("one", "../../etc/pass.wav", "RIFF"),
        file("two", "x.p/y", ""),
        field("json", "second"),
        field("said", "in the form"),
        file("none", "", "not chosen"),
    ];
    let known = Arguments {
        fields: [("said".to_owned(), "in the query".into())].into_iter().collect(),
        ..Arguments::default()
    };
    let arguments = read(&memory, &parts.concat(), known).await.unwrap();
    let fields = json!({"said": "in the query", "json": "{}", "none": "not chosen"});
    assert_eq!(Value::Object(arguments.fields), fields);
    let kept = memory.0.lock().unwrap().clone();
    assert_eq!(kept.iter().map(|(_, content)| &content[..]).collect::<Vec<_>>(), [&b"RIFF"[..], b""]);
    for (upload, (name, _)) in arguments.uploads.iter().zip(&kept) {
        assert_eq!(upload.url, format!("https://h/g/temporary_file/{name}"));
    }
    assert!(kept[0].0.ends_with(".wav") && !kept[0].0.contains("pass") && !kept[1].0.contains('.'), "{kept:?}");
    assert_eq!(arguments.uploads.iter().map(|upload| &*upload.field).collect::<Vec<_>>(), ["one", "two"]);
    // SHA-256 of nothing, as everybody knows it.
    assert!(arguments.uploads[1].digest.starts_with("e3b0c44298fc1c14") && arguments.uploads[1].digest.len() == 64);
}

#[tokio::test]
async fn each_file_has_its_own_limit() {
    let memory = Memory::default();
    let large = "x".repeat(1000);
    let parts: String = (0..MAX_PARTS).map(|number| file(&format!("f{number}"), "f", &large)).collect();
    let arguments = read(&memory, &parts, Arguments::default()).await.unwrap();
    assert_eq!(arguments.uploads.len(), MAX_PARTS, "more than one limit and what a form may hold beside it, together");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    for (parts, status, code, why) in [
        (file("a", "f", "1") + &file("a", "g", "2"), 400, 105, "two files"),
        (file("a", "f", &"x".repeat(1001)), 413, 208, "larger than 1000 bytes"),
        (field("json", &"x".repeat(201)), 413, 208, "more than 200 bytes"),
        (part("", "x"), 400, 105, "no readable name"),
        (field(&"n".repeat(300), "x"), 400, 105, "name of a field"),
        (field("a", "1").repeat(MAX_PARTS + 1), 400, 105, "parts"),
        ("--X\r\nbroken".to_owned(), 400, 105, "not valid multipart"),
    ] {
        let refusal = read(&Memory::default(), &parts, Arguments::default()).await.unwrap_err().into_refusal();
        assert_eq!((refusal.status.as_u16(), refusal.code), (status, code), "{}", refusal.detail);
        assert!(refusal.detail.contains(why), "{}", refusal.detail);
    }
}
