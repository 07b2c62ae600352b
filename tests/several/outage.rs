//! PostgreSQL is stopped for some seconds and comes back: nobody restarts a gateway.

use crate::{
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
    let sleeps = submit(&one, "sleep", &[("sleep", "3")]);
    crate::town::state(&one, "sleep", &sleeps, "STARTED");
    tasks.push(submit(&other, "echo", &[]));
    town.store.stop();

    until(LONG, "the fault is told", || (get(&format!("{}/readyz", one.url())).status == 503).then_some(()));
    for gateway in [&one, &other] {
        let asked = Instant::now();
        let answer = request("POST", &format!("{}/echo/annotate", gateway.url())).send();
        answer.refused(503, 205);
        // A commit whose answer was lost is waited for, but not for long.
        assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
        let unknown = get(&format!("{}/echo/status?uuid={}", gateway.url(), uuid::Uuid::now_v7()));
        assert_eq!(unknown.status, 503, "a task is never told to be unknown: {}", unknown.text());
    }
    let parts = get(&format!("{}/readyz", one.url())).json()["parts"].clone();
    assert!(parts["store"].as_str().is_some_and(|text| text.contains("PostgreSQL cannot be reached")), "{parts}");
    assert!(!parts.to_string().contains("secret"), "{parts}");
    // Longer than the task sleeps.
    let until_ended = Instant::now() + Duration::from_secs(6);
    until(LONG, "the task has ended", || (Instant::now() >= until_ended).then_some(()));

    town.store.start();
    for gateway in [&one, &other] {
        ready(gateway);
    }
    tasks.extend((0..10).map(|n| submit(if n % 2 == 0 { &one } else { &other }, "echo", &[])));
    assert_eq!(town.all_succeed(&one, &tasks), 0, "what was confirmed is not sent again");
    assert_eq!(crate::town::end(&other, "sleep", &sleeps)["status"], "SUCCESS");
    assert_eq!(status(&one, "sleep", &sleeps)["attempts"], 1);
    town.nothing_waits();
}
