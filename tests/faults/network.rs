//! The network between gateway and broker is slow, breaks, falls silent, loses confirms; the broker blocks; it is away for
//! long.

use crate::{
    arena::{Arena, Kind},
    place::{LONG, sent, submit},
    rabbit::Rabbit,
    support::{get, request, status, until},
};
use std::time::{Duration, Instant};

#[test]
fn a_slow_network_that_brings_single_bytes_is_only_slow() {
    let arena = Arena::new(Kind::Sqlite);
    arena.wire.slow(Duration::from_millis(5), true);
    let uuids: Vec<_> = (0..20).map(|_| arena.submit(&[])).collect();
    for uuid in &uuids {
        let told = sent(&arena.gateway, uuid);
        assert_eq!(told["attempts"], 1, "{told}");
    }
    arena.waiting(20);
}

#[test]
fn a_network_that_breaks_again_and_again_brings_everything() {
    let arena = Arena::new(Kind::Sqlite);
    let mut uuids = Vec::new();
    for round in 0..8 {
        uuids.extend((0..10).map(|_| arena.submit(&[])));
        if round % 2 == 0 {
            arena.wire.reset();
        }
    }
    let told: u64 = uuids.iter().map(|uuid| sent(&arena.gateway, uuid)["attempts"].as_u64().unwrap()).sum();
    let copies = arena.broker.queue(&arena.workshop.queue).unwrap().ready;
    assert!((80..=told).contains(&u64::from(copies)), "{copies} copies, {told} attempts");
}

/// Nothing arrives, and nobody closes: only time tells.
#[test]
fn a_silent_network_is_left() {
    let arena = Arena::impatient(Kind::Sqlite);
    sent(&arena.gateway, &arena.submit(&[]));
    arena.wire.fall_silent();
    let uuids: Vec<_> = (0..10).map(|_| arena.submit(&[])).collect();
    let told: u64 = uuids.iter().map(|uuid| sent(&arena.gateway, uuid)["attempts"].as_u64().unwrap()).sum();
    // Those that were written into the silence, and one from before.
    let copies = u64::from(arena.broker.queue(&arena.workshop.queue).unwrap().ready) - 1;
    assert!((10..=told).contains(&copies), "{copies} copies, {told} attempts");
}

#[test]
fn without_confirms_it_is_sent_again_and_counted() {
    let arena = Arena::impatient(Kind::Sqlite);
    arena.wire.swallow_confirms();
    let uuids: Vec<_> = (0..5).map(|_| arena.submit(&[])).collect();
    until(LONG, "each was confirmed, and sent again", || (arena.wire.swallowed() > 5).then_some(()));
    for uuid in &uuids {
        assert!(status(&arena.gateway, "record", uuid)["sent"].is_null(), "nobody confirmed it");
    }
    arena.wire.heal();
    let told: u64 = uuids.iter().map(|uuid| sent(&arena.gateway, uuid)["attempts"].as_u64().unwrap()).sum();
    let copies = arena.broker.queue(&arena.workshop.queue).unwrap().ready;
    assert!((6..=told).contains(&u64::from(copies)), "{copies} copies, {told} attempts");
}

/// The broker is short of memory, and reads nothing from whoever publishes.
#[test]
fn a_broker_that_blocks_is_waited_for() {
    let arena = Arena::with(Kind::Sqlite, Rabbit::own(), |_| String::new());
    arena.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]);
    let mut uuids = vec![arena.submit(&[])];
    let told = || get(&format!("{}/readyz", arena.gateway.url())).json()["parts"]["broker"].as_str().map(str::to_owned);
    until(LONG, "it is told that the broker blocks", || {
        // It says so to whoever publishes.
        uuids.push(submit(&arena.gateway, &[]));
        told().filter(|text| text.contains("takes no messages")).map(drop)
    });
    uuids.extend((0..10).map(|_| arena.submit(&[])));
    assert!(status(&arena.gateway, "record", &uuids[uuids.len() - 1])["sent"].is_null());
    arena.broker.ctl(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    let attempts: u64 = uuids.iter().map(|uuid| sent(&arena.gateway, uuid)["attempts"].as_u64().unwrap()).sum();
    let copies = arena.broker.queue(&arena.workshop.queue).unwrap().ready;
    assert!((uuids.len() as u64..=attempts).contains(&u64::from(copies)), "{copies} copies, {attempts} attempts");
}

/// The outbox takes what it can, then says when to come again; status is told all the time; afterwards all of it is sent.
#[test]
fn a_long_outage_fills_the_outbox_and_is_made_up_for() {
    let arena = Arena::bounded(Kind::Sqlite, 100);
    arena.cut_off();
    let begun = Instant::now();
    let mut uuids = Vec::new();
    let mut refusals = 0;
    until(LONG, "it is a long outage", || {
        let answer = request("POST", &format!("{}/record/annotate", arena.gateway.url())).send();
        if answer.status == 200 {
            uuids.push(answer.json()["uuid"].as_str().unwrap().to_owned());
        } else {
            let why = answer.refused(503, 205);
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
            assert!(why.contains("too many tasks wait"), "{why}");
            refusals += 1;
        }
        assert_eq!(status(&arena.gateway, "record", &uuids[0])["status"], "PENDING");
        (refusals > 0 && begun.elapsed() > Duration::from_secs(12)).then_some(())
    });
    assert_eq!(uuids.len(), 50, "one queue may hold half: {refusals} refusals");
    arena.wire.heal();
    let healed = Instant::now();
    let mut resumed = None;
    for uuid in &uuids {
        let told = sent(&arena.gateway, uuid);
        resumed.get_or_insert_with(|| healed.elapsed());
        assert_eq!(told["attempts"], 1, "it never left before: {told}");
    }
    println!("an outage: sending went on {:.1?} after its end, all 50 sent {:.1?}", resumed.unwrap(), healed.elapsed());
    arena.waiting(50);
}
