//! Results by rpc, which all clients share: nobody takes another's, and no consumer is kept for a task.

use crate::{
    celery::Worker,
    corner::{Corner, LONG, queue},
    gate::Gate,
    support::{cancel, get, is_state, request, until},
};
use serde_json::Value;
use std::time::{Duration, Instant};

#[test]
fn two_clients_see_the_same_states_and_there_is_one_consumer_for_all() {
    let replies = queue("replies");
    let corner = Corner::new("shared", &format!("reply_queue = \"{replies}\""), "", "");
    let worker = Worker::start(&corner.broker, &corner.queue, corner.gateway.directory(), &["--concurrency=2"]);
    let waiting: Vec<_> = (0..20).map(|_| corner.submit("echo", &[])).collect();
    let gate = Gate::new();
    let uuid = corner.submit("add_progress", &[("hold", gate.name())]);
    for seen in corner.watched_by_two("add_progress", &uuid, &gate) {
        let end = &seen[seen.len() - 4..];
        assert_eq!(end, ["PROGRESS 10", "PROGRESS 50", "PROGRESS 90", "SUCCESS"], "{seen:?}");
    }
    for uuid in &waiting {
        // Whoever asks first, asks again, or asks late.
        let first = corner.end("echo", uuid);
        assert_eq!(first, corner.status("echo", uuid));
        assert!(is_state(&first, "SUCCESS"));
        assert_eq!(corner.broker.queue(&uuid.replace('-', "")), None, "no queue for a task");
    }
    until(LONG, "every result is taken", || (corner.broker.queue(&replies)?.ready == 0).then_some(()));
    assert_eq!(corner.broker.queue(&replies).unwrap().consumers, 1);
    drop(worker);
    corner.broker.delete(&replies);
}

#[test]
fn a_result_that_is_no_longer_kept_is_expired_and_a_task_that_waits_is_not() {
    let corner = Corner::new("kept", "", "", "[store]\nkeep_results = \"2s\"\n");
    let waiting = corner.submit("echo", &[]);
    let since = Instant::now();
    let worker = Worker::start(&corner.broker, &corner.queue, corner.gateway.directory(), &[]);
    corner.kept(("echo", &waiting), "SUCCESS", since, Duration::from_secs(2));
    let cancelled = corner.submit("sleep", &[("sleep", "60")]);
    corner.state("sleep", &cancelled, "STARTED");
    assert!(is_state(&cancel(&corner.gateway, "sleep", &cancelled), "REVOKED"));
    drop(worker);
    let unseen = corner.submit("echo", &[]);
    for (service, uuid) in [("echo", &waiting), ("sleep", &cancelled)] {
        let expired = corner.state(service, uuid, "EXPIRED");
        assert_eq!((&expired["result"], expired["ended"].is_string()), (&Value::Null, true), "when it ended is known");
        let url = format!("{}/{service}/status?uuid={uuid}", corner.gateway.url());
        let plain = format!("{{\"uuid\":\"{uuid}\",\"status\":\"EXPIRED\",\"result\":null}}");
        assert_eq!(get(&url).json(), serde_json::from_str::<Value>(&plain).unwrap());
        let xml = request("GET", &url).header("Accept", "application/xml").send();
        assert_eq!(xml.header("content-type").map(|kind| kind.starts_with("application/xml")), Some(true));
        assert!(xml.text().contains("<status>EXPIRED</status><result></result>"), "{}", xml.text());
        // Cancelling it changes nothing.
        assert!(is_state(&cancel(&corner.gateway, service, uuid), "EXPIRED"));
    }
    // Nobody has done this one: it waits, longer than results are kept.
    assert!(is_state(&corner.status("echo", &unseen), "PENDING"));
    // What never existed is another thing.
    let nobody = format!("{}/echo/status?uuid=00000000-0000-7000-8000-000000000000", corner.gateway.url());
    get(&nobody).refused(400, 203);
}
