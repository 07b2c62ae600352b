//! W7 and W8: what becomes of a message while it waits with the broker.

use crate::{
    arena::{Arena, Kind},
    place::{end, sent, succeeds},
    rabbit::Rabbit,
    support::submit,
};
use serde_json::Value;

both!(
    what_waits_outlives_a_broker_that_is_killed,
    what_is_purged_ends_with_an_explanation,
    a_dead_letter_ends_its_task
);

fn what_waits_outlives_a_broker_that_is_killed(kind: Kind) {
    let arena = Arena::with(kind, Rabbit::own(), |_| String::new());
    let uuids: Vec<_> = (0..5).map(|_| arena.submit(&[])).collect();
    for uuid in &uuids {
        sent(&arena.gateway, uuid);
    }
    arena.broker.kill9();
    let meanwhile = arena.submit(&[]);
    arena.broker.start();
    let _worker = arena.workshop.worker(arena.broker.url());
    for uuid in &uuids {
        let told = succeeds(&arena.gateway, uuid);
        assert_eq!((&told["attempts"], arena.workshop.begun()[uuid]), (&1.into(), 1), "{told}");
    }
    // A gateway that has not yet noticed the end of its connection sends into it, which counts as an attempt.
    let told = succeeds(&arena.gateway, &meanwhile);
    assert!([1, 2].map(Value::from).contains(&told["attempts"]), "{told}");
    assert_eq!(arena.workshop.begun()[&meanwhile], 1, "{told}");
}

fn what_is_purged_ends_with_an_explanation(kind: Kind) {
    let arena = Arena::with(kind, Rabbit::shared(), |_| "wait_limit = \"4s\"\n".to_owned());
    let uuid = arena.submit(&[]);
    sent(&arena.gateway, &uuid);
    arena.waiting(1);
    arena.broker.purge(&arena.workshop.queue);
    let told = end(&arena.gateway, &uuid);
    assert_eq!(told["status"], "EXPIRED", "{told}");
    assert_eq!(told["reason"], "the task waited longer than its wait_limit of 4 s", "{told}");
}

fn a_dead_letter_ends_its_task(kind: Kind) {
    let arena = Arena::with(kind, Rabbit::shared(), |queue| {
        format!(
            "[services.short]\nqueue = \"{queue}.short\"\ndead_letter_queue = \"{queue}.dead\"\nrequires_document = false\n\
             queue_arguments = {{ x-message-ttl = 300, x-dead-letter-exchange = \"\", \
             x-dead-letter-routing-key = \"{queue}.dead\" }}\n"
        )
    });
    let uuid = submit(&arena.gateway, "short", &[]);
    let told = crate::support::end(&arena.gateway, "short", &uuid);
    assert_eq!((&told["status"], &told["result"]["code"]), (&"FAILURE".into(), &205.into()), "{told}");
    assert!(told["reason"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
}
