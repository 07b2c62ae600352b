//! Our worker on Flower's page: to Celery's tools it is one of theirs.

use crate::{
    place::{Place, processes_of},
    shown::Flower,
    support::{PATIENCE, until, wait_for},
};
use serde_json::Value;

#[test]
fn the_worker_and_its_tasks_are_shown_and_stopped_from_there() {
    let script = "[ -e @DIR@/end ] && echo '{\"done\": true}' && exit; while :; do sleep 0.1; done";
    let place = Place::new("flower", script, "concurrency = 2");
    let worker = place.worker();
    let flower = Flower::start(&place.broker, place.gateway.directory());
    // Flower gives a worker a second to answer each of its questions, and shows what it knew before.
    let holds = |shown: &Value, list: &str, item: &dyn Fn(&Value) -> bool| {
        shown[list].as_array().is_some_and(|list| list.iter().any(item))
    };
    let shows = |list: &str, item: &dyn Fn(&Value) -> bool| {
        let shown = || Some(flower.worker(&worker.name)).filter(|shown| holds(shown, list, item));
        until(PATIENCE, &format!("Flower shows it in {list:?}"), shown)
    };
    shows("registered", &|task| task == "worker.stub");
    shows("active_queues", &|queue| queue["name"] == place.queue.as_str());
    let shown = until(PATIENCE, "Flower shows its size", || {
        Some(flower.worker(&worker.name)).filter(|shown| !shown["stats"]["pool"].is_null())
    });
    assert_eq!(shown["stats"]["pool"]["max-concurrency"], 2, "{shown}");

    let running = place.submit(&[]);
    let task = flower.task(&running, "STARTED");
    assert_eq!(task["name"], "worker.stub");
    assert!(task["worker"].as_str().is_some_and(|name| name.contains(&worker.name)), "{task}");
    shows("active", &|task| task["id"] == running.as_str());

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
