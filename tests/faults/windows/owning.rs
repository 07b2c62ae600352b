//! W14: two gateways and one row. With SQLite there are never two: the second waits for the first one's end.

use crate::{
    place::{LONG, Workshop, ready, sent, submit},
    rabbit::Rabbit,
    support::{Gateway, get, until},
    wire::Wire,
};

#[test]
fn a_second_gateway_on_the_file_waits_for_the_first_ones_end() {
    let (broker, workshop) = (Rabbit::shared(), Workshop::new());
    let wire = Wire::to(broker.url());
    let store = format!("sqlite:{}", workshop.path("shared.db").display());
    let mut first = Gateway::start(&workshop.configuration(wire.url(), &store));
    ready(&first);
    wire.cut();
    until(LONG, "it has noticed", || (get(&format!("{}/readyz", first.url())).status == 503).then_some(()));
    let uuids: Vec<_> = (0..5).map(|_| submit(&first, &[])).collect();

    let configuration = workshop.configuration(broker.url(), &store);
    let second = std::thread::spawn(move || Gateway::start(&configuration));
    let messages = || broker.queue(&workshop.queue).unwrap().ready;
    // As long as a start takes otherwise, and more.
    let since = std::time::Instant::now();
    until(LONG, "it has had time to start", || {
        assert!(!second.is_finished(), "two processes have one file");
        (since.elapsed().as_secs() >= 3).then_some(())
    });
    assert_eq!(messages(), 0, "the other one's tasks are not sent");
    first.kill9();
    let second = second.join().unwrap();
    for uuid in &uuids {
        sent(&second, uuid);
    }
    assert_eq!(messages(), 5);
}
