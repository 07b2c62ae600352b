//! A gateway that stands still for longer than its lease (a machine that swaps, a virtual one that is moved), and goes on.

use crate::{
    postgres::Postgres,
    support::{signal, submit, until},
    town::{LONG, Town, ready},
};

#[test]
fn what_was_taken_over_meanwhile_is_not_sent_unnoticed() {
    let mut town = Town::new(Postgres::shared());
    let ((one, network), other) = (town.gateway_behind_a_proxy(), town.gateway());
    town.work();
    // Waiting in its memory, and just about to be sent.
    network.cut();
    let mut tasks: Vec<_> = (0..50).map(|_| submit(&one, "echo", &[])).collect();
    network.heal();
    ready(&one);
    tasks.extend((0..50).map(|_| submit(&one, "echo", &[])));
    network.cut();
    tasks.extend((0..50).map(|_| submit(&one, "echo", &[])));
    network.heal();
    signal(one.pid(), "STOP");

    // The other takes over what is left, after the lease, and sends it.
    town.nothing_waits();
    town.all_succeed(&other, &tasks);
    signal(one.pid(), "CONT");
    until(LONG, "it sees that its lease is over", || one.log().contains("the lease begins again").then_some(()));
    ready(&one);

    // Whatever it had at hand, nothing is run more often than is told, and it works again.
    let mut after: Vec<_> = (0..20).map(|_| submit(&one, "echo", &[])).collect();
    town.all_succeed(&one, &after);
    after.extend(tasks);
    town.nothing_waits();
    town.all_succeed(&other, &after);
}
