//! PostgreSQL is stopped for some seconds and comes back: nobody restarts a gateway.

use crate::{
    gate::Gate,
    postgres::Postgres,
    support::{get, request, status, submit, until},
    town::{LONG, Town, ready},
};
use std::time::{Duration, Instant};

#[test]
fn everything_goes_on_when_postgresql_is_back() {
    let mut town = Town::new(Postgres::own());
    town.work();
    let (one, other) = (town.gateway(), town.gateway());
    let mut tasks: Vec<_> = (0..20).map(|n| submit(if n % 2 == 0 { &one } else { &other }, "echo", &[])).collect();
    // Ends while the store is away: its result has to wait with the broker.
    let gate = Gate::new();
    let sleeps = submit(&one, "sleep", &[("sleep", "0"), ("gate", gate.name())]);
    crate::town::state(&one, "sleep", &sleeps, "STARTED");
    // Recorded as sent, however long the store is away then; but for one.
    town.nothing_waits();
    let last = submit(&other, "echo", &[]);
    town.store.stop();
    gate.open();

    until(LONG, "the fault is told", || (get(&format!("{}/readyz", one.url())).status == 503).then_some(()));
    for gateway in [&one, &other] {
        let asked = Instant::now();
        let answer = request("POST", &format!("{}/echo/annotate", gateway.url())).send();
        answer.refused(503, 205);
        // A commit whose answer was lost is waited for, but not for long: 5 s, on a machine that has time for us.
        assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
        let unknown = get(&format!("{}/echo/status?uuid={}", gateway.url(), uuid::Uuid::now_v7()));
        assert_eq!(unknown.status, 503, "a task is never told to be unknown: {}", unknown.text());
    }
    let parts = get(&format!("{}/readyz", one.url())).json()["parts"].clone();
    assert!(parts["store"].as_str().is_some_and(|text| text.contains("PostgreSQL cannot be reached")), "{parts}");
    assert!(!parts.to_string().contains("secret"), "{parts}");
    until(LONG, "the task has ended", || town.has_done(&sleeps).then_some(()));

    town.store.start();
    for gateway in [&one, &other] {
        ready(gateway);
    }
    tasks.extend((0..10).map(|n| submit(if n % 2 == 0 { &one } else { &other }, "echo", &[])));
    assert_eq!(town.all_succeed(&one, &tasks), 0, "what was confirmed is not sent again");
    town.all_succeed(&one, &[last]);
    assert_eq!(crate::town::end(&other, "sleep", &sleeps)["status"], "SUCCESS");
    assert_eq!(status(&one, "sleep", &sleeps)["attempts"], 1);
    town.nothing_waits();
}
