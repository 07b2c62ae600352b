//! Chains, run by a worker of ours over RabbitMQ.

use crate::{
    place::{Place, SERVICE, shell},
    rabbit::Rabbit,
    support::{is_end, is_state, request, status, until, wait_for},
};
use serde_json::{Value, json};
use std::time::Duration;

const CHAINS: &str = "simple_workflow";
const LONG: Duration = Duration::from_secs(120);
/// Notes each start, then waits for `go`.
const GATED: &str = "echo $0 >> @DIR@/began; until [ -e @DIR@/go ]; do sleep 0.05; done; echo 1";

fn place(name: &str) -> Place {
    let queue = format!("ours-chains-{name}-{}", std::process::id());
    let more = format!("[documents]\nallow_hosts = [\"127.0.0.1\"]\n[services.{CHAINS}]\nqueue = \"{queue}\"\n");
    Place::at(Rabbit::shared(), name, &shell(GATED), "concurrency = 2", &more)
}

fn submit(place: &Place, steps: &Value) -> String {
    let json = json!({ "services": steps }).to_string();
    let url = format!("{}/{CHAINS}/process", place.gateway.url());
    let answer = request("POST", &url).header("Authorization", "Bearer pa55word").form(&[("json", &json)]).send();
    answer.json()["uuid"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

fn end(place: &Place, uuid: &str) -> Value {
    until(LONG, &format!("the end of chain {uuid}"), || Some(status(&place.gateway, CHAINS, uuid)).filter(is_end))
}

#[test]
fn a_killed_worker_s_chain_goes_on_where_it_was() {
    let place = place("restarts");
    let (_steps, first) = (place.worker(), place.worker_of(CHAINS));
    let steps = json!([{"service_name": SERVICE}, {"service_name": SERVICE, "word": "x"}]);
    let uuid = submit(&place, &steps);
    wait_for("the first step runs", || place.lines("began").len() == 1);
    assert!(!first.log().contains("pa55word"));
    first.kill9();
    let second = place.worker_of(CHAINS);
    wait_for("the chain was given to another", || second.log().contains("begun"));
    place.touch("go");
    let done = end(&place, &uuid);
    assert!(is_state(&done, "SUCCESS") && done["result"] == 1, "{done}");
    assert_eq!(place.lines("began").len(), 2, "each step once");
    assert!(!second.log().contains("pa55word") && !place.gateway.log().contains("pa55word"));
}

#[test]
fn cancelling_reaches_the_step_and_a_failure_names_it() {
    let place = place("cancels");
    let (_steps, _chains) = (place.worker(), place.worker_of(CHAINS));
    let uuid = submit(&place, &json!([{"service_name": SERVICE}]));
    wait_for("the step runs", || place.lines("began").len() == 1);
    let step = place.lines("began").remove(0);
    assert!(is_state(&crate::support::cancel(&place.gateway, CHAINS, &uuid), "REVOKED"));
    until(LONG, "the step is cancelled, too", || is_state(&place.status(&step), "REVOKED").then_some(()));
    // Over RabbitMQ anybody may run chains, so the gateway takes this one; our worker says what is wrong.
    let failed = end(&place, &submit(&place, &json!([{"service_name": "nope"}])));
    assert_eq!(failed["result"]["code"], 202, "{failed}");
    assert!(failed["result"]["message"].as_str().unwrap().starts_with("step 1 of 1 (nope): "), "{failed}");
}
