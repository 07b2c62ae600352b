//! `/needs` and `service-gateway needs`.

use crate::{
    place::Place,
    rabbit::Rabbit,
    support::{Gateway, cli, ends, get, request, submit, wait_for},
};
use serde_json::json;

const KEYS: [&str; 14] = [
    "service",
    "waiting",
    "running",
    "idle_slots",
    "workers",
    "arrival_rate",
    "service_time_mean",
    "service_time_p95",
    "utilisation",
    "predicted_wait",
    "drain_time",
    "oldest_wait",
    "desired_workers",
    "reason",
];

#[test]
fn what_waits_is_counted_and_a_broker_that_is_away_is_no_empty_one() {
    let place = Place::new(Rabbit::own(), "true", "spawn_ratio = 0.5", "");
    let empty = place.until("the broker answers", |_| true);
    let keys: Vec<_> = empty.as_object().unwrap().keys().collect();
    assert_eq!(keys, KEYS);
    assert_eq!((&empty["waiting"], &empty["workers"]), (&json!(0), &json!(0)));
    assert_eq!(empty["desired_workers"], 1, "the floor: {empty}");

    (0..6).for_each(|_| drop(submit(&place.gateway, "stub", &[])));
    let waiting = place.until("six wait", |needs| needs["waiting"] == 6);
    assert_eq!(waiting["desired_workers"], 3, "half of them, as long as nobody knows how long they take: {waiting}");
    assert!(waiting["oldest_wait"].as_f64().unwrap() > 0.0, "{waiting}");
    assert!(waiting["service_time_mean"].is_null() && waiting["predicted_wait"].is_null(), "{waiting}");

    // A broker that a busy machine lets answer late is asked again: until then none of these has a number.
    let url = |path: &str| format!("{}{path}", place.gateway.url());
    wait_for("all services are told", || get(&url("/needs")).json()["services"]["stub"]["waiting"] == 6);
    wait_for("there is a page", || {
        request("GET", &url("/stub/needs")).header("Accept", "text/html").send().text().contains("Workers wanted")
    });
    wait_for("it is a metric", || {
        get(&url("/metrics")).text().contains("service_gateway_tasks_waiting{service=\"stub\"} 6\n")
    });
    let gateway = place.gateway.url();
    let asked = |arguments: &[&str], told: &str| {
        let arguments = [&["needs", "--url", &gateway], arguments].concat();
        wait_for(&format!("{arguments:?} tells {told}"), || {
            let asked = cli(place.gateway.directory(), &arguments);
            asked.code == 0 && asked.stdout.starts_with(told)
        });
    };
    asked(&["stub"], "stub: 3 workers wanted, 0 there\n");
    asked(&["--json"], "{\"services\":{\"stub\":{\"service\":\"stub\"");

    place.broker.kill9();
    wait_for("a broker that is away is told", || {
        let answer = get(&format!("{}/stub/needs", place.gateway.url()));
        answer.status == 503 && answer.json()["vesta"]["code"] == 205
    });
    wait_for("it is no metric any more", || !get(&url("/metrics")).text().contains("service_gateway_tasks_waiting{"));
    let asked = cli(place.gateway.directory(), &["needs", "--url", &place.gateway.url(), "stub"]);
    assert!(asked.code == 1 && asked.stderr.contains("code 205"), "{asked:?}");
}

#[test]
fn durations_and_rates_are_known_and_outlive_a_restart() {
    let mut gateway = Gateway::start(
        "[auth]\nmode = \"none\"\n[services.stub]\nrequires_document = false\n\
         [services.stub.worker]\ncommand = [\"sleep\", \"0.2\"]\nconcurrency = 2\n",
    );
    for _ in 0..4 {
        assert_eq!(ends(&gateway, "stub", &[])["status"], "SUCCESS");
    }
    let needs = |gateway: &Gateway| get(&format!("{}/stub/needs", gateway.url())).json();
    let known = |gateway: &Gateway| {
        wait_for("four tasks tell how long one takes", || {
            let needs = needs(gateway);
            let mean = needs["service_time_mean"].as_f64();
            mean.is_some_and(|mean| mean >= 0.15) && needs["arrival_rate"].as_f64().is_some_and(|rate| rate > 0.0)
        });
        assert_eq!(needs(gateway)["workers"], 2, "the embedded broker's slots");
        assert_eq!(needs(gateway)["predicted_wait"], 0.0);
    };
    known(&gateway);
    gateway.stop_and_start();
    known(&gateway);
}
