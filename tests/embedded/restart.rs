//! SIGTERM: everything that was accepted is finished after a restart.

use crate::{GATED, OPEN, go, shell, starts, support::*};
use std::{collections::HashMap, fs};

/// How often each task's program was started.
fn runs(gateway: &Gateway) -> HashMap<String, u64> {
    let mut runs = HashMap::new();
    for start in starts(gateway) {
        *runs.entry(start.uuid).or_default() += 1;
    }
    runs
}

#[test]
fn what_waits_and_what_runs_is_finished_after_a_restart() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "concurrency = 2")].concat());
    let uuids: Vec<_> = (0..8).map(|_| submit(&gateway, "stub", &[])).collect();
    wait_for("two run", || starts(&gateway).len() == 2);

    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    assert!(processes_with(&gateway.mark()).is_empty(), "programs end before the gateway does");
    assert!(gateway.log().contains("stopped"), "{}", gateway.log());

    gateway.restart();
    go(&gateway);
    let (mut again, runs_of) =
        (0, |runs: &HashMap<String, u64>, uuid: &str| runs.get(uuid).copied().unwrap_or_default());
    for uuid in &uuids {
        let end = end(&gateway, "stub", uuid);
        assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &"done".into()), "{end}");
        assert_eq!(end["attempts"], runs_of(&runs(&gateway), uuid), "every run is counted: {end}");
        again += u64::from(end["attempts"] != 1);
    }
    assert_eq!(again, 2, "those that were interrupted, and no others");
}

#[test]
fn ends_are_still_known_after_a_restart() {
    let mut gateway = Gateway::start(
        &[OPEN, &shell("good", "echo '{\"a\": 1}'", ""), &shell("bad", "exit 9", ""), &shell("stub", GATED, "")]
            .concat(),
    );
    let good = submit(&gateway, "good", &[]);
    let bad = submit(&gateway, "bad", &[]);
    let running = submit(&gateway, "stub", &[]);
    let waiting = submit(&gateway, "stub", &[]);
    let before = [end(&gateway, "good", &good), end(&gateway, "bad", &bad)];
    wait_for("the first runs", || starts(&gateway).len() == 1);
    assert_eq!(cancel(&gateway, "stub", &waiting)["status"], "REVOKED");
    assert_eq!(cancel(&gateway, "stub", &running)["status"], "REVOKED");
    let count = || get(&format!("{}/platform/stats", gateway.url())).json();
    let stats = count();
    assert_eq!(stats["invocations"], 4, "{stats}");

    gateway.stop_and_start();
    assert_eq!([status(&gateway, "good", &good), status(&gateway, "bad", &bad)], before, "times included");
    for uuid in [&running, &waiting] {
        assert_eq!(status(&gateway, "stub", uuid)["status"], "REVOKED", "cancelled stays cancelled");
    }
    assert_eq!(get(&format!("{}/platform/stats", gateway.url())).json(), stats, "counted over restarts");
    assert_eq!(starts(&gateway).len(), 1, "nothing that was cancelled runs again");
}

#[test]
fn a_second_gateway_on_the_same_store_is_refused_and_the_first_lives_on() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", "echo 1", "")].concat());
    let uuid = submit(&gateway, "stub", &[]);
    end(&gateway, "stub", &uuid);
    let directory = gateway.directory();
    let second = cli(directory, &["serve", "--config", "gateway.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 1, "{}", second.stderr);
    assert!(second.stderr.contains("gateway.db"), "it names the file: {}", second.stderr);
    assert_eq!(ends(&gateway, "stub", &[])["status"], "SUCCESS");
}

#[test]
fn a_successor_waits_for_the_end_of_the_first_and_takes_over() {
    let mut first = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    let uuids: Vec<_> = (0..3).map(|_| submit(&first, "stub", &[])).collect();
    wait_for("one runs", || starts(&first).len() == 1);
    let store = format!("[store]\nurl = \"sqlite:{}/gateway.db\"\n", first.directory().display());
    let toml = format!("{store}{OPEN}{}", shell("stub", "echo '\"by the successor\"'", ""));
    let successor = std::thread::spawn(move || Gateway::start(&toml));
    assert_eq!(status(&first, "stub", &uuids[2])["status"], "PENDING", "the first is not disturbed");
    first.terminate();
    assert_eq!(first.wait().code(), Some(0));
    let successor = successor.join().unwrap();
    for uuid in &uuids {
        let end = end(&successor, "stub", uuid);
        assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &"by the successor".into()), "{end}");
    }
}

#[test]
fn a_retry_that_waits_survives_a_restart() {
    // It fails until it is let go: between its tries it is seen for a second, then for two, and so on.
    let count = "echo x >> @DIR@/count; [ -e @DIR@/go ] || exit 1; echo 2";
    let mut gateway = Gateway::start(&[OPEN, &shell("flaky", count, "retries = 6")].concat());
    let uuid = submit(&gateway, "flaky", &[]);
    wait_for("it waits for its second try", || status(&gateway, "flaky", &uuid)["status"] == "RETRY");
    gateway.stop_and_start();
    go(&gateway);
    let end = end(&gateway, "flaky", &uuid);
    let runs = fs::read_to_string(gateway.directory().join("count")).unwrap().lines().count() as u64;
    assert_eq!(end["status"], "SUCCESS", "{end}");
    // A run that the stop met at its very start is counted, and has left no line.
    assert!(runs >= 2 && end["attempts"].as_u64() >= Some(runs), "{runs}: {end}");
}
