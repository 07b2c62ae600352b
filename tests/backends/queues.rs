//! The amqp result backend of Celery 3.1 and 4.3: a queue for each task.

use crate::{
    corner::{Corner, LONG, publish},
    gate::Gate,
    old::{CELERY_3_1, CELERY_4_3, Old, Version},
    support::{cancel, is_state, until},
};
use lapin::BasicProperties;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn corner(name: &str, version: Version, more: &str) -> Corner {
    let broker = format!("result_backend = \"amqp\"\ntask_protocol = {}", version.protocol);
    Corner::new(name, &broker, "", more)
}

/// Is anything bound under the task's key, ours or a worker's?
fn is_bound(corner: &Corner, uuid: &str) -> bool {
    let nobodys = BasicProperties::default().with_delivery_mode(2);
    publish(corner.broker.url(), "celeryresults", &uuid.replace('-', ""), "{}", nobodys)
}

/// The worker's queue of a task.
fn has_queue(corner: &Corner, uuid: &str) -> bool {
    corner.broker.queue(&uuid.replace('-', "")).is_some()
}

/// What an old worker and a gateway do together, whoever plays the worker.
fn works(version: Version, start: fn(Version, &Corner) -> Old) {
    let corner = corner("queues", version, "");
    let worker = start(version, &corner);
    let gate = Gate::new();
    let uuid = corner.submit("add_progress", &[("hold", gate.name())]);
    for seen in corner.watched_by_two("add_progress", &uuid, &gate) {
        let end = &seen[seen.len() - 4..];
        assert_eq!(end, ["PROGRESS 10", "PROGRESS 50", "PROGRESS 90", "SUCCESS"], "{seen:?}");
    }
    let done = corner.status("add_progress", &uuid);
    assert_eq!(done["result"][0], json!({"@id": "prog_annotation", "@version": "1.2.3", "text": "héllo ✓", "n": 42}));
    assert_eq!((&done["attempts"], corner.status("add_progress", &uuid)), (&json!(1), done.clone()));

    let failed = corner.submit("fail", &[("msg", "boom")]);
    assert_eq!(corner.end("fail", &failed)["result"], json!({"code": 301, "message": "boom"}));
    let started = corner.submit("sleep", &[("sleep", "0"), ("gate", gate.name())]);
    corner.state("sleep", &started, "STARTED");
    gate.open();
    assert!(is_state(&corner.end("sleep", &started), "SUCCESS"));

    // Nothing is left of them with the broker.
    for uuid in [&uuid, &failed, &started] {
        until(LONG, "the binding is undone", || (!is_bound(&corner, uuid)).then_some(()));
        assert!(!has_queue(&corner, uuid));
    }
    for part in ["queues", "results"] {
        assert_eq!(corner.part(part), (200, json!("ok")));
    }
    drop(worker);
}

/// The worker goes on while the gateway is away.
fn loses_nothing(version: Version, start: fn(Version, &Corner) -> Old) {
    let mut corner = corner("away", version, "");
    let worker = start(version, &corner);
    let gate = Gate::new();
    let uuid = corner.submit("add_progress", &[("hold", gate.name())]);
    corner.state("add_progress", &uuid, "PROGRESS");
    corner.gateway.kill9();
    [10, 50, 90].into_iter().for_each(|step| gate.open_step(step));
    until(LONG, "the worker has said its last", || {
        // Four results; the queue is the worker's own, which nobody reads.
        let own = corner.broker.queue(&uuid.replace('-', ""))?;
        (own.ready == 4).then_some(())
    });
    corner.gateway.restart();
    assert!(is_state(&corner.end("add_progress", &uuid), "SUCCESS"));
    // Undone by the new process.
    until(LONG, "the binding is undone", || (!is_bound(&corner, &uuid)).then_some(()));
    drop(worker);
}

#[test]
fn celery_3_1_works() {
    works(CELERY_3_1, Version::worker);
    loses_nothing(CELERY_3_1, Version::worker);
}

#[test]
fn celery_4_3_works() {
    works(CELERY_4_3, Version::worker);
    loses_nothing(CELERY_4_3, Version::worker);
}

#[test]
fn frames_recorded_from_3_1_work() {
    works(CELERY_3_1, Version::played);
    loses_nothing(CELERY_3_1, Version::played);
}

#[test]
fn frames_recorded_from_4_3_work() {
    works(CELERY_4_3, Version::played);
    loses_nothing(CELERY_4_3, Version::played);
}

#[test]
fn a_cancelled_task_is_heard_of_until_its_worker_has_said_its_last() {
    let corner = corner("cancel", CELERY_4_3, "");
    // Nobody takes it: nothing is said of it, and the binding stays.
    let waiting = corner.submit("sleep", &[("sleep", "60")]);
    corner.sent("sleep", &waiting);
    assert!(is_state(&cancel(&corner.gateway, "sleep", &waiting), "REVOKED"));
    assert!(is_bound(&corner, &waiting));
    // The worker that comes now drops it, and says so.
    if let Old::Real(worker) = CELERY_4_3.worker(&corner) {
        until(LONG, "the binding is undone", || (!is_bound(&corner, &waiting)).then_some(()));
        let running = corner.submit("sleep", &[("sleep", "60")]);
        corner.state("sleep", &running, "STARTED");
        let cancelled = cancel(&corner.gateway, "sleep", &running);
        assert_eq!(cancelled["result"], json!({"code": 109, "message": "terminated"}));
        // Told twice by the worker; its queue is made anew each time.
        until(LONG, "the binding is undone", || (!is_bound(&corner, &running)).then_some(()));
        assert!(!has_queue(&corner, &running));
        assert!(is_state(&corner.status("sleep", &running), "REVOKED"));
        drop(worker);
    }
}

#[test]
fn results_are_kept_for_their_time_and_then_nothing_is_left() {
    let corner = corner("time", CELERY_4_3, "[store]\nkeep_results = \"2s\"\n");
    let worker = CELERY_4_3.played(&corner);
    let (uuid, since, kept) = (corner.submit("fail", &[]), Instant::now(), Duration::from_secs(2));
    corner.kept(("fail", &uuid), "FAILURE", since, kept);
    assert_eq!(corner.state("fail", &uuid, "EXPIRED")["result"], Value::Null);
    until(LONG, "the binding is undone", || (!is_bound(&corner, &uuid)).then_some(()));
    drop(worker);
    // Cancelled, and no worker ever speaks of it.
    let cancelled = corner.submit("echo", &[]);
    corner.sent("echo", &cancelled);
    let since = Instant::now();
    cancel(&corner.gateway, "echo", &cancelled);
    assert!(is_bound(&corner, &cancelled) || since.elapsed() >= kept);
    corner.state("echo", &cancelled, "EXPIRED");
    until(LONG, "the binding is undone", || (!is_bound(&corner, &cancelled)).then_some(()));
}

#[test]
fn after_an_end_that_was_only_presumed_the_worker_is_still_heard_for_a_while() {
    let broker = "result_backend = \"amqp\"\nresult_expires = \"20s\"";
    let mut corner = Corner::new("presumed", broker, "", "");
    let [replaced, silent] = [(); 2].map(|()| corner.submit("add_progress", &[("wait_limit", "1s")]));
    for uuid in [&replaced, &silent] {
        assert!(is_state(&corner.end("add_progress", uuid), "EXPIRED"));
        assert!(is_bound(&corner, uuid));
    }
    let body = json!({"status": "SUCCESS", "result": "late", "traceback": null, "task_id": replaced}).to_string();
    let (key, worker) = (replaced.replace('-', ""), BasicProperties::default().with_delivery_mode(2));
    assert!(publish(corner.broker.url(), "celeryresults", &key, &body, worker));
    assert_eq!(corner.state("add_progress", &replaced, "SUCCESS")["result"], "late");
    until(LONG, "the binding is undone", || (!is_bound(&corner, &replaced)).then_some(()));
    // The next process knows of those that are left.
    let late = corner.submit("add_progress", &[("wait_limit", "1s")]);
    assert!(is_state(&corner.end("add_progress", &late), "EXPIRED"));
    corner.gateway.kill9();
    assert!(is_bound(&corner, &late));
    corner.gateway.restart();
    for uuid in [&silent, &late] {
        until(LONG, "the binding is undone", || (!is_bound(&corner, uuid)).then_some(()));
    }
    assert!(is_state(&corner.status("add_progress", &silent), "EXPIRED"));
}
