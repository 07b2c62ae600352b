//! Workers that are killed, brokers that are away.

use crate::{
    place::{Place, processes_of, shell},
    rabbit::Rabbit,
    support::{PATIENCE, until, wait_for},
};
use serde_json::json;

/// Notes each start, then waits for `go`.
const GATED: &str = "(setsid sleep 300 &)\necho $0 >> @DIR@/began; until [ -e @DIR@/go ]; do sleep 0.05; done; echo 1";

fn runs(place: &Place) -> usize {
    place.lines("began").len()
}

#[test]
fn a_killed_workers_task_is_done_by_another_and_leaves_nothing_behind() {
    let place = Place::new("killed", GATED, "");
    let first = place.worker();
    let uuid = place.submit(&[]);
    wait_for("it runs", || runs(&place) == 1);
    let second = place.worker();
    // Between fork and exec a process may be seen without its mark.
    let all = || Some(processes_of(&uuid)).filter(|all| all.len() >= 3);
    let orphans = until(PATIENCE, "guard, program and grandchild are there", all);
    first.kill9();
    wait_for("it runs again", || runs(&place) == 2);
    wait_for("the first run is gone", || orphans.iter().all(|pid| !crate::support::alive(*pid)));
    assert!(second.log().contains("begun"));
    place.touch("go");
    let status = place.end(&uuid);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &json!(1)));
    assert_eq!(runs(&place), 2);
    place.holds(0);
    wait_for("nothing of it runs", || processes_of(&uuid).is_empty());
}

#[test]
fn where_a_lost_task_is_to_fail_it_is_not_begun_again() {
    let place = Place::new("lost", GATED, "on_lost = \"fail\"");
    let first = place.worker();
    let uuid = place.submit(&[]);
    wait_for("it runs", || runs(&place) == 1);
    first.kill9();
    let _second = place.worker();
    let status = place.end(&uuid);
    assert_eq!(status["status"], "FAILURE");
    assert!(status["result"]["message"].as_str().unwrap().contains("lost"), "{status}");
    place.holds(0);
    assert_eq!(runs(&place), 1);
}

#[test]
fn a_broker_that_is_killed_costs_no_work() {
    let place = Place::at(Rabbit::own(), "broker", &shell(GATED), "", "");
    let worker = place.worker();
    let uuid = place.submit(&[]);
    wait_for("it runs", || runs(&place) == 1);
    place.broker.kill9();
    // It ends while nobody can be told.
    place.touch("go");
    wait_for("it has ended", || worker.log().contains("ending=\"success\""));
    place.broker.start();
    let status = place.end(&uuid);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &json!(1)));
    place.holds(0);
    assert_eq!(runs(&place), 1, "it was delivered again, and not run again\n{}", worker.log());
    // And all is as before.
    let next = place.submit(&[]);
    assert_eq!(place.end(&next)["status"], "SUCCESS");
}

#[test]
fn a_worker_may_be_there_before_its_broker() {
    let place = Place::at(Rabbit::own(), "early", &shell("echo 1"), "", "");
    place.broker.stop();
    let worker = place.spawn();
    wait_for("it has tried", || worker.log().contains("no connection to the broker"));
    place.broker.start();
    let uuid = place.submit(&[]);
    assert_eq!(place.end(&uuid)["result"], 1);
}
