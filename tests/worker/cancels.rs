//! Cancelled while it waits or runs, or while no worker is there.

use crate::{
    place::{Ours, Place, SERVICE, processes_of},
    support::{cancel, wait_for},
};

/// Notes its start and that of a grandchild that leaves its group, then waits for `go`.
const GATED: &str = "(setsid sleep 300 &)\necho $0 >> @DIR@/began; until [ -e @DIR@/go ]; do sleep 0.05; done";

fn has_begun(place: &Place, uuid: &str) {
    wait_for("the program runs", || place.lines("began").iter().any(|line| line == uuid));
}

#[test]
fn what_runs_is_stopped_with_everything_it_started() {
    let place = Place::new("running", GATED, "");
    let worker = place.worker();
    let uuid = place.submit(&[]);
    has_begun(&place, &uuid);
    // Between fork and exec a process may be seen without its mark.
    wait_for("guard, program and grandchild are there", || processes_of(&uuid).len() >= 3);
    assert_eq!(cancel(&place.gateway, SERVICE, &uuid)["status"], "REVOKED");
    wait_for("nothing of it runs", || processes_of(&uuid).is_empty());
    place.holds(0);
    wait_for("the worker knows", || worker.log().contains("reason=\"terminated\""));
    assert_eq!(place.status(&uuid)["result"]["code"], 109);
    // The slot is free again.
    place.touch("go");
    let next = place.submit(&[]);
    assert_eq!(place.end(&next)["status"], "SUCCESS");
}

#[test]
fn what_waits_is_never_begun() {
    let place = Place::new("waiting", GATED, "");
    let worker = place.worker();
    let first = place.submit(&[]);
    has_begun(&place, &first);
    let second = place.submit(&[]);
    place.holds(2);
    assert_eq!(cancel(&place.gateway, SERVICE, &second)["status"], "REVOKED");
    // It is written down first, and told to the workers then.
    wait_for("the worker is told", || worker.log().contains(&second));
    place.touch("go");
    assert_eq!(place.end(&first)["status"], "SUCCESS");
    place.holds(0);
    assert_eq!(place.lines("began"), [first]);
    assert_eq!(place.status(&second)["status"], "REVOKED");
}

#[test]
fn what_was_cancelled_while_no_worker_was_there_is_never_begun() {
    let place = Place::new("away", GATED, "");
    let uuid = place.submit(&[]);
    place.holds(1);
    assert_eq!(cancel(&place.gateway, SERVICE, &uuid)["status"], "REVOKED");
    let other = place.submit(&[]);
    let worker = place.worker();
    has_begun(&place, &other);
    place.touch("go");
    assert_eq!(place.end(&other)["status"], "SUCCESS");
    place.holds(0);
    let began = place.lines("began");
    if !knew(&worker, &uuid) {
        // Its neighbours have a second to answer. Where that was too short it may have begun, and was told to stop.
        let log = worker.log();
        let stopped = log.lines().any(|line| line.contains(&uuid) && line.contains("reason=\"terminated\""));
        assert!(began == [&*other] || stopped && began == [&*uuid, &*other], "{began:?}\n{log}");
        drop(worker);
        return wait_for("a worker is told in time", || knew(&place.worker(), &uuid));
    }
    assert_eq!(began, [other], "the worker asked its neighbours before it began");
}

/// Was it told that this is revoked before it took its first task?
fn knew(worker: &Ours, uuid: &str) -> bool {
    let log = worker.log();
    let before = log.lines().take_while(|line| !line.contains("consuming"));
    before.filter(|line| line.contains("a neighbour told")).any(|line| line.contains(uuid))
}
