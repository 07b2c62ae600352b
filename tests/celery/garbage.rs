//! Results that no worker should send.

use crate::{
    celery::{garbage, garbage_kinds},
    corner::{Corner, LONG},
    support::{is_end, until},
};
use serde_json::{Value, json};

/// What becomes of a task of which a worker sends this: state, and the result or a word of its message.
fn expected(kind: &str) -> (&'static str, Value) {
    let unreadable = |word: &str| ("FAILURE", json!({"code": 105, "message": word}));
    match kind {
        "not-json" => unreadable("UTF-8"),
        "truncated" | "empty" | "array" | "string" | "null" | "deep" => unreadable("not a JSON result"),
        "status-number" | "status-missing" => unreadable("no status"),
        "status-huge" => unreadable("status is not a name"),
        "task-id-type" => unreadable("task_id is not a UUID"),
        "pickle" => unreadable("result_serializer"),
        "latin-1" => unreadable("iso-8859-1"),
        "failure-text" => ("FAILURE", json!({"code": 101, "message": "just text"})),
        "failure-types" => ("FAILURE", json!({"code": 101, "message": "{\"a\":[null]}"})),
        "nan" | "result-missing" => ("SUCCESS", Value::Null),
        "progress-types" => ("PROGRESS", json!({"current": "many", "total": [], "host": 1})),
        "huge" => ("SUCCESS", json!("x".repeat(2_000_000))),
        "no-correlation-id" | "long-correlation-id" | "good" => ("SUCCESS", json!("fine")),
        // Whose it is cannot be known: nobody's.
        "task-id-wrong" => ("PENDING", Value::Null),
        other => panic!("a kind that this test does not know: {other}"),
    }
}

#[test]
fn garbage_harms_its_own_task_and_nothing_else() {
    let corner = Corner::new("garbage");
    let pid = corner.gateway.pid();
    let bystander = corner.submit("echo", &[]);
    let tasks: Vec<_> = garbage_kinds().into_iter().map(|kind| (corner.submit("echo", &[]), kind)).collect();
    assert!(tasks.len() > 20, "{tasks:?}");
    tasks.iter().for_each(|(uuid, _)| corner.sent("echo", uuid));
    corner.sent("echo", &bystander);
    for (uuid, kind) in &tasks {
        garbage(&corner.broker, &corner.replies, uuid, kind);
    }
    for (uuid, kind) in &tasks {
        let (state, result) = expected(kind);
        let status = corner.state("echo", uuid, state);
        if result["code"] == 105 {
            assert_eq!(status["result"]["code"], 105, "{kind}: {status}");
            let (told, word) = (status["result"]["message"].as_str().unwrap(), result["message"].as_str().unwrap());
            assert!(told.starts_with("a result cannot be read: ") && told.contains(word), "{kind}: {told}");
            assert!(told.len() < 500, "{kind}: {} bytes", told.len());
        } else {
            assert!(status["result"] == result, "{kind}: {}", &status.to_string()[..300.min(status.to_string().len())]);
        }
    }
    // An end that was only presumed yields to the worker's own; then nothing does any more.
    let (unread, _) = tasks.iter().find(|(_, kind)| kind == "not-json").unwrap();
    garbage(&corner.broker, &corner.replies, unread, "good");
    assert_eq!(corner.state("echo", unread, "SUCCESS")["result"], "fine");
    garbage(&corner.broker, &corner.replies, unread, "failure-text");
    // One of a task that nobody knows.
    let stranger = "01890000-0000-7000-8000-000000000000";
    garbage(&corner.broker, &corner.replies, stranger, "good");
    until(LONG, "the stranger is logged", || {
        let log = corner.gateway.log();
        log.lines().any(|line| line.contains(stranger) && line.contains("unknown task")).then_some(())
    });

    // Everything was taken, nothing comes again and again.
    until(LONG, "the reply queue is empty", || (corner.broker.messages(&corner.replies) == 0).then_some(()));
    assert_eq!(corner.status("echo", unread)["result"], "fine");
    assert_eq!(corner.status("echo", &bystander)["status"], "PENDING");
    assert_eq!(corner.gateway.pid(), pid);
    assert_eq!(corner.ready().0, 200);
    let log = corner.gateway.log();
    for (uuid, kind) in tasks.iter().filter(|(_, kind)| expected(kind).1["code"] == 105) {
        let told = log.lines().filter(|line| line.contains(uuid) && line.contains("a result cannot be read")).count();
        assert_eq!(told, 1, "{kind}\n{log}");
    }

    // A worker does the rest as if nothing had been. What has an end keeps it.
    let _worker = corner.worker(&[]);
    assert_eq!(corner.end("echo", &bystander)["status"], "SUCCESS");
    for (uuid, kind) in &tasks {
        let (state, _) = expected(kind);
        let status = until(LONG, kind, || Some(corner.status("echo", uuid)).filter(is_end));
        let code = status["result"]["code"].as_u64();
        match (state, code) {
            ("FAILURE", Some(101)) => assert_eq!(status["status"], "FAILURE", "{kind}"),
            _ => {
                corner.state("echo", uuid, "SUCCESS");
            }
        }
    }
}
