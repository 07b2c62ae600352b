//! Accepted at one gateway, followed and cancelled at another.

use crate::{
    gate::Gate,
    postgres::Postgres,
    support::{cancel, get, status, submit},
    town::{LONG, Town, cannot_publish, end, ready, state, try_submit},
};
use std::time::Instant;

#[test]
fn every_gateway_answers_for_all() {
    let mut town = Town::new(Postgres::shared());
    town.work();
    let (one, other) = (town.gateway(), town.gateway());

    let tasks: Vec<_> = (0..10).map(|n| submit(if n % 2 == 0 { &one } else { &other }, "echo", &[])).collect();
    for gateway in [&other, &one] {
        assert_eq!(town.all_succeed(gateway, &tasks), 0);
    }
    let shown = |gateway| {
        (status(gateway, "echo", &tasks[0]), get(&format!("{}/echo/status?uuid={}", gateway.url(), tasks[0])).json())
    };
    assert_eq!(shown(&one), shown(&other), "the same answer everywhere");
    for gateway in [&one, &other] {
        assert_eq!(get(&format!("{}/echo/stats", gateway.url())).json()["invocations"], 10);
        let unknown = get(&format!("{}/echo/status?uuid={}", gateway.url(), uuid::Uuid::now_v7()));
        unknown.refused(400, 203);
    }

    // What is open at the one is never old at the other for long.
    let sleeps = submit(&one, "sleep", &[("sleep", "1000")]);
    state(&other, "sleep", &sleeps, "STARTED");
    state(&one, "sleep", &sleeps, "STARTED");
    cancel(&other, "sleep", &sleeps);
    let cancelled = Instant::now();
    assert_eq!(status(&other, "sleep", &sleeps)["status"], "REVOKED");
    state(&one, "sleep", &sleeps, "REVOKED");
    // Half a second, on a machine that has time for us.
    assert!(cancelled.elapsed() < LONG / 4, "{:?}", cancelled.elapsed());
    // Its process is free again: both are, for two tasks that wait for each other.
    let gate = Gate::new();
    let after: Vec<_> = (0..2).map(|_| submit(&one, "sleep", &[("sleep", "0"), ("gate", gate.name())])).collect();
    after.iter().for_each(|task| state(&other, "sleep", task, "STARTED"));
    gate.open();
    for task in &after {
        assert_eq!(end(&other, "sleep", task)["status"], "SUCCESS");
    }

    // One key, two gateways.
    let first = try_submit(&one.url(), "the-key").unwrap();
    assert_eq!(try_submit(&other.url(), "the-key"), Ok(first));
}

#[test]
fn what_is_cancelled_elsewhere_before_it_is_sent_is_never_sent() {
    let mut town = Town::new(Postgres::shared());
    let ((one, network), other) = (town.gateway_behind_a_proxy(), town.gateway());
    network.cut();
    cannot_publish(&one);
    let tasks: Vec<_> = (0..4).map(|_| submit(&one, "echo", &[])).collect();
    for task in &tasks[..2] {
        assert_eq!(cancel(&other, "echo", task)["status"], "REVOKED");
    }
    network.heal();
    ready(&one);
    town.nothing_waits();
    town.work();
    assert_eq!(town.all_succeed(&other, &tasks[2..]), 0);
    let runs = town.runs(&tasks);
    for task in &tasks[..2] {
        assert_eq!(runs[task], 0, "{task}");
        assert_eq!(status(&one, "echo", task)["status"], "REVOKED");
    }
}

#[test]
fn what_a_gateway_that_is_gone_has_cancelled_is_not_begun() {
    let mut town = Town::new(Postgres::shared());
    let (mut one, other) = (town.gateway(), town.gateway());
    let mark = town.file("begun");
    let task = submit(&one, "sleep", &[("sleep", "1"), ("mark", mark.to_str().unwrap())]);
    town.sent(&one, "sleep", &task);
    assert_eq!(cancel(&one, "sleep", &task)["status"], "REVOKED");
    one.kill9();
    // It asks its neighbours what was revoked, and only the other one is there to tell.
    town.work_after_hearing(std::slice::from_ref(&task));
    let after: Vec<_> = (0..4).map(|_| submit(&other, "echo", &[])).collect();
    assert_eq!(town.all_succeed(&other, &after), 0);
    assert!(!mark.exists(), "it was begun");
    assert_eq!(status(&other, "sleep", &task)["status"], "REVOKED");
}
