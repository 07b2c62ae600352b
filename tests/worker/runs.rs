//! Progress, results, failures, retries.

use crate::{
    place::{Place, SERVICE},
    rabbit::Rabbit,
    support::{Documents, PATIENCE, until},
};
use serde_json::json;
use std::fs;

#[test]
fn a_task_from_its_submission_to_its_result() {
    let script = "echo progress: 10 >&2\nuntil [ -e @DIR@/one ]; do sleep 0.05; done\necho progress: 60 >&2\n\
                  until [ -e @DIR@/two ]; do sleep 0.05; done\necho '{\"n\": 1.50}'";
    let place = Place::new("whole", script, "");
    let worker = place.worker();
    let uuid = place.submit(&[]);
    let status = place.until(&uuid, "PROGRESS");
    let result = &status["result"];
    assert_eq!((&result["current"], &result["total"]), (&json!(10), &json!(100)));
    assert_eq!((&result["worker_id_version"], &result["type"]), (&json!("1.2.3"), &json!(SERVICE)));
    assert!(result["host"].as_str().is_some_and(|host| !host.is_empty()), "{result}");
    assert_eq!(result["start_time"].as_str().map(str::len), Some("2026-01-02T03:04:05".len()), "{result}");
    place.touch("one");
    until(PATIENCE, "60 per cent", || (place.status(&uuid)["result"]["current"] == 60).then_some(()));
    place.touch("two");
    let status = place.end(&uuid);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &json!({"n": 1.5})));
    assert_eq!(status["attempts"], 1);
    place.holds(0);
    assert_eq!(worker.out(), "", "a worker prints nothing");
    assert!(!worker.log().contains("guest:guest"), "the broker's password is in the log");
    assert_eq!(fs::read_dir(place.file("tmp")).unwrap().count(), 1, "nothing but the directory for runs");
}

#[test]
fn a_document_is_fetched_and_a_failure_says_why() {
    let documents = Documents::serve("hello");
    let command =
        "[\"sh\", \"-c\", 'cat \"$0\"; echo oops >&2; [ \"$(cat \"$0\")\" = hello ] || exit 3', \"{document}\"]";
    let toml = "[documents]\nallow_hosts = [\"127.0.0.1\"]";
    let place = Place::at(Rabbit::shared(), "documents", command, "", toml);
    let _worker = place.worker();
    let fine = place.submit(&[("doc_url", &documents.url("a.txt"))]);
    assert_eq!(place.end(&fine)["result"], "hello");
    let other = Documents::serve("other");
    let fails = place.submit(&[("doc_url", &other.url("b.txt"))]);
    let status = place.end(&fails);
    let expected = json!({"code": 642, "message": "exit status 3: oops"});
    assert_eq!((&status["status"], &status["result"]), (&json!("FAILURE"), &expected));
    let missing = place.submit(&[]);
    assert_eq!(place.end(&missing)["result"]["code"], 206);
}

/// As ffmpeg does: lines that end at `\r`, done and total of its own.
#[test]
fn a_program_that_was_never_made_for_this_tells_its_progress() {
    for (name, line, expression) in
        [("one", "step 42% of it", "(\\d+)%"), ("two", "frame=21 of 50", "frame=(\\d+) of (\\d+)")]
    {
        let script = format!("printf '%s\\r' '{line}' >&2; until [ -e @DIR@/go ]; do sleep 0.05; done; echo fine");
        let place = Place::new(name, &script, &format!("progress = '{expression}'"));
        let _worker = place.worker();
        let uuid = place.submit(&[]);
        let status = place.until(&uuid, "PROGRESS");
        assert_eq!((&status["result"]["current"], &status["result"]["total"]), (&json!(42), &json!(100)), "{name}");
        place.touch("go");
        assert_eq!(place.end(&uuid)["result"], "fine");
    }
}

#[test]
fn credentials_in_urls_are_used_and_never_told() {
    let command = "[\"cat\", \"{document}\"]";
    let toml = "[documents]\nallow_hosts = [\"127.0.0.1\"]";
    let place = Place::at(Rabbit::shared(), "secret", command, "", toml);
    let worker = place.worker();
    let documents = Documents::serve("hello");
    let url = documents.url("a.txt?token=t0psecret").replace("http://", "http://ann:pa55word@");
    let fine = place.submit(&[("doc_url", &url), ("callback_url", "http://ann:pa55word@127.0.0.1:1/x?k=t0psecret")]);
    assert_eq!(place.end(&fine)["result"], "hello");
    // Nobody listens there.
    let fails = place.submit(&[("doc_url", "http://ann:pa55word@127.0.0.1:1/x?token=t0psecret")]);
    let status = place.end(&fails);
    assert_eq!(status["result"]["code"], 301, "DownloadError: {status}");
    until(PATIENCE, "the callback's failure is logged", || worker.log().contains("a callback failed").then_some(()));
    for told in [status.to_string(), worker.log(), place.gateway.log()] {
        assert!(!told.contains("pa55word") && !told.contains("t0psecret"), "{told}");
    }
}

#[test]
fn failures_are_tried_again() {
    // Fails until its last try was seen: between its tries that is shown for a second, then for two, and so on.
    let script = "echo x >> @DIR@/runs; [ -e @DIR@/seen ] || exit 7; echo '\"at last\"'";
    let place = Place::new("retries", script, "retries = 6");
    let _worker = place.worker();
    let uuid = place.submit(&[]);
    let retry = place.until(&uuid, "RETRY");
    assert_eq!(retry["result"], json!({"code": 642, "message": "exit status 7"}));
    // While it waits, it is with the broker, and the slot is free.
    place.touch("seen");
    let status = place.end(&uuid);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &json!("at last")));
    assert!(place.lines("runs").len() >= 2);
    place.holds(0);
}

#[test]
fn as_often_as_configured_and_that_holds_up_nobody() {
    let script = "echo $0 >> @DIR@/runs; grep -q '\"fine\"' params.json || exit 7";
    let place = Place::new("spent", script, "retries = 2");
    let _worker = place.worker();
    let uuid = place.submit(&[]);
    until(PATIENCE, "it has begun", || (!place.lines("runs").is_empty()).then_some(()));
    let other = place.submit(&[("fine", "yes")]);
    assert_eq!(place.end(&other)["status"], "SUCCESS");
    let status = place.end(&uuid);
    assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(642)), "{status}");
    let runs = place.lines("runs").into_iter().filter(|line| *line == uuid).count();
    assert_eq!(runs, 3, "{status}");
    place.holds(0);
}

#[test]
fn several_at_once_and_no_more_than_configured() {
    let script = "echo $$ >> @DIR@/began; until [ -e @DIR@/go ]; do sleep 0.05; done";
    let place = Place::new("several", script, "concurrency = 3");
    let _worker = place.worker();
    let uuids: Vec<_> = (0..5).map(|_| place.submit(&[])).collect();
    until(PATIENCE, "three run", || (place.lines("began").len() == 3).then_some(()));
    until(PATIENCE, "two wait with the broker", || {
        place.broker.queue(&place.queue).filter(|queue| queue.ready == 2).map(drop)
    });
    assert_eq!(place.lines("began").len(), 3);
    place.touch("go");
    for uuid in uuids {
        assert_eq!(place.end(&uuid)["status"], "SUCCESS");
    }
    place.holds(0);
}
