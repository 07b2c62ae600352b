//! Retries and time limits.

use crate::{GATED, OPEN, go, shell, starts, support::*};
use std::fs;

#[test]
fn a_failure_is_tried_again_as_often_as_configured() {
    let count = "echo x >> @DIR@/$SERVICE_GATEWAY_TASK; n=$(wc -l < @DIR@/$SERVICE_GATEWAY_TASK)";
    let gateway = Gateway::start(
        &[
            OPEN,
            &shell(
                "flaky",
                &format!("{count}; [ -e @DIR@/go ] || {{ echo \"not yet: $n\" >&2; exit 1; }}; echo $n"),
                "retries = 6",
            ),
            &shell("hopeless", &format!("{count}; echo \"never: $n\" >&2; exit 1"), "retries = 1"),
        ]
        .concat(),
    );
    let hopeless = submit(&gateway, "hopeless", &[]);
    let flaky = submit(&gateway, "flaky", &[]);
    let seen = until(PATIENCE, "the first failure", || {
        let now = status(&gateway, "flaky", &flaky);
        (now["status"] == "RETRY").then_some(now)
    });
    assert_eq!(seen["result"]["code"], 642, "{seen}");
    assert!(seen["result"]["message"].as_str().unwrap().contains("not yet"), "{seen}");
    // Only now: between its tries it is seen for a second, then for two, and so on.
    go(&gateway);
    let end_of_flaky = end(&gateway, "flaky", &flaky);
    assert_eq!(end_of_flaky["status"], "SUCCESS", "{end_of_flaky}");
    assert!(end_of_flaky["attempts"].as_u64() >= Some(2), "{end_of_flaky}");
    assert_eq!(end_of_flaky["attempts"], end_of_flaky["result"], "every run is counted: {end_of_flaky}");

    let end_of_hopeless = end(&gateway, "hopeless", &hopeless);
    assert_eq!(
        (&end_of_hopeless["status"], &end_of_hopeless["attempts"]),
        (&"FAILURE".into(), &2.into()),
        "{end_of_hopeless}"
    );
    assert!(end_of_hopeless["result"]["message"].as_str().unwrap().contains("never: 2"), "{end_of_hopeless}");
}

#[test]
fn a_run_that_a_restart_cuts_short_uses_up_no_retry() {
    // Fails once, when it is let go; then it succeeds.
    let script = format!("{GATED}[ -e @DIR@/failed ] || {{ touch @DIR@/failed; echo once >&2; exit 1; }}");
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", &script, "retries = 1")].concat());
    let uuid = submit(&gateway, "stub", &[]);
    wait_for("it runs", || starts(&gateway).len() == 1);
    gateway.stop_and_start();
    wait_for("it runs again", || starts(&gateway).len() == 2);
    gateway.kill9();
    gateway.restart();
    wait_for("and again", || starts(&gateway).len() == 3);
    go(&gateway);
    let end = end(&gateway, "stub", &uuid);
    assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &4.into()), "{end}");
}

#[test]
fn a_task_that_brings_down_what_runs_it_fails_at_last() {
    // The guard is the parent.
    let script = "echo x >> @DIR@/begun; kill -KILL $PPID; sleep 1000";
    let gateway = Gateway::start(&[OPEN, &shell("poison", script, "losses = 3")].concat());
    let end = ends(&gateway, "poison", &[]);
    assert_eq!((&end["status"], &end["attempts"]), (&"FAILURE".into(), &3.into()), "{end}");
    let message = end["result"]["message"].as_str().unwrap();
    assert!(message.contains("lost 3 times"), "{end}");
    assert_eq!(fs::read_to_string(gateway.directory().join("begun")).unwrap(), "x\nx\nx\n");
}

#[test]
fn a_program_that_takes_too_long_is_stopped() {
    let script = "sleep 1000 & echo started > @DIR@/started; sleep 1000";
    // Long enough for the program to begin, on a busy machine too.
    let gateway = Gateway::start(&[OPEN, &shell("slow", script, "timeout = \"10s\"")].concat());
    let end = ends(&gateway, "slow", &[]);
    assert_eq!(end["status"], "FAILURE", "{end}");
    assert!(end["result"]["message"].as_str().unwrap().contains("10s"), "{end}");
    assert!(gateway.directory().join("started").exists(), "it had run");
    assert!(processes_with(&gateway.mark()).is_empty(), "nothing of it is left");
}

#[test]
fn a_request_may_lower_the_limit_of_its_run() {
    let gateway = Gateway::start(&[OPEN, &shell("slow", "sleep 1000", "timeout = \"1h\"")].concat());
    let answer = request("POST", &format!("{}/slow/annotate?run_limit=1s", gateway.url())).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let end = end(&gateway, "slow", answer.json()["uuid"].as_str().unwrap());
    assert!(["FAILURE", "EXPIRED"].iter().any(|state| end["status"] == *state), "{end}");
    wait_for("nothing of it runs", || processes_with(&gateway.mark()).is_empty());
    let bad = request("POST", &format!("{}/slow/annotate?run_limit=soon", gateway.url())).send();
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[test]
fn a_request_may_say_how_long_it_waits() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    let first = submit(&gateway, "stub", &[]);
    wait_for("the first runs", || !starts(&gateway).is_empty());
    let impatient = submit(&gateway, "stub", &[("wait_limit", "1s")]);
    let patient = submit(&gateway, "stub", &[("wait_limit", "1h")]);
    let gone = end(&gateway, "stub", &impatient);
    assert_eq!(gone["attempts"], 0, "{gone}");
    assert!(["EXPIRED", "REVOKED", "FAILURE"].iter().any(|state| gone["status"] == *state), "{gone}");
    go(&gateway);
    for uuid in [&first, &patient] {
        assert_eq!(end(&gateway, "stub", uuid)["status"], "SUCCESS");
    }
    assert!(!starts(&gateway).iter().any(|start| start.uuid == impatient), "it never ran");
}

#[test]
fn a_service_without_a_worker_keeps_its_tasks_until_it_has_one() {
    let mut gateway = Gateway::start(&format!("{OPEN}[services.later]\nrequires_document = false\n"));
    let uuid = submit(&gateway, "later", &[]);
    assert_eq!(status(&gateway, "later", &uuid)["status"], "PENDING");
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    fs::write(gateway.config(), format!("{OPEN}{}", shell("later", "echo '\"at last\"'", ""))).unwrap();
    gateway.restart();
    let end = end(&gateway, "later", &uuid);
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &"at last".into()), "{end}");
}
