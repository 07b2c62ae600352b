//! `kill -9` of the gateway: nothing that was accepted is lost, nothing is left running, and every run is counted.

use crate::{GATED, OPEN, Start, children, go, shell, starts, support::*};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long programs of a killed gateway may still live: their guards give them ten seconds after SIGTERM.
const GRACE: Duration = Duration::from_secs(25);

/// Notes its start and its end, and takes a moment.
const SHORT: &str = r#"
echo "$SERVICE_GATEWAY_TASK $SERVICE_GATEWAY_RUN $$" >> @DIR@/ran
echo "progress: 50" >&2
sleep 0.15
echo "\"$SERVICE_GATEWAY_TASK\""
"#;

/// Do processes of one of these runs still live?
fn left(runs: &[Start]) -> Vec<u32> {
    runs.iter().flat_map(|run| processes_with(&format!("SERVICE_GATEWAY_RUN={}", run.directory))).collect()
}

/// Submits without pause until it is told to stop; a gateway that is away is asked again. What was answered counts.
struct Submitter {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Submitter {
    fn start(url: String) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (told, uuids) = (stop.clone(), accepted.clone());
        let submit = move || {
            while !told.load(Ordering::SeqCst) {
                match request("POST", &format!("{url}/stub/annotate")).try_send() {
                    Ok(answer) if answer.status == 200 => {
                        uuids.lock().unwrap().push(answer.json()["uuid"].as_str().unwrap().to_owned());
                    }
                    Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                    Err(_) => return, // the gateway is dead
                }
                pause(20);
            }
        };
        Self { stop, thread: Some(thread::spawn(submit)), accepted }
    }

    fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.accepted.lock().unwrap())
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_left_running() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", SHORT, "concurrency = 2")].concat());
    let mut uuids = Vec::new();
    for round in 0..5 {
        let submitter = Submitter::start(gateway.url());
        let before = starts(&gateway).len();
        wait_for("some run, some wait", || starts(&gateway).len() > before + round && submitter.count() > 3 + round);
        gateway.kill9();
        uuids.extend(submitter.finish());
        let runs = starts(&gateway);
        gateway.restart();
        assert!(left(&runs).is_empty(), "round {round}: a program of the killed gateway still runs");
    }
    let ends: HashMap<&str, Value> = uuids.iter().map(|uuid| (&**uuid, end(&gateway, "stub", uuid))).collect();
    let runs = starts(&gateway);
    let mut again = 0;
    for (uuid, end) in &ends {
        assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &(*uuid).into()), "{end}");
        let ran = runs.iter().filter(|run| run.uuid == *uuid).count() as u64;
        let attempts = end["attempts"].as_u64().unwrap();
        // A gateway may be killed between a claim and the program's first line.
        assert!(ran >= 1 && ran <= attempts, "{ran} runs: {end}");
        again += u64::from(attempts > 1);
    }
    assert!(again > 0, "something was interrupted, or this test says nothing");
    assert!(again <= 5 * 2, "only what ran is run again: {again}");
    let left: Vec<_> = fs::read_dir(gateway.directory().join("gateway.db.runs")).unwrap().flatten().collect();
    wait_for(&format!("run directories are removed: {left:?}"), || {
        fs::read_dir(gateway.directory().join("gateway.db.runs")).unwrap().count() == 0
    });
}

#[test]
fn programs_die_with_the_gateway_also_without_a_restart() {
    let script = "sleep 1000 & (setsid sleep 1000 &) ; (sleep 1000 &) ; echo 'progress: 1' >&2; wait; sleep 1000";
    let mut gateway = Gateway::start(&[OPEN, &shell("tree", script, "")].concat());
    let uuid = submit(&gateway, "tree", &[]);
    wait_for("it runs", || status(&gateway, "tree", &uuid)["status"] == "PROGRESS");
    until(PATIENCE, "all of it run", || (processes_with(&gateway.mark()).len() >= 4).then_some(()));
    gateway.kill9();
    until(GRACE, "all of it ends", || processes_with(&gateway.mark()).is_empty().then_some(()));
}

#[test]
fn a_restart_waits_for_a_program_that_does_not_listen() {
    let script = "trap '' TERM; echo \"$SERVICE_GATEWAY_TASK $SERVICE_GATEWAY_RUN $$\" >> @DIR@/ran; \
                  until [ -e @DIR@/go ]; do sleep 0.1; done; echo 1";
    let mut gateway = Gateway::start(&[OPEN, &shell("deaf", script, "")].concat());
    let uuid = submit(&gateway, "deaf", &[]);
    wait_for("it runs", || starts(&gateway).len() == 1);
    let runs = starts(&gateway);
    gateway.kill9();
    assert!(alive(runs[0].pid), "it does not listen");
    gateway.restart();
    assert!(left(&runs).is_empty(), "the first run is over before the second begins");
    go(&gateway);
    let end = end(&gateway, "deaf", &uuid);
    assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &2.into()), "{end}");
}

/// Gateway and guard are killed at once: nobody is left who would end the program, until the next start.
#[test]
fn a_program_whose_guard_was_killed_too_is_ended_at_the_next_start() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    let uuid = submit(&gateway, "stub", &[]);
    wait_for("it runs", || starts(&gateway).len() == 1);
    let runs = starts(&gateway);
    let guards = children(gateway.pid());
    assert!(!guards.is_empty(), "the program has a guard");
    // Stopped, so that none can act on the other's death.
    for pid in guards.iter().chain([&gateway.pid()]) {
        signal(*pid, "STOP");
    }
    guards.iter().for_each(|pid| signal(*pid, "KILL"));
    gateway.kill9();
    wait_for("the guards are gone", || guards.iter().all(|pid| !alive(*pid)));
    assert!(alive(runs[0].pid), "an orphan, for now");

    gateway.restart();
    assert!(left(&runs).is_empty(), "the orphan is gone");
    go(&gateway);
    let end = end(&gateway, "stub", &uuid);
    assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &2.into()), "{end}");
}

#[test]
fn a_task_that_must_not_run_twice_fails_with_an_explanation() {
    let mut gateway = Gateway::start(&[OPEN, &shell("once", GATED, "on_lost = \"fail\"")].concat());
    let running = submit(&gateway, "once", &[]);
    let waiting = submit(&gateway, "once", &[]);
    wait_for("the first runs", || starts(&gateway).len() == 1);
    gateway.kill9();
    gateway.restart();
    go(&gateway);
    let lost = end(&gateway, "once", &running);
    assert_eq!((&lost["status"], &lost["attempts"]), (&"FAILURE".into(), &1.into()), "{lost}");
    assert_eq!(lost["result"]["code"], 101, "{lost}");
    let message = lost["result"]["message"].as_str().unwrap();
    assert!(message.contains("stopped while the task ran"), "{message}");
    assert_eq!(end(&gateway, "once", &waiting)["status"], "SUCCESS", "what had not begun is not lost");
    assert!(starts(&gateway).iter().filter(|run| run.uuid == running).count() == 1, "it ran once");
}

#[test]
fn a_cancel_that_was_answered_holds_after_a_crash() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", GATED, "")].concat());
    let running = submit(&gateway, "stub", &[]);
    let waiting = submit(&gateway, "stub", &[]);
    wait_for("the first runs", || starts(&gateway).len() == 1);
    for uuid in [&waiting, &running] {
        assert_eq!(cancel(&gateway, "stub", uuid)["status"], "REVOKED");
    }
    gateway.kill9();
    gateway.restart();
    go(&gateway);
    let next = submit(&gateway, "stub", &[]);
    assert_eq!(end(&gateway, "stub", &next)["status"], "SUCCESS");
    for uuid in [&running, &waiting] {
        assert_eq!(status(&gateway, "stub", uuid)["status"], "REVOKED");
        assert!(starts(&gateway).iter().filter(|run| run.uuid == *uuid).count() <= 1, "not run again");
    }
    assert!(!starts(&gateway).iter().any(|run| run.uuid == waiting));
}
