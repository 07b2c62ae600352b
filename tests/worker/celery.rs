//! Real Celery clients: tasks of both protocols, inspect and control.

use crate::{
    place::{Place, processes_of},
    rabbit::{rig, run},
    support::{PATIENCE, wait_for},
};
use std::process::Command;

/// Does what `params.json` says: `misc.do` is a shell script.
const SCRIPT: &str = "echo $0 >> @DIR@/began\neval \"$(sed 's/.*\"do\": *\"\\([^\"]*\\)\".*/\\1/' params.json)\"";

/// Runs one scenario of `client.py`; it fails where it fails.
#[track_caller]
pub(crate) fn client(place: &Place, worker: &str, scenario: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/worker/client.py");
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.args([script, scenario, &place.queue, worker]).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("SG_TEST_DIRECTORY", place.gateway.directory());
    let output = run(command.env("CELERY_BROKER_URL", place.broker.url()), 3 * PATIENCE);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{scenario}: {}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn tasks_of_both_protocols_and_their_ends() {
    let place = Place::new("client", SCRIPT, "concurrency = 2\nretries = 1");
    let worker = place.worker();
    for scenario in ["results", "protocol_1", "failures", "not_registered", "expires", "eta", "time_limit", "states"] {
        client(&place, &worker.name, scenario);
    }
    place.holds(0);
}

#[test]
fn what_is_left_out_is_told_and_holds_nobody_up() {
    let place = Place::new("left-out", SCRIPT, "");
    let worker = place.worker();
    client(&place, &worker.name, "left_out");
    place.holds(0);
    let log = worker.log();
    assert!(log.contains("nobody takes a result") && !log.contains("sent again"), "{log}");
    assert!(log.contains("wanted=[\"callbacks\"]"), "{log}");
}

#[test]
fn inspect_sees_what_the_worker_has() {
    let place = Place::new("inspect", SCRIPT, "concurrency = 2");
    let worker = place.worker();
    client(&place, &worker.name, "inspect");
    place.touch("go");
    place.holds(0);
}

#[test]
fn revoke_discards_what_waits_and_terminates_what_runs() {
    let place = Place::new("revoke", SCRIPT, "");
    let worker = place.worker();
    let output = client(&place, &worker.name, "revoke");
    let [running, waiting] = [0, 1].map(|n| output.lines().nth(n).unwrap().to_owned());
    assert!(processes_of(&running).is_empty());
    assert!(!place.lines("began").contains(&waiting));
    place.holds(0);
}

#[test]
fn events_are_those_of_a_celery_worker() {
    let place = Place::new("events", SCRIPT, "");
    let worker = place.worker();
    client(&place, &worker.name, "events");
}

#[test]
fn shutdown_by_remote_control_is_warm() {
    let place = Place::new("shutdown", SCRIPT, "");
    let mut worker = place.worker();
    client(&place, &worker.name, "shutdown");
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
    wait_for("nobody consumes", || place.broker.queue(&place.queue).is_some_and(|queue| queue.consumers == 0));
}

#[test]
fn what_is_no_task_is_rejected_and_harms_nothing() {
    let place = Place::new("garbage", SCRIPT, "");
    let worker = place.worker();
    client(&place, &worker.name, "garbage");
    place.holds(0);
    assert!(worker.log().contains("a message is rejected"));
    client(&place, &worker.name, "results");
}
