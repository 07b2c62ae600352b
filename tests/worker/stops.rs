//! SIGTERM, once and twice; wrong usage.

use crate::{
    place::{Place, processes_of, shell},
    rabbit::Rabbit,
    support::{cli, wait_for},
};
use std::fs;
use tempfile::TempDir;

const GATED: &str = "echo $0 >> @DIR@/began; until [ -e @DIR@/go ]; do sleep 0.05; done; echo 1";

#[test]
fn asked_once_a_worker_finishes_what_runs_and_leaves_the_rest() {
    let place = Place::new("warm", GATED, "");
    let mut worker = place.worker();
    let first = place.submit(&[]);
    wait_for("it runs", || place.lines("began").len() == 1);
    let second = place.submit(&[]);
    place.holds(2);
    worker.terminate();
    wait_for("it takes nothing new", || place.broker.queue(&place.queue).is_some_and(|queue| queue.consumers == 0));
    assert!(worker.is_running());
    place.touch("go");
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
    assert_eq!(place.end(&first)["result"], 1);
    place.holds(1);
    assert_eq!(place.lines("began"), [first]);
    let _next = place.worker();
    assert_eq!(place.end(&second)["result"], 1);
}

#[test]
fn asked_twice_it_stops_what_runs_and_gives_it_to_another() {
    for on_lost in ["retry", "fail"] {
        let place = Place::new("cold", GATED, &format!("on_lost = \"{on_lost}\""));
        let mut worker = place.worker();
        let uuid = place.submit(&[]);
        wait_for("it runs", || place.lines("began").len() == 1);
        worker.terminate();
        wait_for("it heard", || worker.log().contains("stopping: no new tasks"));
        worker.terminate();
        assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
        assert!(processes_of(&uuid).is_empty());
        place.holds(1);
        place.touch("go");
        let _next = place.worker();
        assert_eq!(place.end(&uuid)["result"], 1, "a worker that was stopped in order is not lost");
        assert_eq!(place.lines("began").len(), 2);
        place.holds(0);
    }
}

#[test]
fn a_quorum_queues_limit_does_not_count_workers_that_stop_in_order() {
    let limited = "queue_type = \"quorum\"\nqueue_arguments = { x-delivery-limit = 1 }";
    let place = Place::with(Rabbit::shared(), "quorum", limited, &shell(GATED), "", "");
    let uuid = place.submit(&[]);
    for runs in 1..=3 {
        let mut worker = place.worker();
        wait_for("it runs", || place.lines("began").len() == runs);
        worker.terminate();
        wait_for("it heard", || worker.log().contains("stopping: no new tasks"));
        worker.terminate();
        assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
        place.holds(1);
    }
    place.touch("go");
    let _next = place.worker();
    assert_eq!(place.end(&uuid)["result"], 1);
}

#[test]
fn wrong_usage_is_told_and_exits_2() {
    let directory = TempDir::new().unwrap();
    let config = |text: &str| fs::write(directory.path().join("gateway.toml"), text).unwrap();
    let worker = |arguments: &[&str]| {
        let all: Vec<_> = ["worker"].iter().chain(arguments).copied().collect();
        let output = cli(directory.path(), &all);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{arguments:?}: {}", output.stderr);
        output.stderr
    };
    let services = "[auth]\nmode = \"none\"\n[services.a.worker]\ncommand = [\"true\"]\n[services.b]\n";
    config(services);
    assert!(worker(&["a"]).contains("embedded"));
    config(&format!("[broker]\nurl = \"amqp://guest:pa55word@localhost/\"\n{services}"));
    assert!(worker(&["c"]).contains("a, b"));
    assert!(worker(&["b"]).contains("services.b.worker"));
    assert!(worker(&[]).contains("SERVICE"));
    assert!(worker(&["a", "--name", "x@y"]).contains("--name"));
    assert!(!worker(&["c"]).contains("pa55word"));
    config(&format!("[broker]\nurl = \"amqp://localhost/\"\nresult_backend = \"redis://:pa55word@h\"\n{services}"));
    let refused = worker(&["a"]);
    assert!(
        refused.contains("broker.result_backend") && refused.contains("rpc"),
        "its results would be lost: {refused}"
    );
    assert!(!refused.contains("pa55word"));
}

#[test]
fn what_a_worker_has_no_use_for_may_be_missing_and_is_not_warned_of() {
    let place = Place::new("without", "echo 1", "timeout = \"1m\"");
    let worker = place.worker_with(|command| {
        command.env("GATEWAY_SERVER__LISTEN", "0.0.0.0:1").env("GATEWAY_AUTH__MODE", "jwt");
        command.env("GATEWAY_AUTH__KEY", "env:NOT_THERE").env("GATEWAY_STORE__URL", "env:NOT_THERE");
    });
    assert_eq!(place.end(&place.submit(&[]))["result"], 1);
    let log = worker.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("files in {output} fails here"), "{log}");
    let somewhere = place.worker_with(|command| {
        command.env("GATEWAY_SERVER__PUBLIC_URL", "http://127.0.0.1:1");
    });
    assert!(!somewhere.log().contains("WARN"), "its files have a place: {}", somewhere.log());
}
