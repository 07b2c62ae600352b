//! The redis result backend.

use crate::{
    celery::{Program, Worker},
    corner::{Corner, LONG},
    gate::Gate,
    proxy::Proxy,
    redis::Redis,
    support::{is_state, until},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A gateway that hears from Redis by way of `address`.
fn corner(name: &str, redis: &Redis, address: &str, more: &str) -> Corner {
    let url = redis.url().replace(redis.address(), address);
    let corner = Corner::new(name, &format!("result_backend = \"{url}\""), "", more);
    heard(&corner);
    corner
}

/// Waits until results are heard.
fn heard(corner: &Corner) {
    until(LONG, "results are heard", || (corner.part("results").1 == "ok").then_some(()));
}

fn worker(corner: &Corner, redis: &Redis) -> Worker {
    let program =
        Program { environment: vec![("CELERY_RESULT_BACKEND", redis.url().to_owned())], ..Program::default() };
    Worker::start_as(program, &corner.broker, &corner.queue, corner.gateway.directory(), &[])
}

fn key(uuid: &str) -> String {
    format!("celery-task-meta-{uuid}")
}

fn state(uuid: &str, status: &str, result: &Value) -> String {
    json!({"status": status, "result": result, "traceback": null, "children": [], "task_id": uuid}).to_string()
}

/// As a worker does it: what is published while nobody listens is there to be read.
fn says(redis: &Redis, uuid: &str, body: &str) {
    redis.ask(&["SETEX", &key(uuid), "600", body]);
    redis.ask(&["PUBLISH", &key(uuid), body]);
}

#[test]
fn every_state_reaches_every_client() {
    let redis = Redis::shared();
    let corner = corner("kept", &redis, redis.address(), "");
    let worker = worker(&corner, &redis);
    let gate = Gate::new();
    let uuid = corner.submit("add_progress", &[("hold", gate.name())]);
    for seen in corner.watched_by_two("add_progress", &uuid, &gate) {
        let end = &seen[seen.len() - 4..];
        assert_eq!(end, ["PROGRESS 10", "PROGRESS 50", "PROGRESS 90", "SUCCESS"], "{seen:?}");
    }
    assert_eq!(corner.status("add_progress", &uuid)["result"][0]["text"], "héllo ✓");

    let failed = corner.submit("fail", &[("exc", "DownloadError"), ("msg", "boom")]);
    assert_eq!(corner.end("fail", &failed)["result"], json!({"code": 301, "message": "boom"}));
    let echoed = corner.submit("echo", &[("k", "v")]);
    assert_eq!(corner.end("echo", &echoed)["result"]["service"]["misc"], json!({"k": "v"}));
    drop(worker);
}

#[test]
fn what_came_while_the_gateway_was_away_is_read_afterwards() {
    let redis = Redis::shared();
    let mut corner = corner("away", &redis, redis.address(), "");
    let worker = worker(&corner, &redis);
    let gate = Gate::new();
    let uuid = corner.submit("sleep", &[("sleep", "0.5"), ("gate", gate.name())]);
    corner.state("sleep", &uuid, "STARTED");
    let failed = corner.submit("fail", &[("msg", "boom")]);
    corner.sent("fail", &failed);
    corner.gateway.kill9();
    gate.open();
    for (uuid, end) in [(&uuid, "SUCCESS"), (&failed, "FAILURE")] {
        until(LONG, "the worker has written", || redis.ask(&["GET", &key(uuid)]).contains(end).then_some(()));
    }
    corner.gateway.restart();
    assert_eq!(corner.end("sleep", &uuid)["result"], json!({"slept": 0.5}));
    assert_eq!(corner.end("fail", &failed)["result"]["message"], "boom");
    drop(worker);
}

#[test]
fn what_was_published_while_the_connection_was_cut_is_read_afterwards() {
    let redis = Redis::shared();
    let proxy = Proxy::to(redis.address());
    let corner = corner("cut", &redis, &proxy.address().to_string(), "");
    // Many, so that they are read in several steps; no worker takes them.
    let uuids: Vec<_> = (0..100).map(|_| corner.submit("echo", &[])).collect();
    uuids.iter().for_each(|uuid| corner.sent("echo", uuid));
    let limited = corner.submit("echo", &[("wait_limit", "1s")]);
    proxy.cut();
    until(LONG, "the loss is told", || {
        let (status, fault) = corner.part("results");
        let fault = fault.as_str().unwrap_or_default().to_owned();
        assert!(!fault.contains("redis-test-password"), "{fault}");
        // Tasks are taken all the same.
        assert_eq!(status, 200);
        fault.contains("Redis").then_some(())
    });
    for uuid in &uuids {
        redis.ask(&["SETEX", &key(uuid), "600", &state(uuid, "SUCCESS", &json!({"of": uuid}))]);
    }
    // Its time is over; what its worker has to say comes later, and counts.
    assert!(is_state(&corner.end("echo", &limited), "EXPIRED"));
    redis.ask(&["SETEX", &key(&limited), "600", &state(&limited, "SUCCESS", &json!(1))]);
    proxy.heal();
    for uuid in &uuids {
        let end = corner.state("echo", uuid, "SUCCESS");
        assert_eq!(end["result"], json!({"of": uuid}));
    }
    assert_eq!(corner.state("echo", &limited, "SUCCESS")["result"], 1);
    heard(&corner);
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_heard_again() {
    let redis = Redis::own();
    let corner = corner("restart", &redis, redis.address(), "");
    let worker = worker(&corner, &redis);
    let gate = Gate::new();
    let uuid = corner.submit("sleep", &[("sleep", "0.5"), ("gate", gate.name())]);
    corner.state("sleep", &uuid, "STARTED");
    redis.kill9();
    until(LONG, "the loss is told", || corner.part("results").1.as_str()?.contains("Redis").then_some(()));
    gate.open();
    redis.start();
    assert_eq!(corner.end("sleep", &uuid)["result"], json!({"slept": 0.5}));
    heard(&corner);
    let other = corner.submit("echo", &[]);
    assert!(is_state(&corner.end("echo", &other), "SUCCESS"));
    drop(worker);
}

#[test]
fn garbage_harms_its_own_task_and_strangers_none() {
    let redis = Redis::shared();
    let corner = corner("garbage", &redis, redis.address(), "");
    let garbage: &[(&str, &str)] = &[
        ("not json", "not a JSON result"),
        ("[1, 2]", "not a JSON result"),
        (r#"{"status": 5}"#, "no status"),
        (r#"{"status": "SUCCESS", "task_id": ["a"]}"#, "task_id is not a UUID"),
    ];
    let tasks: Vec<_> = garbage.iter().map(|_| corner.submit("echo", &[])).collect();
    tasks.iter().for_each(|uuid| corner.sent("echo", uuid));
    let said = |uuid: &str, body: &str| says(&redis, uuid, body);
    // Celery's own tasks, another installation's, and what is no task's.
    for stranger in ["7d673f98-f401-469f-8d1f-14bb5fc6347f", "0193e5a0-0000-7000-8000-000000000000", "x", ""] {
        (0..5).for_each(|_| said(stranger, &state(stranger, "SUCCESS", &Value::Null)));
    }
    for (uuid, (body, word)) in tasks.iter().zip(garbage) {
        said(uuid, body);
        let end = corner.end("echo", uuid);
        assert_eq!((&end["status"], &end["result"]["code"]), (&json!("FAILURE"), &json!(105)), "{end}");
        assert!(end["result"]["message"].as_str().unwrap().contains(word), "{end}");
    }
    // Only presumed: a worker's own end replaces it.
    said(&tasks[0], &state(&tasks[0], "SUCCESS", &json!("fine")));
    assert_eq!(corner.state("echo", &tasks[0], "SUCCESS")["result"], "fine");
    let log = corner.gateway.log();
    assert!(!log.contains("unknown task") && !log.contains("redis-test-password"), "{log}");
}

#[test]
fn results_are_kept_for_their_time() {
    let redis = Redis::shared();
    let corner = corner("time", &redis, redis.address(), "[store]\nkeep_results = \"2s\"\n");
    let uuid = corner.submit("echo", &[]);
    corner.sent("echo", &uuid);
    let since = Instant::now();
    says(&redis, &uuid, &state(&uuid, "SUCCESS", &json!("fine")));
    let seen = corner.kept(("echo", &uuid), "SUCCESS", since, Duration::from_secs(2));
    assert!(is_state(&seen, "EXPIRED") || seen["result"] == "fine", "{seen}");
    assert_eq!(corner.state("echo", &uuid, "EXPIRED")["result"], Value::Null);
}
