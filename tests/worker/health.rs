//! A command that is not there.

use crate::{celery::client, place::Place, rabbit::Rabbit, support::wait_for};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt};

#[test]
fn three_tasks_fail_and_the_others_wait_until_it_is_there() {
    let place = Place::at(Rabbit::shared(), "health", "[\"@DIR@/program\"]", "", "");
    let worker = place.worker();
    for _ in 0..3 {
        let uuid = place.submit(&[]);
        let status = place.end(&uuid);
        assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(642)));
    }
    wait_for("the queue is left alone", || place.broker.queue(&place.queue).is_some_and(|queue| queue.consumers == 0));
    assert!(worker.log().contains("the service cannot be done here"));
    let uuid = place.submit(&[]);
    place.holds(1);
    client(&place, &worker.name, "left_alone");
    // One is tried, and put back: it does not fail.
    wait_for("one is tried", || worker.log().contains("trying one task"));
    wait_for("it is put back", || worker.log().matches("the service cannot be done here").count() >= 2);
    place.holds(1);
    assert_eq!(place.status(&uuid)["attempts"], 1);
    fs::write(place.file("program"), "#!/bin/sh\necho 1\n").unwrap();
    fs::set_permissions(place.file("program"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.end(&uuid)["result"], 1);
    wait_for("it is told", || worker.log().contains("the service can be done again"));
    let next = place.submit(&[]);
    assert_eq!(place.end(&next)["result"], 1);
}
