//! SIGTERM under load, again and again, as in an update: nobody is refused wrongly, nothing is lost, nothing runs twice.

use crate::{
    load::Load,
    place::{LONG, SQLITE, Workshop, ready},
    rabbit::Rabbit,
    support::{Gateway, pause, until},
    verdict::Verdict,
};
use std::time::{Duration, Instant};

#[test]
fn nothing_is_refused_or_lost_by_restarts_in_order() {
    let (broker, workshop) = (Rabbit::shared(), Workshop::new());
    let mut gateway = Gateway::start(&workshop.configuration(broker.url(), SQLITE));
    ready(&gateway);
    let _worker = workshop.worker(broker.url());
    let load = Load::begin(gateway.url(), 40);
    let mut longest = Duration::ZERO;
    for _ in 0..5 {
        let before = load.accepted();
        until(LONG, "some more are accepted", || (load.accepted() > before + 20).then_some(()));
        let stopping = Instant::now();
        gateway.terminate();
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        longest = longest.max(stopping.elapsed());
        pause(50);
        gateway.restart();
    }
    let verdict = Verdict::of(&gateway, &workshop, load.end(), LONG);
    println!("SIGTERM under load, 5 times\n{verdict}");
    verdict.holds();
    // It waits for the confirms that are out, but not for ever: a broker that takes longer may get some again.
    let had_time = longest < Duration::from_secs(5);
    assert!(verdict.duplicated() == 0 || !had_time, "in good order nothing is sent twice");
}
