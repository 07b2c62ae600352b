//! The broker is away, restarts, is killed. One node of its own: what is accepted before, in between and after is done.

use crate::{
    corner::{Corner, LONG},
    rabbit::Rabbit,
    support::until,
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

#[test]
fn what_is_accepted_is_done_whatever_becomes_of_the_broker() {
    let broker = Rabbit::own();
    broker.stop();
    let corner = Corner::with("outages", broker, "");
    let mut accepted = vec![away_at_start(&corner)];
    corner.broker.start();
    corner.connected();
    corner.sent("echo", &accepted[0]);
    assert_eq!(corner.get("/echo/stats").json()["invocations"], 1);

    accepted.extend(in_the_middle(&corner, || corner.broker.stop()));
    accepted.extend(in_the_middle(&corner, || corner.broker.kill9()));
    accepted.push(corner.submit("echo", &[]));

    // Whatever was confirmed has outlived the node: all of it was in the queue, and nothing was taken yet.
    let _worker = corner.worker(&[]);
    for uuid in &accepted {
        let end = corner.end("echo", uuid);
        assert_eq!(end["status"], "SUCCESS", "{end}");
        assert!(end["attempts"].as_u64().unwrap() >= 1, "{end}");
    }
    assert_eq!(corner.ready().0, 200);
    assert_eq!(corner.get("/echo/stats").json()["invocations"], accepted.len());
}

/// The gateway serves, says what is missing, and takes tasks. Gives one.
fn away_at_start(corner: &Corner) -> String {
    let uuid = corner.submit("echo", &[]);
    let (status, parts) = until(LONG, "the fault is told", || {
        Some(corner.ready()).filter(|(_, parts)| parts["broker"].as_str().is_some_and(|text| text.contains("refused")))
    });
    assert_eq!((status, &parts["store"]), (503, &"ok".into()), "{parts}");
    assert_eq!(corner.get("/livez").status, 200);
    assert_eq!(corner.status("echo", &uuid)["status"], "PENDING");
    let info = corner.get("/echo/info");
    assert_eq!((info.status, info.json().get("activeWorkers")), (200, Some(&serde_json::Value::Null)));
    corner.get("/echo/stats").refused(503, 205);
    uuid
}

/// Submits all the time, before, while and after the broker goes away; gives what was accepted.
fn in_the_middle(corner: &Corner, goes: impl Fn()) -> Vec<String> {
    let (enough, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ten_more = |when: &str| {
        let now = count.load(Ordering::Relaxed);
        until(LONG, when, || (count.load(Ordering::Relaxed) >= now + 10).then_some(()));
    };
    std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let mut accepted = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                accepted.push(corner.submit("echo", &[]));
                count.store(accepted.len(), Ordering::Relaxed);
                let next = Instant::now() + Duration::from_millis(40);
                until(LONG, "the next one's time", || (Instant::now() >= next).then_some(()));
            }
            accepted
        });
        let gone = || {
            ten_more("tasks are accepted before");
            goes();
            until(LONG, "its absence is told", || (corner.ready().0 == 503).then_some(()));
            ten_more("tasks are accepted meanwhile");
            corner.broker.start();
            corner.connected();
            ten_more("tasks are accepted after");
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(gone));
        enough.store(true, Ordering::Relaxed);
        let accepted = submitting.join().unwrap();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        accepted.iter().for_each(|uuid| corner.sent("echo", uuid));
        accepted
    })
}
