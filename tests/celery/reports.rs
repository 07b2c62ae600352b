//! What workers tell, and how clients see it.

use crate::{
    corner::{Corner, LONG, common},
    gate::Gate,
    support::{is_end, until},
};
use serde_json::{Value, json};

#[test]
fn the_argument_arrives_as_the_contract_says() {
    let corner = common();
    let document = "http://127.0.0.1:9/a%20b.wav";
    let form =
        [("doc_url", document), ("ann_doc_id", "a1"), ("note", "héllo ✓"), ("audio_url", "http://127.0.0.1:9/x")];
    let status = corner.end("echo", &corner.submit("echo", &form));
    assert_eq!(status["status"], "SUCCESS", "{status}");
    let mut argument = status["result"].clone();
    let time = argument["request_time"].take();
    let shape: String = time.as_str().unwrap().chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00");
    let annotations = "http://127.0.0.1:9/document/a1/annotations";
    let misc = json!({
        "audio_url": "http://127.0.0.1:9/x", "doc_url": document, "ann_doc_id": "a1", "note": "héllo ✓",
        "upload_url": "http://127.0.0.1:9/add",
    });
    let expected = json!({
        "request_time": null,
        "service": {"type": "echo", "document": {"url": document, "credentials": null}, "misc": misc},
        "annotation_service": {"url": annotations, "uuid": null, "credentials": null},
    });
    assert_eq!(argument, expected);
    for time in ["submitted", "sent", "started", "ended"] {
        assert!(status[time].is_string(), "{time}: {status}");
    }
    assert_eq!(status["attempts"], 1);
}

#[test]
fn a_task_without_document_has_a_null_for_it() {
    let corner = common();
    let status = corner.end("echo", &corner.submit("echo", &[]));
    assert_eq!(status["result"]["service"]["document"], json!({"url": null, "credentials": null}), "{status}");
    assert_eq!(status["result"]["annotation_service"]["url"], Value::Null);
}

#[test]
fn progress_is_shown_as_the_worker_tells_it() {
    let corner = common();
    let gate = Gate::new();
    let uuid = corner.submit("add_progress", &[("hold", gate.name())]);
    let mut seen = Vec::new();
    let end = until(LONG, "the end of add_progress", || {
        let status = corner.status("add_progress", &uuid);
        if status["status"] == "PROGRESS" && seen.last() != Some(&status["result"]) {
            gate.open_step(&status["result"]["current"]);
            seen.push(status["result"].clone());
        }
        Some(status).filter(is_end)
    });
    let currents: Vec<_> = seen.iter().filter_map(|meta| meta["current"].as_u64()).collect();
    assert_eq!(currents, [10, 50, 90], "{seen:?}");
    let meta = &seen[0];
    let known = ["current", "total", "worker_id_version", "start_time", "host", "type"];
    assert_eq!(meta.as_object().unwrap().len(), known.len(), "{meta}");
    assert_eq!((&meta["total"], &meta["worker_id_version"]), (&json!(100), &json!("1.2.3")));
    assert_eq!(meta["type"], "add_progress");
    assert!(meta["start_time"].is_string() && meta["host"].is_string(), "{meta}");
    assert_eq!(end["status"], "SUCCESS", "{end}");
    assert_eq!(end["result"][0]["text"], "héllo ✓");
}

#[test]
fn started_has_no_result() {
    let corner = common();
    let gate = Gate::new();
    let uuid = corner.submit("sleep", &[("sleep", "0.5"), ("gate", gate.name())]);
    let status = corner.state("sleep", &uuid, "STARTED");
    assert_eq!((&status["result"], status["started"].is_string()), (&Value::Null, true), "{status}");
    gate.open();
    let end = corner.end("sleep", &uuid);
    assert_eq!((&end["status"], &end["result"]), (&json!("SUCCESS"), &json!({"slept": 0.5})));
}

#[test]
fn a_task_that_a_worker_holds_back_is_received() {
    let corner = Corner::new("received");
    let _worker = corner.worker(&["-E"]);
    let gate = Gate::new();
    let first = corner.submit("sleep", &[("sleep", "0"), ("gate", gate.name())]);
    let second = corner.submit("echo", &[]);
    let status = corner.state("echo", &second, "RECEIVED");
    assert_eq!((&status["result"], &status["started"]), (&Value::Null, &Value::Null), "{status}");
    corner.state("sleep", &first, "STARTED");
    gate.open();
    assert_eq!(corner.end("echo", &second)["status"], "SUCCESS");
}

#[test]
fn a_state_that_the_worker_invents_is_shown_with_its_result() {
    let corner = common();
    let gate = Gate::new();
    let uuid = corner.submit("custom_state", &[("end", "success"), ("gate", gate.name()), ("state", "STORING")]);
    assert_eq!(corner.state("custom_state", &uuid, "STORING")["result"], json!({"a": 1}));
    gate.open();
    assert_eq!(corner.end("custom_state", &uuid)["result"], json!({"a": 2}));
    // A task that leaves it at that.
    let uuid = corner.submit("custom_state", &[]);
    assert_eq!(corner.state("custom_state", &uuid, "MYSTATE")["result"], json!({"a": 1}));
}

#[test]
fn a_retry_tells_why_and_goes_on() {
    let corner = common();
    let gate = Gate::new();
    let uuid = corner.submit("retry", &[("gate", gate.name())]);
    let status = corner.state("retry", &uuid, "RETRY");
    assert_eq!(status["result"], json!({"code": 105, "message": "transient problem"}));
    gate.open();
    let end = corner.end("retry", &uuid);
    assert_eq!((&end["status"], &end["result"]), (&json!("SUCCESS"), &json!({"attempt": 1})));
}

#[test]
fn exceptions_have_their_code_and_text() {
    let corner = common();
    let cases: [(&str, Option<&str>, u32, &str); 13] = [
        ("ValueError", None, 105, "boom"),
        ("KeyError", None, 108, "boom"),
        ("OSError", None, 107, "boom"),
        ("RuntimeError", Some("[\"a\", 2, null, [\"é\"]]"), 306, "a, 2, null, [\"é\"]"),
        ("NotImplementedError", Some("[]"), 501, ""),
        ("Exception", None, 101, "boom"),
        ("DownloadError", Some("[\"héllo ✓\"]"), 301, "héllo ✓"),
        ("FFMpegError", None, 502, "boom"),
        ("MinimumWorkersReached", None, 401, "boom"),
        ("WhateverError", None, 101, "boom"),
        ("ModelNotLoaded", None, 650, "boom"),
        ("unpickleable", None, 651, "boom"),
        ("unpickleable", Some("[1, \"two\"]"), 651, "1, two"),
    ];
    let submitted: Vec<_> = cases
        .iter()
        .map(|(exc, args, ..)| {
            let mut form = vec![("exc", *exc)];
            form.extend(args.map(|args| ("args", args)));
            corner.submit("fail", &form)
        })
        .collect();
    for ((exc, args, code, message), uuid) in cases.iter().zip(submitted) {
        let status = corner.end("fail", &uuid);
        let told = (status["status"].as_str(), &status["result"]);
        assert_eq!(told, (Some("FAILURE"), &json!({"code": code, "message": message})), "{exc} {args:?}");
    }
    // The storage's exceptions hold addresses and keys: their text is never shown.
    let status = corner.end("fail", &corner.submit("fail", &[("exc", "SwiftException"), ("msg", "key=hunter2")]));
    assert_eq!(status["result"]["code"], 506);
    assert!(!status.to_string().contains("hunter2"), "{status}");
}

#[test]
fn a_worker_process_that_dies_fails_its_task_and_no_other() {
    let corner = common();
    let dies = corner.submit("fail", &[("exc", "exit")]);
    let status = corner.end("fail", &dies);
    assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(101)), "{status}");
    let message = status["result"]["message"].as_str().unwrap();
    assert!(message.contains("Worker exited prematurely"), "{message}");
    assert_eq!(corner.end("echo", &corner.submit("echo", &[]))["status"], "SUCCESS");
}

#[test]
fn a_task_that_no_worker_knows_fails_and_is_named() {
    let corner = common();
    let status = corner.end("not_there", &corner.submit("not_there", &[]));
    assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(101)), "{status}");
    let message = status["result"]["message"].as_str().unwrap();
    assert!(message.contains("does not know the task worker.not_there"), "{message}");
}

#[test]
fn a_worker_of_another_version_is_told_until_it_is_done() {
    let corner = common();
    let gate = Gate::new();
    let uuid = corner.submit("versioned", &[("hold", gate.name())]);
    let path = format!("/versioned/status?uuid={uuid}");
    let refusal = until(LONG, "progress of another version", || Some(corner.get(&path)).filter(|a| a.status != 200));
    let message = refusal.refused(400, 204);
    assert!(message.contains("1.2.3") && message.contains("9.9.9"), "{message}");
    [10, 50, 90].into_iter().for_each(|step| gate.open_step(step));
    let end = until(LONG, "its end", || Some(corner.get(&path)).filter(|a| a.status == 200).map(|a| a.json()));
    assert_eq!((&end["status"], &end["result"][0]["n"]), (&json!("SUCCESS"), &json!(42)), "{end}");
}

#[test]
fn a_huge_result_and_one_that_json_does_not_have() {
    let corner = common();
    let (huge, nan) = (corner.submit("huge", &[("size", "3000000")]), corner.submit("nan", &[]));
    let status = corner.end("huge", &huge);
    assert_eq!(status["result"].as_str().map(str::len), Some(3_000_000));
    let status = corner.end("nan", &nan);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &Value::Null), "{status}");
}
