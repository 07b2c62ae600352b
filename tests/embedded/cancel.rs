//! Cancelling a task before, while and after it runs.

use crate::{GATED, OPEN, children, go, shell, starts, support::*};
use serde_json::json;

#[test]
fn a_task_that_waits_never_runs() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    let first = submit(&gateway, "stub", &[]);
    let second = submit(&gateway, "stub", &[]);
    let third = submit(&gateway, "stub", &[]);
    wait_for("the first runs", || !starts(&gateway).is_empty());

    let answer = cancel(&gateway, "stub", &second);
    let revoked = json!({ "uuid": second, "status": "REVOKED", "result": { "code": 109, "message": "revoked" } });
    assert_eq!(answer, revoked, "answered at once");
    assert_eq!(cancel(&gateway, "stub", &second), revoked, "again: the same");

    go(&gateway);
    for uuid in [&first, &third] {
        assert_eq!(end(&gateway, "stub", uuid)["status"], "SUCCESS");
    }
    let ran: Vec<_> = starts(&gateway).into_iter().map(|start| start.uuid).collect();
    assert_eq!(ran, [first, third]);
    let end = status(&gateway, "stub", &second);
    assert_eq!(
        (&end["status"], &end["attempts"], &end["started"]),
        (&"REVOKED".into(), &0.into(), &json!(null)),
        "{end}"
    );
}

#[test]
fn a_task_that_runs_is_stopped_with_all_it_started() {
    // A child, a grandchild in a session of its own, and one that nobody waits for.
    let script = "sleep 1000 & (setsid sleep 1000 &) ; (sleep 1000 & sleep 1000) & echo 'progress: 40' >&2; wait";
    let gateway = Gateway::start(&[OPEN, &shell("tree", script, "")].concat());
    let uuid = submit(&gateway, "tree", &[]);
    wait_for("it runs", || status(&gateway, "tree", &uuid)["status"] == "PROGRESS");
    let all = until(PATIENCE, "all of it run", || Some(processes_with(&gateway.mark())).filter(|all| all.len() >= 5));

    let answer = cancel(&gateway, "tree", &uuid);
    assert_eq!(answer["status"], "REVOKED", "{answer}");
    assert_eq!(answer["result"], json!({ "code": 109, "message": "terminated" }), "{answer}");
    wait_for("all of it is gone", || all.iter().all(|pid| !alive(*pid)) && processes_with(&gateway.mark()).is_empty());

    let next = submit(&gateway, "tree", &[]);
    wait_for("its slot is free again", || status(&gateway, "tree", &next)["status"] == "PROGRESS");
    assert_eq!(cancel(&gateway, "tree", &next)["status"], "REVOKED");
    assert_eq!(
        status(&gateway, "tree", &uuid)["result"],
        json!({ "code": 109, "message": "terminated" }),
        "it stays so"
    );
}

#[test]
fn a_program_that_does_not_listen_is_killed() {
    let script = "trap '' TERM; (trap '' TERM; setsid sleep 1000) & echo 'progress: 1' >&2; while :; do sleep 1; done";
    let gateway = Gateway::start(&[OPEN, &shell("deaf", script, "")].concat());
    let uuid = submit(&gateway, "deaf", &[]);
    wait_for("it runs", || status(&gateway, "deaf", &uuid)["status"] == "PROGRESS");
    // As long as its guard is stopped, nobody ends the program.
    let guards = children(gateway.pid());
    assert!(!guards.is_empty(), "the program has a guard");
    guards.iter().for_each(|guard| signal(*guard, "STOP"));
    assert_eq!(cancel(&gateway, "deaf", &uuid)["status"], "REVOKED");
    assert!(!processes_with(&gateway.mark()).is_empty(), "the answer does not wait for the program");
    guards.iter().for_each(|guard| signal(*guard, "CONT"));
    wait_for("it is gone", || processes_with(&gateway.mark()).is_empty());
}

#[test]
fn a_task_that_has_ended_keeps_its_end() {
    let gateway = Gateway::start(&[OPEN, &shell("good", "echo 5", ""), &shell("bad", "exit 1", "")].concat());
    for (service, state) in [("good", "SUCCESS"), ("bad", "FAILURE")] {
        let uuid = submit(&gateway, service, &[]);
        let before = end(&gateway, service, &uuid);
        for method in ["GET", "POST", "DELETE"] {
            let answer = request(method, &format!("{}/{service}/cancel?uuid={uuid}", gateway.url())).send();
            assert_eq!((answer.status, &answer.json()["status"]), (200, &state.into()), "{method} {}", answer.text());
        }
        assert_eq!(status(&gateway, service, &uuid), before, "nothing has changed, times included");
    }
}

#[test]
fn each_method_cancels() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    for method in ["GET", "POST", "DELETE"] {
        let uuid = submit(&gateway, "stub", &[]);
        let answer = request(method, &format!("{}/stub/cancel?uuid={uuid}", gateway.url())).send();
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"REVOKED".into()), "{method} {}", answer.text());
    }
}

/// The hardest moment: a task is cancelled while its program is being started.
#[test]
fn a_cancel_at_any_moment_of_the_start_holds() {
    let script = "echo $SERVICE_GATEWAY_TASK >> @DIR@/ended.$SERVICE_GATEWAY_TASK; sleep 1000";
    let gateway = Gateway::start(&[OPEN, &shell("stub", script, "concurrency = 4")].concat());
    for after in 0..30 {
        let uuid = submit(&gateway, "stub", &[]);
        pause(after); // a moment of the start, not a wait for anything
        assert_eq!(cancel(&gateway, "stub", &uuid)["status"], "REVOKED");
    }
    wait_for("nothing runs", || processes_with(&gateway.mark()).is_empty());
    let next = submit(&gateway, "stub", &[]);
    wait_for("all slots are free", || gateway.directory().join(format!("ended.{next}")).exists());
}
