//! The Python package: its own tests, and a real Celery worker that uses it behind the real gateway.

use crate::{
    place::SERVICE,
    rabbit::{Rabbit, rig, run},
    store::Store,
    support::{Documents, Gateway, PATIENCE, end, is_end, status, submit, until, wait_for},
    workers::{Program, Worker},
};
use serde_json::{Value, json};
use std::process::Command;

/// The package, installed by the rig with pip.
const WORKER: &str = r#"
import os, time
from pathlib import Path
from service_gateway_worker import Request, exceptions, make_app, service

app = make_app("worker")

@service(app, "stub", version="1.2.3", queue=os.environ["QUEUE"], required=("do",))
def stub(request: Request):
    what = request.get("do")
    if what == "count":
        words = request.document(max_bytes=1000).read_text().split()
        request.set_progress(1, 4)
        while not Path(os.environ["GO"]).exists():
            time.sleep(0.05)
        request.store_annotations([{"word": word} for word in words])
        file = request.directory / "words.txt"
        file.write_text("\n".join(words))
        return {"words": len(words), "files": [request.upload(file)]}
    if what == "fetch":
        return request.document(max_bytes=3).name
    if what == "annotate":
        request.store_annotations({"no": "list"})
    raise getattr(exceptions, what)("told so")
"#;

#[test]
fn its_own_tests_pass() {
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/src/worker/python");
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.args(["-W", "error::SyntaxWarning", "-m", "unittest", "discover", "-s", "tests", "-t", "."]);
    let output = run(command.current_dir(package).env("PYTHONDONTWRITEBYTECODE", "1"), PATIENCE * 2);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("\nOK"), "{told}");
}

#[test]
fn a_worker_with_it_behind_the_gateway() {
    let (broker, store) = (Rabbit::shared(), Store::start("200 OK"));
    let queue = format!("ours-python-{}", std::process::id());
    let gateway = Gateway::start(&format!(
        "[broker]\nurl = \"{}\"\n[auth]\nmode = \"none\"\n[documents]\nallow_hosts = [\"127.0.0.1\"]\n\
         upload_url = \"{}\"\n[annotations]\npost_url = \"{}\"\n\
         [services.{SERVICE}]\nqueue = \"{queue}\"\nversion = \"1.2.3\"\nrequires_document = false\n",
        broker.url(),
        store.url("/add"),
        store.url("/document/{ann_doc_id}")
    ));
    wait_for("the queue is declared", || broker.queue(&queue).is_some());
    let directory = gateway.directory();
    std::fs::write(directory.join("kit.py"), WORKER).unwrap();
    let go = directory.join("go");
    let environment = vec![
        ("PYTHONPATH", directory.to_str().unwrap().to_owned()),
        ("QUEUE", queue.clone()),
        ("GO", go.to_str().unwrap().to_owned()),
        ("SERVICE_GATEWAY_ALLOW_HOSTS", "127.0.0.1".to_owned()),
    ];
    let _worker =
        Worker::start_as(Program { app: "kit", environment, ..Program::default() }, &broker, &queue, directory, &[]);

    let documents = Documents::serve("as many as these");
    let document = documents.url("a.txt");
    let callback = store.url("/called");
    let uuid = submit(
        &gateway,
        SERVICE,
        &[("doc_url", &document), ("do", "count"), ("ann_doc_id", "7"), ("callback_url", &callback)],
    );
    let progress = until(PATIENCE, "progress", || {
        let status = status(&gateway, SERVICE, &uuid);
        assert!(!is_end(&status), "{status}");
        (status["status"] == "PROGRESS").then_some(status)
    });
    let meta = &progress["result"];
    assert_eq!((&meta["current"], &meta["total"], &meta["type"]), (&json!(25), &json!(100), &json!(SERVICE)));
    assert!(meta["worker_id_version"] == "1.2.3" && meta["host"].is_string() && meta["start_time"].is_string());
    std::fs::write(go, "").unwrap();
    let ended = end(&gateway, SERVICE, &uuid);
    let files = json!([{"name": "words.txt", "storage_doc_id": "abc.txt"}]);
    assert_eq!(ended["result"], json!({"words": 4, "files": files}), "{ended}");
    let posted = store.seen("POST /document/7");
    let data: Value = serde_json::from_str(&posted[0].body).unwrap();
    assert_eq!(data["data"][0], json!({"@id": SERVICE, "@version": "1.2.3", "word": "as"}));
    assert_eq!(store.seen("PUT /put/")[0].body, "as\nmany\nas\nthese");
    wait_for("the callback", || !store.seen("POST /called").is_empty());
    let called: Value = serde_json::from_str(&store.seen("POST /called")[0].body).unwrap();
    assert_eq!(called, json!({"uuid": uuid, "status": "SUCCESS"}));

    let fails = |form: &[(&str, &str)]| {
        let ended = end(&gateway, SERVICE, &submit(&gateway, SERVICE, form));
        assert_eq!(ended["status"], "FAILURE", "{ended}");
        (ended["result"]["code"].as_u64().unwrap(), ended["result"]["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(fails(&[("do", "TranscriptionEmptyError")]), (643, "told so".to_owned()));
    assert_eq!(fails(&[]), (206, "give do".to_owned()));
    assert_eq!(fails(&[("do", "fetch")]).0, 206);
    assert_eq!(fails(&[("do", "annotate"), ("ann_doc_id", "8")]).0, 300);
    let (code, message) = fails(&[("do", "fetch"), ("doc_url", &document)]);
    assert!(code == 301 && message.contains("larger than 3 bytes"), "{message}");
}
