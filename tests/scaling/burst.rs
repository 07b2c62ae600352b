//! A burst of ten times the load, for real.

use crate::{
    place::Place,
    rabbit::Rabbit,
    support::{PATIENCE, end, submit, until, wait_for},
};
use std::time::Instant;

/// A task takes about so many seconds, but waits before that as long as it is held up; every start tells who it was.
const SCRIPT: &str = "echo $0 >> @DIR@/began; while [ -e @DIR@/hold ]; do sleep 0.1; done; sleep 1";

#[test]
fn a_burst_starts_workers_clears_and_ends_at_the_floor_with_nothing_lost() {
    let scaling = "target_wait = \"10s\"\nstart_time = \"2s\"\nkeep_idle = \"3s\"\nmax_workers = 6";
    let place = Place::new(Rabbit::shared(), SCRIPT, scaling, "[scaling]\ninterval = \"1s\"\n");
    let mut daemon = place.daemon("one");
    place.until("the floor is there", |needs| needs["workers"] == 1);

    // The base load: how long a task takes is learnt.
    let mut all: Vec<_> = (0..4).map(|_| submit(&place.gateway, "stub", &[])).collect();
    place.until("the base load is done", |needs| needs["waiting"] == 0 && !needs["service_time_mean"].is_null());

    // The burst: ten times as much. None is done before the workers are there, however long they take to start.
    std::fs::write(place.file("hold"), "").unwrap();
    all.extend((0..40).map(|_| submit(&place.gateway, "stub", &[])));
    let most = place.until("more workers are wanted and there", |needs| {
        needs["desired_workers"].as_u64() > Some(3) && needs["workers"] == needs["desired_workers"]
    });
    assert!(most["workers"].as_u64() <= Some(6), "{most}");
    let predicted = most["drain_time"].as_f64().or(most["predicted_wait"].as_f64()).unwrap();
    std::fs::remove_file(place.file("hold")).unwrap();
    let began = Instant::now();
    place.until("the backlog clears", |needs| needs["waiting"] == 0);
    let took = began.elapsed().as_secs_f64();
    #[allow(clippy::print_stderr)] // a figure for whoever asks: a busy machine proves nothing by it
    {
        let waiting = &most["waiting"];
        eprintln!("{waiting} waiting tasks: predicted {predicted:.1} s, took {took:.1} s: {:.2}", took / predicted);
    }

    for uuid in &all {
        assert_eq!(end(&place.gateway, "stub", uuid)["status"], "SUCCESS", "{uuid}");
    }
    until(6 * PATIENCE, "back to the floor", || (place.consumers() == 1).then_some(()));
    wait_for("who was told to end has ended", || place.workers("one").len() == 1);
    let runs = std::fs::read_to_string(place.file("began")).unwrap();
    let mut runs: Vec<_> = runs.lines().collect();
    runs.sort_unstable();
    all.sort_unstable();
    assert_eq!(runs, all, "each once: nobody who worked was cut short");
    assert_eq!(place.broker.messages(&place.queue), 0);
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.log());
    assert_eq!(place.consumers(), 1, "the workers go on without the daemon");
}
