//! What is handed in around a run: annotations, files, callbacks, against servers of our own.

#![allow(clippy::unwrap_used)] // the lint looks only into test functions, not into their helpers

mod common;

use common::{Bench, failure, job, sh, success};
use gateway_worker::{
    Client, DynHandler, Ending, Event, GatewayFiles, HandlerProgress, HandlerTask, Job, Limits, Policy, Program,
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// A request, as a server saw it.
#[derive(Debug, Clone)]
struct Seen {
    /// `POST /path`
    line: String,
    head: String,
    body: String,
}

/// Storage service, annotation store and callback sink at once.
struct Store {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Store {
    /// Answers every `POST` and `PUT` with this status.
    async fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, address, status, all.clone()));
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://ann:pa55@{}{path}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn serve(mut socket: TcpStream, address: SocketAddr, status: &str, all: Arc<Mutex<Vec<Seen>>>) {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" http/1.1").to_owned();
    let n = all.lock().unwrap().len();
    let (status, answer) = match line.starts_with("get") {
        true => {
            ("200 OK", json!({"storage_doc_id": format!("id{n}"), "upload_url": format!("http://{address}/put{n}")}))
        }
        false => (status, Value::Null),
    };
    all.lock().unwrap().push(Seen { line, head, body: String::from_utf8(body).unwrap() });
    let answer = answer.to_string();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}", answer.len());
    let _ = socket.write_all(text.as_bytes()).await;
}

fn asks(annotations: Option<String>, misc: Value) -> Job {
    let argument = json!({"service": {"misc": misc}, "annotation_service": {"url": annotations}});
    Job { argument, version: "1.2".into(), ..job() }
}

async fn run(bench: &Bench, job: Job, program: Program) -> (Ending, Vec<Event>) {
    bench.run(job, program, CancellationToken::new()).await
}

#[tokio::test]
async fn annotations_are_posted() {
    let (bench, store) = (Bench::new(), Store::start("201 Created").await);
    let url = || Some(store.url("/document/1/annotations?storageType=2"));
    let (ending, events) =
        run(&bench, asks(url(), json!({})), sh(r#"echo '[{"@id": "a", "@version": "2", "n": 1.50}]'"#)).await;
    assert_eq!(events.last(), Some(&Event::Storing));
    assert_eq!(success((ending, events)), r#"[{"@id": "a", "@version": "2", "n": 1.50}]"#);
    let ending = run(&bench, asks(url(), json!({})), sh(r#"echo '{"annotations": [{"@id": "b"}], "more": 2}'"#)).await;
    assert_eq!(success(ending), r#"{"annotations": [{"@id": "b"}], "more": 2}"#);
    let seen = store.seen();
    let bodies: Vec<_> = seen.iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(
        bodies,
        [
            r#"{"common": {}, "data": [{"@id": "a", "@version": "2", "n": 1.50}]}"#,
            r#"{"common": {}, "data": [{"@version": "1.2", "@id": "b"}]}"#
        ]
    );
    assert_eq!(seen[0].line, "post /document/1/annotations?storagetype=2");
    assert!(seen[0].head.contains("accept: application/json\r\n"), "{}", seen[0].head);
    assert!(seen[0].head.contains("content-type: application/json\r\n"), "{}", seen[0].head);
}

#[tokio::test]
async fn annotations_that_are_no_list_or_are_not_taken_fail_the_task() {
    let bench = Bench::new();
    let store = Store::start("500 Oops").await;
    let (class, _) = failure(run(&bench, asks(Some(store.url("/a")), json!({})), sh("echo text")).await);
    assert_eq!((class.as_str(), store.lines().len()), ("InvalidAnnotationFormat", 0));
    let (class, message) = failure(run(&bench, asks(Some(store.url("/a")), json!({})), sh("echo '[]'")).await);
    assert_eq!(class, "UploadError");
    assert!(message.contains("500") && !message.contains("pa55"), "{message}");
    // A redirect is no success: what is behind it has not got the annotations.
    let store = Store::start("302 Found\r\nlocation: /elsewhere").await;
    let (class, _) = failure(run(&bench, asks(Some(store.url("/a")), json!({})), sh("echo '[]'")).await);
    assert_eq!((class.as_str(), store.lines().len()), ("UploadError", 1));
    let (class, _) = failure(run(&bench, asks(Some("ftp://h/x".into()), json!({})), sh("echo '[]'")).await);
    assert_eq!(class, "UploadError");
}

#[tokio::test]
async fn files_are_uploaded_and_named_in_the_result() {
    let (bench, store) = (Bench::new(), Store::start("201 Created").await);
    let script = r#"mkdir "$0/d"; printf one > "$0/a b.txt"; printf two > "$0/d/c"; : > "$0/empty"; echo '{"n": 1}'"#;
    let program = || Program::new(["sh", "-c", script, "{output}"]);
    let misc = json!({"upload_url": store.url("/add?x=1")});
    let result = success(run(&bench, asks(None, misc), program()).await);
    let expected = json!({"n": 1, "files": [
        {"name": "a b.txt", "storage_doc_id": "id0"},
        {"name": "d/c", "storage_doc_id": "id2"},
        {"name": "empty", "storage_doc_id": "id4"},
    ]});
    assert_eq!(serde_json::from_str::<Value>(&result).unwrap(), expected);
    let seen = store.seen();
    assert_eq!(
        store.lines(),
        [
            "get /add?x=1&filename=a%20b.txt",
            "put /put0",
            "get /add?x=1&filename=d%2fc",
            "put /put2",
            "get /add?x=1&filename=empty",
            "put /put4"
        ]
    );
    assert_eq!((seen[1].body.as_str(), seen[3].body.as_str(), seen[5].body.as_str()), ("one", "two", ""));
    assert!(seen[1].head.contains("content-type: application/octet-stream\r\n"), "{}", seen[1].head);
    // Nobody says where they go: nothing is sent, and nothing is lost in silence.
    let (class, message) = failure(run(&bench, asks(None, json!({})), program()).await);
    assert_eq!((class.as_str(), store.lines().len()), ("UploadError", 6));
    assert!(message.contains("\"a b.txt\"") && message.contains("server.public_url"), "{message}");
}

/// A gateway's temporary files, as the last resort.
#[tokio::test]
async fn files_that_no_storage_service_wants_go_to_the_gateway() {
    let store = Store::start("201 Created").await;
    let client = Client::new(Policy::default().with_private_networks(true), Limits::default()).unwrap();
    let mut bench = Bench::new();
    let files = GatewayFiles::new(client, &store.url("/base/"), Some("5hared".into()));
    assert!(!format!("{files:?}").contains("5hared") && !format!("{files:?}").contains("pa55"), "{files:?}");
    bench.keep(Arc::new(files));
    let script = r#"printf one > "$0/a.mp3"; printf two > "$0/b.no-extension"; echo '{"n": 1}'"#;
    let program = || Program::new(["sh", "-c", script, "{output}"]);
    let result = success(run(&bench, asks(None, json!({})), program()).await);
    let expected = json!({"n": 1, "files": [
        {"name": "a.mp3", "url": "null"}, {"name": "b.no-extension", "url": "null"},
    ]});
    assert_eq!(serde_json::from_str::<Value>(&result).unwrap(), expected, "what the server answered is the URL");
    let seen = store.seen();
    assert_eq!(store.lines(), ["post /base/temporary_file", "post /base/temporary_file"]);
    assert!(seen[0].head.contains("x-service-key: 5hared\r\n"), "{}", seen[0].head);
    let (_, boundary) = seen[0].head.split_once("multipart/form-data; boundary=").unwrap();
    let boundary = boundary.lines().next().unwrap();
    assert!(seen[0].body.starts_with(&format!("--{boundary}\r\n")), "{}", seen[0].body);
    assert!(seen[0].body.ends_with(&format!("\r\n\r\none\r\n--{boundary}--\r\n")), "{}", seen[0].body);
    assert!(seen[0].body.contains("filename=\"file.mp3\"") && seen[1].body.contains("filename=\"file\""));
    // A storage service that is named comes first.
    success(run(&bench, asks(None, json!({"upload_url": store.url("/add")})), program()).await);
    assert_eq!(store.lines().len(), 6);

    let refuses = Store::start("401 Unauthorized").await;
    let client = Client::new(Policy::default().with_private_networks(true), Limits::default()).unwrap();
    bench.keep(Arc::new(GatewayFiles::new(client, &refuses.url(""), None)));
    let (class, message) = failure(run(&bench, asks(None, json!({})), program()).await);
    assert_eq!(class, "UploadError");
    assert!(message.contains("shared_key") && !message.contains("pa55"), "{message}");
}

#[tokio::test]
async fn a_file_that_is_not_taken_fails_the_task() {
    let (bench, store) = (Bench::new(), Store::start("507 Full").await);
    let program = Program::new(["sh", "-c", "echo x > $0/x", "{output}"]);
    let misc = json!({"upload_url": store.url("/add")});
    let (class, message) = failure(run(&bench, asks(None, misc), program).await);
    assert_eq!(class, "UploadError");
    assert!(message.contains("\"x\"") && message.contains("507") && !message.contains("pa55"), "{message}");
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_a_task_no_longer_than_its_limit() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a", listener.local_addr().unwrap());
    let program = Program { timeout: Duration::from_millis(800), ..sh("echo '[]'") };
    let (class, _) = failure(run(&bench, asks(Some(url), json!({})), program).await);
    assert_eq!(class, "TimeLimitExceeded");
}

#[tokio::test]
async fn callbacks_are_told_the_end_and_harm_nothing() {
    let (bench, store) = (Bench::new(), Store::start("200 OK").await);
    let job = asks(None, json!({"callback_url": store.url("/called")}));
    bench.runner.call_back(job.id, None, &job.argument, "SUCCESS").await;
    let seen = store.seen();
    assert_eq!(seen[0].line, "post /called");
    let expected = json!({"uuid": job.id, "status": "SUCCESS"});
    assert_eq!(serde_json::from_str::<Value>(&seen[0].body).unwrap(), expected);
    bench.runner.call_back(job.id, None, &json!({}), "SUCCESS").await;
    let nobody = json!({"service": {"misc": {"callback_url": "http://127.0.0.1:1/x"}}});
    bench.runner.call_back(job.id, None, &nobody, "FAILURE").await;
    assert_eq!(store.lines().len(), 1);
}

#[tokio::test]
async fn handlers_run_like_programs() {
    let (bench, store) = (Bench::new(), Store::start("204 No Content").await);
    let handler = DynHandler::new(|_: HandlerTask, progress: HandlerProgress| async move {
        progress.tell(50.0);
        Ok(json!([{"@id": "a"}]))
    });
    let (events, mut received) = mpsc::channel(10);
    let job = asks(Some(store.url("/a")), json!({}));
    let minute = Duration::from_secs(60);
    let ending = bench.runner.call(job.clone(), &handler, minute, events, CancellationToken::new()).await;
    assert_eq!(success((ending, Vec::new())), r#"[{"@id":"a"}]"#);
    assert!(matches!(received.recv().await, Some(Event::Started { .. })));
    assert_eq!(received.recv().await, Some(Event::Progress { done: 50.0 }));
    assert_eq!(received.recv().await, Some(Event::Storing));
    assert_eq!(store.lines(), ["post /a"]);

    let endless = DynHandler::new(|_: HandlerTask, _: HandlerProgress| async { std::future::pending().await });
    let (events, _received) = mpsc::channel(10);
    let late = Duration::from_millis(50);
    let ending = bench.runner.call(job.clone(), &endless, late, events.clone(), CancellationToken::new()).await;
    assert_eq!(failure((ending, Vec::new())).0, "TimeLimitExceeded");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let ending = bench.runner.call(job, &endless, minute, events, cancel).await;
    assert!(matches!(ending, Ending::Cancelled), "{ending:?}");
}
