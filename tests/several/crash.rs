//! A gateway that is killed with tasks that were accepted and not sent.

use crate::{
    postgres::Postgres,
    support::{status, submit},
    town::{Town, cannot_publish},
};
use std::time::{Duration, Instant};

#[test]
fn another_gateway_sends_what_a_killed_one_has_left() {
    let mut town = Town::new(Postgres::shared());
    let ((mut one, network), other) = (town.gateway_behind_a_proxy(), town.gateway());
    town.work();
    let done: Vec<_> = (0..5).map(|_| submit(&one, "echo", &[])).collect();
    assert_eq!(town.all_succeed(&other, &done), 0);

    network.cut();
    cannot_publish(&one);
    let left: Vec<_> = (0..300).map(|_| submit(&one, "echo", &[])).collect();
    one.kill9();
    let (killed, lease) = (Instant::now(), town.shortest_lease());
    assert_eq!(status(&other, "echo", &left[0])["status"], "PENDING");
    let again = town.all_succeed(&other, &left);
    let (took, most) = (killed.elapsed(), Duration::from_secs(90));
    assert!((lease..most).contains(&took), "after the lease, which was {lease:?} more: {took:?}");
    assert_eq!(again, 300, "nobody knows whether the killed one had sent them: that is told");
    assert!(town.runs(&left).values().all(|runs| *runs == 1));
    assert_eq!(town.runs(&done).values().sum::<usize>(), 5);
    town.nothing_waits();
}
