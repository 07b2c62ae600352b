//! Our worker on Flower's page: to Celery's tools it is one of theirs.

use crate::{
    place::{Place, processes_of},
    shown::Flower,
    support::wait_for,
};

#[test]
fn the_worker_and_its_tasks_are_shown_and_stopped_from_there() {
    let script = "[ -e @DIR@/end ] && echo '{\"done\": true}' && exit; while :; do sleep 0.1; done";
    let place = Place::new("flower", script, "concurrency = 2");
    let worker = place.worker();
    let flower = Flower::start(&place.broker, place.gateway.directory());
    let shown = flower.worker(&worker.name);
    let registered = shown["registered"].as_array().expect("a list of tasks");
    assert!(registered.iter().any(|task| task == "worker.stub"), "{shown}");
    assert_eq!(shown["active_queues"][0]["name"], place.queue.as_str(), "{shown}");
    assert_eq!(shown["stats"]["pool"]["max-concurrency"], 2, "{shown}");

    let running = place.submit(&[]);
    let task = flower.task(&running, "STARTED");
    assert_eq!(task["name"], "worker.stub");
    assert!(task["worker"].as_str().is_some_and(|name| name.contains(&worker.name)), "{task}");
    let active = flower.worker(&worker.name)["active"].clone();
    assert!(
        active.as_array().is_some_and(|active| active.iter().any(|task| task["id"] == running.as_str())),
        "{active}"
    );

    // As its button "terminate" does.
    assert!(flower.tell(&format!("/api/task/revoke/{running}?terminate=true")).is_some());
    flower.task(&running, "REVOKED");
    wait_for("the program is stopped", || processes_of(&running).is_empty());
    assert_eq!(place.end(&running)["status"], "REVOKED");

    place.touch("end");
    let done = place.submit(&[]);
    let task = flower.task(&done, "SUCCESS");
    assert!(task["runtime"].as_f64().is_some_and(|runtime| runtime > 0.0), "{task}");
}
