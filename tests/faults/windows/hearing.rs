//! W9 to W12: from the worker to the end that is kept.

use crate::{
    arena::{Arena, Kind},
    place::{LONG, end, sent, state, succeeds},
    rabbit::Rabbit,
    support::{cancel, status, until},
    wire::{Fate, Kind::Ack, Wire},
};
use std::fs;

both!(
    a_worker_that_dies_after_an_early_ack_is_waited_for_no_longer_than_the_limit,
    a_worker_that_dies_between_its_result_and_its_ack_is_a_second_run,
    a_result_is_heard_again_when_the_gateway_died_before_its_commit,
    a_result_is_heard_once_when_the_gateway_died_before_its_ack,
    a_cancel_outlives_gateway_and_workers,
);

fn a_worker_that_dies_after_an_early_ack_is_waited_for_no_longer_than_the_limit(kind: Kind) {
    let arena = Arena::with(kind, Rabbit::shared(), |_| "run_limit = \"3s\"\n".to_owned());
    let worker = arena.workshop.begin(arena.broker.url(), &[("EARLY_ACKS", "1")]);
    let gate = arena.workshop.path("gate");
    let uuid = arena.submit(&[("gate", gate.to_str().unwrap())]);
    // (Or given up already, on a machine that let the limit pass meanwhile.)
    let started = || status(&arena.gateway, "record", &uuid)["started"].is_string();
    until(LONG, "it is begun", || started().then_some(()));
    worker.kill9();
    let told = end(&arena.gateway, &uuid);
    assert_eq!(told["status"], "EXPIRED", "{told}");
    assert_eq!(told["reason"], "the task ran longer than its run_limit of 3 s", "{told}");
}

/// The result is with the broker, and the task is delivered once more: the first end stays, and both runs are told.
fn a_worker_that_dies_between_its_result_and_its_ack_is_a_second_run(kind: Kind) {
    let arena = Arena::new(kind);
    let wire = Wire::to(arena.broker.url());
    wire.stop_at(Ack, 1);
    let worker = arena.workshop.begin(wire.url(), &[]);
    let uuid = arena.submit(&[]);
    wire.stopped();
    let first = succeeds(&arena.gateway, &uuid);
    assert_eq!(first["attempts"], 1, "{first}");
    worker.kill9();
    wire.go_on(Fate::CutBefore);
    let _another = arena.workshop.worker(arena.broker.url());
    until(LONG, "the second run is told", || (status(&arena.gateway, "record", &uuid)["attempts"] == 2).then_some(()));
    until(LONG, "it is done", || (arena.workshop.done().get(&uuid) == Some(&2)).then_some(()));
    arena.waiting(0);
    let last = status(&arena.gateway, "record", &uuid);
    assert_eq!((&last["status"], &last["ended"]), (&"SUCCESS".into(), &first["ended"]), "{last}");
}

fn a_result_is_heard_again_when_the_gateway_died_before_its_commit(kind: Kind) {
    let mut arena = Arena::new(kind);
    let _worker = arena.workshop.worker(arena.broker.url());
    let gate = arena.workshop.path("gate");
    let uuid = arena.submit(&[("gate", gate.to_str().unwrap())]);
    state(&arena.gateway, &uuid, "STARTED");
    arena.dies_before_the_commit(|| fs::write(&gate, "").unwrap());
    until(LONG, "the worker is done", || (arena.workshop.done().get(&uuid) == Some(&1)).then_some(()));
    arena.restart();
    let told = succeeds(&arena.gateway, &uuid);
    assert_eq!((&told["attempts"], arena.workshop.begun()[&uuid]), (&1.into(), 1), "{told}");
}

fn a_result_is_heard_once_when_the_gateway_died_before_its_ack(kind: Kind) {
    let mut arena = Arena::new(kind);
    let _worker = arena.workshop.worker(arena.broker.url());
    let gate = arena.workshop.path("gate");
    let uuid = arena.submit(&[("gate", gate.to_str().unwrap())]);
    state(&arena.gateway, &uuid, "STARTED");
    // STARTED may be acknowledged late: what comes after the end is the end's.
    until(LONG, "STARTED is acknowledged", || (arena.broker.messages(&arena.replies()) == 0).then_some(()));
    arena.wire.stop_at(Ack, 1);
    fs::write(&gate, "").unwrap();
    arena.wire.stopped();
    let first = succeeds(&arena.gateway, &uuid);
    arena.dies_there();
    arena.restart();
    until(LONG, "nothing is left", || (arena.broker.messages(&arena.replies()) == 0).then_some(()));
    let last = succeeds(&arena.gateway, &uuid);
    assert_eq!((&last["attempts"], &last["ended"]), (&1.into(), &first["ended"]), "{last}");
}

fn a_cancel_outlives_gateway_and_workers(kind: Kind) {
    let mut arena = Arena::new(kind);
    let gate = arena.workshop.path("never");
    let gated = [("gate", gate.to_str().unwrap())];
    // Both are with the broker, and no worker is there that could be told.
    let cancelled = [arena.submit(&gated), arena.submit(&gated)];
    for uuid in &cancelled {
        sent(&arena.gateway, uuid);
        assert_eq!(cancel(&arena.gateway, "record", uuid)["status"], "REVOKED");
    }
    arena.gateway.kill9();
    arena.restart();
    let _worker = arena.workshop.worker(arena.broker.url());
    // Each would keep one of the two processes for ever.
    let others: Vec<_> = (0..4).map(|_| arena.submit(&[])).collect();
    for uuid in &others {
        succeeds(&arena.gateway, uuid);
    }
    until(LONG, "nobody works on what was cancelled", || {
        (arena.broker.messages(&arena.workshop.queue) == 0).then_some(())
    });
    for uuid in &cancelled {
        assert_eq!(status(&arena.gateway, "record", uuid)["status"], "REVOKED");
    }
    assert!(cancelled.iter().all(|uuid| !arena.workshop.done().contains_key(uuid)));
}
