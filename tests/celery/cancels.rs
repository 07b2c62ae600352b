//! Cancelled while it waits, runs, is done; workers that were away then.

use crate::{
    celery::Worker,
    corner::{Corner, LONG, common},
    support::{cancel, until},
};
use serde_json::{Value, json};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// A task that writes into a file as long as it runs.
fn marking(corner: &Corner, mark: &Path, seconds: &str) -> String {
    corner.submit("sleep", &[("sleep", seconds), ("mark", mark.to_str().unwrap())])
}

/// Cancels, and holds the answer to be REVOKED, with how.
#[track_caller]
fn revoked(corner: &Corner, uuid: &str, how: &str) {
    let answer = cancel(&corner.gateway, "sleep", uuid);
    let told = (&answer["status"], &answer["result"]);
    assert_eq!(told, (&json!("REVOKED"), &json!({"code": 109, "message": how})), "{answer}");
}

/// Waits until nobody writes into the file any more: it stays as it is for several times the writer's rhythm.
fn still(mark: &Path) {
    let (mut last, mut since) = (String::new(), Instant::now());
    until(LONG, "the task is stopped", || {
        let now = std::fs::read_to_string(mark).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

#[test]
fn what_was_cancelled_while_it_waited_is_not_run_by_a_worker_that_comes_later() {
    let mut corner = Corner::new("waiting");
    let (first, second, third) = (corner.file("first"), corner.file("second"), corner.file("third"));
    let cancelled = [marking(&corner, &first, "20"), marking(&corner, &second, "20")];
    corner.sent("sleep", &cancelled[0]);
    revoked(&corner, &cancelled[0], "revoked");
    // Neither does the gateway forget it when it is restarted.
    corner.gateway.kill9();
    corner.gateway.restart();
    corner.connected();
    corner.sent("sleep", &cancelled[1]);
    revoked(&corner, &cancelled[1], "revoked");
    let after = marking(&corner, &third, "0.1");

    // It asks what was cancelled before it takes the first task, and the gateway tells it.
    let (broker, directory) = (&corner.broker, corner.gateway.directory());
    let _worker = Worker::start_after_hearing(broker, &corner.queue, directory, &cancelled);
    // First in, first out: when this one is done, those before it have been looked at.
    assert_eq!(corner.end("sleep", &after)["status"], "SUCCESS");
    assert!(third.exists() && !first.exists() && !second.exists(), "a cancelled task was run");
    for uuid in cancelled {
        let status = corner.status("sleep", &uuid);
        assert_eq!((&status["status"], &status["result"]["code"]), (&json!("REVOKED"), &json!(109)), "{status}");
    }
}

#[test]
fn what_runs_is_terminated_and_what_the_worker_holds_back_is_dropped() {
    let corner = Corner::new("running");
    let _worker = corner.worker(&[]);
    let (mark, held) = (corner.file("mark"), corner.file("held"));
    let runs = marking(&corner, &mark, "60");
    let waits = marking(&corner, &held, "60");
    corner.state("sleep", &runs, "STARTED");
    until(LONG, "it runs", || mark.exists().then_some(()));
    revoked(&corner, &waits, "revoked");
    revoked(&corner, &runs, "terminated");
    still(&mark);
    // The worker goes on with others, and what was told of the cancelled ones is not changed by it.
    let other = corner.submit("echo", &[]);
    assert_eq!(corner.end("echo", &other)["status"], "SUCCESS");
    assert!(!held.exists(), "a cancelled task was run");
    assert_eq!(corner.status("sleep", &runs)["result"], json!({"code": 109, "message": "terminated"}));
    assert_eq!(corner.status("sleep", &waits)["result"], json!({"code": 109, "message": "revoked"}));
}

#[test]
fn a_worker_that_missed_the_cancel_is_told_when_its_task_reports() {
    let corner = Corner::new("missed");
    let mark = corner.file("mark");
    let uuid = marking(&corner, &mark, "60");
    corner.sent("sleep", &uuid);
    revoked(&corner, &uuid, "revoked");
    // It asks nobody what was cancelled, and listens to commands when it already has the task.
    let _worker = corner.worker(&["--without-mingle"]);
    still(&mark);
    assert_eq!(corner.end("echo", &corner.submit("echo", &[]))["status"], "SUCCESS");
    assert_eq!(corner.status("sleep", &uuid)["status"], "REVOKED");
}

#[test]
fn what_is_done_keeps_its_end() {
    let corner = common();
    let uuid = corner.submit("sleep", &[("sleep", "0")]);
    let end = corner.end("sleep", &uuid);
    assert_eq!(end["status"], "SUCCESS");
    let answer = cancel(&corner.gateway, "sleep", &uuid);
    assert_eq!((&answer["status"], &answer["result"]), (&json!("SUCCESS"), &end["result"]));
    assert_eq!(corner.status("sleep", &uuid)["ended"], end["ended"]);
    let failed = corner.submit("fail", &[]);
    corner.end("fail", &failed);
    assert_eq!(cancel(&corner.gateway, "fail", &failed)["status"], "FAILURE");
    assert_ne!(corner.status("fail", &failed)["result"], Value::Null);
}
