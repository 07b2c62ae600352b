//! W0 to W2: around the commit and the answer.

use crate::{
    arena::{Arena, Kind},
    place::{sent, try_submit},
    support::request,
};
use std::sync::Mutex;

both!(before_the_commit_nothing_exists, after_the_commit_the_same_key_is_the_same_task, after_the_answer_it_is_sent);

fn before_the_commit_nothing_exists(kind: Kind) {
    let mut arena = Arena::new(kind);
    let (url, heard) = (arena.gateway.url(), Mutex::new(None));
    arena.dies_before_the_commit(|| *heard.lock().unwrap() = Some(try_submit(&url, "key", &[])));
    let heard = heard.into_inner().unwrap().expect("the client was told something");
    assert!(heard.is_err(), "{heard:?}");
    arena.restart();
    assert_eq!(arena.invocations(), 0);
    let uuid = try_submit(&arena.gateway.url(), "key", &[]).unwrap();
    assert_eq!((sent(&arena.gateway, &uuid)["attempts"].clone(), arena.invocations()), (1.into(), 1.into()));
    arena.waiting(1);
}

fn after_the_commit_the_same_key_is_the_same_task(kind: Kind) {
    let mut arena = Arena::new(kind);
    // Not published before the process dies, so that whatever is published later is seen.
    arena.cut_off();
    let (url, heard) = (arena.gateway.url(), Mutex::new(None));
    arena.dies_before_the_answer(|| *heard.lock().unwrap() = Some(try_submit(&url, "key", &[("n", "1")])));
    let heard = heard.into_inner().unwrap().expect("the client was told something");
    assert!(heard.is_err(), "{heard:?}");
    arena.wire.heal();
    arena.restart();
    assert_eq!(arena.invocations(), 1, "it is there, though nobody was told");
    let url = arena.gateway.url();
    let uuid = try_submit(&url, "key", &[("n", "1")]).unwrap();
    assert_eq!(try_submit(&url, "key", &[("n", "1")]), Ok(uuid.clone()));
    let other = request("POST", &format!("{url}/record/annotate")).header("Idempotency-Key", "key");
    other.form(&[("n", "2")]).send().refused(422, 209);
    sent(&arena.gateway, &uuid);
    arena.waiting(1);
    assert_eq!(arena.invocations(), 1);
}

fn after_the_answer_it_is_sent(kind: Kind) {
    let mut arena = Arena::new(kind);
    arena.cut_off();
    let uuids: Vec<_> = (0..5).map(|_| arena.submit(&[])).collect();
    arena.gateway.kill9();
    arena.wire.heal();
    arena.restart();
    for uuid in &uuids {
        sent(&arena.gateway, uuid);
    }
    arena.waiting(5);
}
