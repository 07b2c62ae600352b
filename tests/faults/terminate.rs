//! SIGTERM under load, again and again, as in an update: nobody is refused wrongly, nothing is lost, nothing runs twice.

use crate::{
    load::Load,
    place::{LONG, SQLITE, Workshop, ready},
    rabbit::Rabbit,
    support::{Gateway, pause, until},
    verdict::Verdict,
};
use std::sync::{Arc, Mutex};

#[test]
fn nothing_is_refused_or_lost_by_restarts_in_order() {
    let (broker, workshop) = (Rabbit::shared(), Workshop::new());
    let mut gateway = Gateway::start(&workshop.configuration(broker.url(), SQLITE));
    ready(&gateway);
    let _worker = workshop.worker(broker.url());
    let address = Arc::new(Mutex::new(gateway.url()));
    let load = Load::begin(address.clone(), 40);
    for _ in 0..5 {
        let before = load.accepted();
        until(LONG, "some more are accepted", || (load.accepted() > before + 20).then_some(()));
        gateway.terminate();
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        pause(50);
        gateway.restart();
        *address.lock().unwrap() = gateway.url();
    }
    let verdict = Verdict::of(&gateway, &workshop, load.end(), LONG);
    println!("SIGTERM under load, 5 times\n{verdict}");
    verdict.holds();
    assert_eq!(verdict.duplicated(), 0, "in good order nothing is sent twice");
}
