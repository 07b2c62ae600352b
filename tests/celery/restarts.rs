//! The gateway ends in the middle of it all, by force or in order.

use crate::{
    corner::{Corner, LONG},
    gate::Gate,
    support::{signal, until},
};
use serde_json::json;

#[test]
fn results_that_come_while_the_gateway_is_away_are_taken_when_it_is_back() {
    let mut corner = Corner::new("restarts");
    let _worker = corner.worker(&["--concurrency=2"]);
    for by_force in [true, false] {
        // Each of the worker's processes has one, and the others wait until the gateway is gone.
        let gate = Gate::new();
        let mut uuids: Vec<_> =
            (0..2).map(|_| corner.submit("sleep", &[("sleep", "1"), ("gate", gate.name())])).collect();
        uuids.iter().for_each(|uuid| drop(corner.state("sleep", uuid, "STARTED")));
        // Some are sent, some are under way to the broker, some only written down.
        uuids.extend((0..20).map(|_| corner.submit("sleep", &[("sleep", "0.1")])));
        corner.sent("sleep", &uuids[5]);
        if by_force {
            corner.gateway.kill9();
        } else {
            corner.gateway.terminate();
            assert_eq!(corner.gateway.wait().code(), Some(0), "{}", corner.gateway.log());
        }
        gate.open();
        let waiting = || corner.broker.queue(&corner.replies).map_or(0, |queue| queue.ready);
        until(LONG, "results wait for the gateway", || (waiting() >= 5).then_some(()));
        corner.gateway.restart();
        for uuid in &uuids {
            let end = corner.end("sleep", uuid);
            assert_eq!(end["status"], "SUCCESS", "by force: {by_force}, {end}");
            assert!(end["result"] == json!({"slept": 0.1}) || end["result"] == json!({"slept": 1.0}), "{end}");
            // Sent once, or perhaps once more where nobody had seen the confirm.
            let attempts = end["attempts"].as_u64().unwrap();
            assert!((1..=2).contains(&attempts), "{end}");
        }
    }
    until(LONG, "nothing is left", || (corner.broker.messages(&corner.replies) == 0).then_some(()));
}

#[test]
fn services_come_and_go_while_tasks_are_on_their_way() {
    let corner = Corner::new("reload");
    let _worker = corner.worker(&["--concurrency=1"]);
    let gate = Gate::new();
    let running = corner.submit("sleep", &[("sleep", "0.1"), ("gate", gate.name())]);
    corner.state("sleep", &running, "STARTED");
    let waiting = corner.submit("sleep", &[("sleep", "0.1")]);
    corner.sent("sleep", &waiting);

    // `sleep` goes, and another comes whose queue nobody has declared yet.
    let queue = format!("{}.new", corner.queue);
    let old = std::fs::read_to_string(corner.gateway.config()).unwrap();
    let new = format!("{old}\n[services.new]\ntask = \"echo\"\nqueue = \"{queue}\"\nrequires_document = false\n");
    let gone = new.replace("[services.sleep]", "[services.slept]");
    assert!(gone.contains("[services.slept]"), "{gone}");
    std::fs::write(corner.gateway.config(), gone).unwrap();
    signal(corner.gateway.pid(), "HUP");
    until(LONG, "it is reloaded", || corner.gateway.log().contains("was reloaded").then_some(()));
    until(LONG, "it is declared before the first task comes", || corner.broker.queue(&queue));
    let new = corner.submit("new", &[]);
    corner.sent("new", &new);
    let _other = crate::celery::Worker::start(&corner.broker, &queue, corner.gateway.directory(), &[]);
    assert_eq!(corner.end("new", &new)["status"], "SUCCESS");
    gate.open();
    for uuid in [&running, &waiting] {
        assert_eq!(corner.end("sleep", uuid)["status"], "SUCCESS", "what was accepted is worked on and told");
    }
}
