//! What is over its time: tasks that nobody takes, results, records. With either store.

use crate::{
    corner::{Corner, LONG},
    postgres::Postgres,
    rabbit::Rabbit,
    support::{is_state, until},
};
use serde_json::Value;

/// A store, and what has to live as long as it.
fn stores() -> [(&'static str, String, Option<Postgres>); 2] {
    let postgres = Postgres::shared();
    [("sqlite", "sqlite:gateway.db".to_owned(), None), ("postgres", postgres.url(), Some(postgres))]
}

/// A gateway at this node with these times.
fn corner(broker: Rabbit, store: &str, times: &str) -> Corner {
    Corner::with("times", broker, &format!("[store]\nurl = \"{store}\"\n{times}\n"))
}

/// A task that ended because there was no queue for it.
#[track_caller]
fn unroutable(corner: &Corner) -> String {
    until(LONG, "the broker says that there is no queue", || {
        let uuid = corner.submit("echo", &[]);
        let end = corner.end("echo", &uuid);
        // A broker that a busy machine lets answer late is another reason, and then the right one.
        if end["reason"].as_str().is_some_and(|why| why.contains("could not be reached")) {
            return None;
        }
        expired(corner, &uuid, "there was no queue for it");
        Some(uuid)
    })
}

#[track_caller]
fn expired(corner: &Corner, uuid: &str, why: &str) {
    let end = corner.end("echo", uuid);
    let reason = end["reason"].as_str().unwrap_or_default();
    assert!(is_state(&end, "EXPIRED") && end["result"] == Value::Null, "{end}");
    assert!(reason.contains(why) && reason.contains("store.task_timeout"), "{end}");
}

#[test]
fn no_task_waits_for_ever_and_each_end_says_why() {
    for (name, store, _alive) in stores() {
        // Longer than a busy machine takes to send a task, or to do one.
        let corner = corner(Rabbit::shared(), &store, "task_timeout = \"12s\"");
        corner.connected();

        // In a queue that exists it may wait.
        let waits = corner.submit("echo", &[]);
        corner.sent("echo", &waits);
        // No queue takes it: tried again and again, until its time is over.
        corner.broker.delete(&corner.queue);
        let unroutable = unroutable(&corner);
        expired(&corner, &waits, "the queue that it waited in is gone");
        assert_eq!(corner.status("echo", &unroutable)["attempts"], 0, "{name}: none of them arrived");

        // It is not sent behind its owner's back when there is a queue again; what comes now is.
        let worker = corner.worker(&[]);
        let next = corner.submit("echo", &[]);
        assert_eq!(corner.end("echo", &next)["status"], "SUCCESS", "{name}");
        // (That it is not to do the others the worker may have been told, and say.)
        let (log, received) = (worker.log(), |uuid: &str| format!("[{uuid}] received"));
        assert!(log.contains(&received(&next)), "{log}");
        assert!([&unroutable, &waits].iter().all(|uuid| !log.contains(&received(uuid))), "{log}");
    }
}

#[test]
fn what_waits_in_its_queue_is_alive() {
    let corner = corner(Rabbit::shared(), "sqlite:gateway.db", "task_timeout = \"12s\"");
    corner.connected();
    let uuid = corner.submit("echo", &[]);
    corner.sent("echo", &uuid);
    let later = corner.submit("sleep", &[("sleep", "300")]);
    // Longer than its time, by the clock of another one that ends.
    let gone = corner.submit("echo", &[("wait_limit", "14s")]);
    assert_eq!(corner.end("echo", &gone)["status"], "EXPIRED");
    assert_eq!(corner.status("echo", &uuid)["status"], "PENDING");
    let worker = corner.worker(&[]);
    // (A worker that takes its time may be given up before: what it says at last replaces that.)
    corner.state("echo", &uuid, "SUCCESS");
    // A run that says nothing for so long is given up, and stopped.
    let silent = corner.end("sleep", &later);
    assert!(silent["reason"].as_str().is_some_and(|why| why.contains("no sign of life from a worker")), "{silent}");
    // Or dropped, if the worker did not get so far.
    let (stopped, dropped) =
        (format!("Terminating {later}"), format!("Discarding revoked task: worker.sleep[{later}]"));
    let told = || worker.log().contains(&stopped) || worker.log().contains(&dropped);
    until(LONG, "the worker is told", || told().then_some(()));
}

#[test]
fn a_task_that_could_never_be_sent_ends_too() {
    let broker = Rabbit::own();
    broker.stop();
    let corner = corner(broker, "sqlite:gateway.db", "task_timeout = \"2s\"");
    let uuid = corner.submit("echo", &[]);
    expired(&corner, &uuid, "the broker could not be reached");
    assert_eq!(corner.status("echo", &uuid)["sent"], Value::Null);
}

#[test]
fn results_and_records_are_kept_for_their_time() {
    for (name, store, _alive) in stores() {
        let corner = corner(Rabbit::shared(), &store, "keep_results = \"2s\"\nkeep_records = \"20s\"");
        corner.connected();
        let _worker = corner.worker(&[]);
        let tasks: Vec<_> = (0..40).map(|_| corner.submit("echo", &[])).collect();
        let last = tasks.last().unwrap();
        let gone = corner.state("echo", last, "EXPIRED");
        assert_eq!((&gone["result"], gone["ended"].is_string()), (&Value::Null, true), "{gone}");
        until(LONG, "the records are deleted", || {
            let status = |uuid: &String| corner.get(&format!("/echo/status?uuid={uuid}")).status;
            tasks.iter().all(|uuid| status(uuid) == 400).then_some(())
        });
        corner.get(&format!("/echo/status?uuid={last}")).refused(400, 203);
        assert_eq!(corner.get("/echo/stats").json()["invocations"], tasks.len(), "{name}: counts stay");
    }
}
