//! W3 to W7 and W14: from the socket to the broker's disk.

use crate::{
    arena::{Arena, Kind},
    place::{LONG, sent},
    rabbit::Rabbit,
    support::{status, submit, until},
    wire::{
        Fate,
        Kind::{Confirm, Publish},
    },
};
use serde_json::Value;

both!(
    what_the_broker_never_got_is_sent_again,
    a_message_cut_in_half_is_sent_again,
    a_lost_confirm_is_a_second_attempt,
    a_confirm_that_no_process_heard_is_a_second_attempt,
    confirms_refused_are_further_attempts,
    what_no_queue_takes_waits_for_one,
    reordered_confirms_settle_the_right_tasks,
);

/// Only a confirm counts, and that the bytes were written does not.
fn what_the_broker_never_got_is_sent_again(kind: Kind) {
    stops_at_the_message(kind, Fate::CutBefore);
}

fn a_message_cut_in_half_is_sent_again(kind: Kind) {
    stops_at_the_message(kind, Fate::CutInside);
}

fn stops_at_the_message(kind: Kind, fate: Fate) {
    let arena = Arena::new(kind);
    arena.wire.stop_at(Publish, 1);
    let uuid = arena.submit(&[]);
    arena.wire.stopped();
    let waits = status(&arena.gateway, "record", &uuid);
    assert_eq!((&waits["status"], &waits["sent"]), (&"PENDING".into(), &Value::Null), "{waits}");
    arena.wire.go_on(fate);
    let told = sent(&arena.gateway, &uuid);
    arena.waiting(1);
    assert_eq!(told["attempts"], 2, "nobody could know: {told}");
}

fn a_lost_confirm_is_a_second_attempt(kind: Kind) {
    let arena = Arena::new(kind);
    arena.wire.stop_at(Confirm, 1);
    let uuid = arena.submit(&[]);
    arena.wire.stopped();
    arena.wire.go_on(Fate::CutBefore);
    let told = sent(&arena.gateway, &uuid);
    arena.waiting(2);
    assert_eq!(told["attempts"], 2, "{told}");
}

fn a_confirm_that_no_process_heard_is_a_second_attempt(kind: Kind) {
    let mut arena = Arena::new(kind);
    arena.wire.stop_at(Confirm, 1);
    let uuid = arena.submit(&[]);
    arena.wire.stopped();
    arena.dies_there();
    arena.restart();
    let told = sent(&arena.gateway, &uuid);
    arena.waiting(2);
    assert_eq!(told["attempts"], 2, "{told}");
}

fn confirms_refused_are_further_attempts(kind: Kind) {
    let arena = Arena::new(kind);
    arena.wire.confirms_become_nacks();
    let uuid = arena.submit(&[]);
    let attempts = || status(&arena.gateway, "record", &uuid)["attempts"].as_u64().unwrap();
    until(LONG, "it was tried again", || (attempts() > 1).then_some(()));
    arena.wire.heal();
    let told = sent(&arena.gateway, &uuid);
    let copies = arena.broker.queue(&arena.workshop.queue).unwrap().ready;
    assert!(u64::from(copies) <= told["attempts"].as_u64().unwrap(), "{copies} copies: {told}");
}

fn what_no_queue_takes_waits_for_one(kind: Kind) {
    let arena = Arena::new(kind);
    arena.broker.delete(&arena.workshop.queue);
    let uuid = arena.submit(&[]);
    until(LONG, "it is told that there is no queue", || {
        let log = arena.gateway.log();
        log.lines().any(|line| line.contains(&uuid) && line.contains(&arena.workshop.queue)).then_some(())
    });
    assert_eq!(status(&arena.gateway, "record", &uuid)["sent"], Value::Null);
    arena.broker.declare(&arena.workshop.queue, &[]);
    let told = sent(&arena.gateway, &uuid);
    assert_eq!(told["attempts"], 1, "what came back is no attempt: {told}");
    arena.waiting(1);
}

fn reordered_confirms_settle_the_right_tasks(kind: Kind) {
    let other = |queue: &str| format!("[services.other]\nqueue = \"{queue}.other\"\nrequires_document = false\n");
    let arena = Arena::with(kind, Rabbit::shared(), other);
    arena.broker.delete(&format!("{}.other", arena.workshop.queue));
    arena.wire.reverse_confirms();
    let submitting = |service: &'static str| {
        let gateway = &arena.gateway;
        move || (0..40).map(|_| submit(gateway, service, &[])).collect::<Vec<_>>()
    };
    let (here, nowhere) = std::thread::scope(|scope| {
        let all: Vec<_> = ["record", "other", "record", "other"].map(|service| scope.spawn(submitting(service))).into();
        let mut all: Vec<_> = all.into_iter().map(|thread| thread.join().unwrap()).collect();
        let (last, third) = (all.remove(3), all.remove(2));
        ([all.remove(0), third].concat(), [all.remove(0), last].concat())
    });
    for uuid in &here {
        let told = sent(&arena.gateway, uuid);
        assert_eq!(told["attempts"], 1, "{told}");
    }
    for uuid in &nowhere {
        let told = status(&arena.gateway, "other", uuid);
        assert_eq!((&told["sent"], &told["status"]), (&Value::Null, &"PENDING".into()), "{told}");
    }
    arena.waiting(80);
}
