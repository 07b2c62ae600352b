//! What is over its time.

use crate::{HOUR, KEEP, NONE, NOW, accept, commit, heard, load, places::Place, submit, tell};
use gateway_life::{Accept, Fact, Millis, State};
use service_gateway::store::{Jump, Keep, Store, Swept};
use std::sync::Arc;
use uuid::Uuid;

both!(
    results_are_forgotten_after_their_time,
    records_are_deleted_after_theirs,
    deadlines_are_found,
    a_clock_set_forward_delays_only_what_began_before,
    the_silent_are_found_in_order,
    no_more_than_asked_for,
    two_sweeps_at_once_do_no_harm,
    what_may_still_be_reported_is_found_in_order,
);

async fn sweep(store: &Arc<dyn Store>, now: Millis) -> Swept {
    store.sweep(now, KEEP, Uuid::nil(), 100).await.unwrap()
}

async fn some(store: &Arc<dyn Store>, count: usize, ended: Option<Millis>) -> Vec<Uuid> {
    let all: Vec<Accept> = (0..count).map(|_| accept()).collect();
    commit(store, NOW, all.iter().map(submit).collect()).await;
    let ids: Vec<_> = all.iter().map(|accept| accept.task.id).collect();
    if let Some(ended) = ended {
        commit(store, ended, ids.iter().map(|id| tell(*id, heard(State::Success))).collect()).await;
    }
    ids
}

async fn results_are_forgotten_after_their_time(place: Place) {
    let store = place.open().await;
    let ended = some(&store, 1, Some(NOW)).await[0];
    some(&store, 1, None).await;
    assert_eq!(sweep(&store, NOW + HOUR).await.facts, [], "not over before its time");
    assert_eq!(sweep(&store, NOW + HOUR + 1).await.facts, [(ended, Fact::Forgotten)]);
    commit(&store, NOW + HOUR, vec![tell(ended, Fact::Forgotten)]).await;
    assert_eq!(load(&store, ended).await.unwrap().state, State::Expired);
    assert_eq!(sweep(&store, NOW + HOUR + 1).await.facts, [], "once");
}

async fn records_are_deleted_after_theirs(place: Place) {
    let store = place.open().await;
    let (ended, open) = (some(&store, 2, Some(NOW)).await, some(&store, 1, None).await);
    assert_eq!(sweep(&store, NOW + 24 * HOUR).await.deleted, NONE);
    let mut deleted = sweep(&store, NOW + 24 * HOUR + 1).await.deleted;
    deleted.sort();
    assert_eq!(deleted, ended);
    assert_eq!(load(&store, ended[0]).await, None);
    assert!(load(&store, open[0]).await.is_some(), "a task that is open is never deleted");
    assert_eq!(store.stats(None).await.unwrap().invocations, 3, "counts stay");
}

async fn deadlines_are_found(place: Place) {
    let store = place.open().await;
    let mut accept = accept();
    (accept.task.wait_limit, accept.task.run_limit) = (Some(1_000), Some(5_000));
    let id = accept.task.id;
    commit(&store, NOW, vec![submit(&accept)]).await;
    assert_eq!(sweep(&store, NOW + 999).await.facts, []);
    assert_eq!(sweep(&store, NOW + 1_000).await.facts, [(id, Fact::Late { began: NOW, ahead: 0 })]);
    commit(&store, NOW + 900, vec![tell(id, heard(State::Started))]).await;
    assert_eq!(sweep(&store, NOW + 5_899).await.facts, [], "it runs now, and has its time for that");
    let late = Fact::Late { began: NOW + 900, ahead: 0 };
    assert_eq!(sweep(&store, NOW + 5_900).await.facts, [(id, late.clone())]);
    commit(&store, NOW + 5_900, vec![tell(id, late)]).await;
    assert_eq!(sweep(&store, NOW + 5_900).await.facts, []);
}

async fn a_clock_set_forward_delays_only_what_began_before(place: Place) {
    let store = place.open().await;
    // Begun before both jumps, between them, after both; and after the second was half undone, so by an earlier clock.
    let began = [NOW, NOW + 2 * HOUR, NOW + 9 * HOUR, NOW + 5 * HOUR];
    let mut ids = Vec::new();
    for submitted in began {
        let mut accept = accept();
        (accept.task.submitted, accept.task.wait_limit) = (submitted, Some(10));
        ids.push(accept.task.id);
        commit(&store, submitted, vec![submit(&accept)]).await;
    }
    let jumps = vec![Jump { from: NOW + 5, ahead: HOUR }, Jump { from: NOW + 2 * HOUR + 5, ahead: 6 * HOUR }];
    let late = async |now| {
        let keep = Keep { jumps: jumps.clone(), ..KEEP };
        store.sweep(now, keep, Uuid::nil(), 2).await.unwrap().facts
    };
    let fact = |n: usize, ahead| (ids[n], Fact::Late { began: began[n], ahead });
    assert_eq!(late(NOW + 5 * HOUR + 9).await, []);
    assert_eq!(late(NOW + 5 * HOUR + 10).await, [fact(3, 0)], "not hidden behind those that have time left");
    assert_eq!(late(NOW + 7 * HOUR + 9).await, [fact(3, 0)]);
    assert_eq!(late(NOW + 7 * HOUR + 10).await, [fact(0, 7 * HOUR), fact(3, 0)], "most overdue first");
    commit(&store, NOW + 7 * HOUR + 10, vec![tell(ids[0], fact(0, 7 * HOUR).1), tell(ids[3], fact(3, 0).1)]).await;
    assert_eq!(late(NOW + 8 * HOUR + 9).await, []);
    assert_eq!(late(NOW + 9 * HOUR + 10).await, [fact(1, 6 * HOUR), fact(2, 0)]);
}

async fn the_silent_are_found_in_order(place: Place) {
    let store = place.open().await;
    let mut ids = some(&store, 5, None).await;
    some(&store, 2, Some(NOW)).await;
    let late = NOW + 2 * HOUR + 1;
    commit(&store, late, vec![tell(ids[1], heard(State::Started))]).await;
    ids.remove(1);
    let silent = async |after, limit| -> Vec<Uuid> {
        let swept = store.sweep(late, KEEP, after, limit).await.unwrap();
        swept.silent.into_iter().map(|task| task.id).collect()
    };
    assert_eq!(silent(Uuid::nil(), 100).await, ids);
    assert_eq!(silent(Uuid::nil(), 2).await, ids[..2]);
    assert_eq!(silent(ids[1], 2).await, ids[2..], "goes on behind the last");
    assert_eq!(silent(ids[3], 2).await, NONE);
    assert_eq!(sweep(&store, late - 1).await.silent.len(), 0);
}

async fn no_more_than_asked_for(place: Place) {
    let store = place.open().await;
    some(&store, 7, Some(NOW)).await;
    let late = NOW + 25 * HOUR;
    let swept = store.sweep(late, KEEP, Uuid::nil(), 3).await.unwrap();
    assert_eq!((swept.facts.len(), swept.deleted.len()), (3, 3));
    assert_eq!(store.sweep(late, KEEP, Uuid::nil(), 3).await.unwrap().deleted.len(), 3);
    assert_eq!(store.sweep(late, KEEP, Uuid::nil(), 3).await.unwrap().deleted.len(), 1);
}

async fn two_sweeps_at_once_do_no_harm(place: Place) {
    let store = place.open().await;
    let ids = some(&store, 40, Some(NOW)).await;
    let late = NOW + HOUR + 1;
    let (one, other) = tokio::join!(sweep(&store, late), sweep(&store, late));
    let twice: Vec<_> = one.facts.into_iter().chain(other.facts).map(|(id, fact)| tell(id, fact)).collect();
    assert_eq!(twice.len(), 80);
    commit(&store, late, twice).await;
    let task = load(&store, ids[0]).await.unwrap();
    assert_eq!((task.state, task.seq), (State::Expired, 3), "accepted, ended, forgotten: each once");
    let sweeps = (0..4).map(|_| store.sweep(NOW + 25 * HOUR, KEEP, Uuid::nil(), 15));
    let deleted: usize =
        futures_util::future::join_all(sweeps).await.into_iter().map(|swept| swept.unwrap().deleted.len()).sum();
    assert!((15..=40).contains(&deleted), "{deleted}");
    let mut left = 40 - deleted;
    while left > 0 {
        left -= sweep(&store, NOW + 25 * HOUR).await.deleted.len();
    }
}

async fn what_may_still_be_reported_is_found_in_order(place: Place) {
    let store = place.open().await;
    let open = some(&store, 3, None).await;
    some(&store, 2, Some(NOW)).await;
    let presumed = some(&store, 3, None).await;
    let why = || Fact::Overdue { heard: NOW, why: "no sign of life".into() };
    for (id, at) in presumed.iter().zip([NOW + 10, NOW + 20, NOW + 30]) {
        commit(&store, at, vec![tell(*id, why())]).await;
    }
    let later = some(&store, 1, None).await;
    let mut expected: Vec<_> = open.iter().chain(&later).map(|id| (*id, None)).collect();
    expected.extend(presumed.iter().zip([NOW + 10, NOW + 20, NOW + 30]).map(|(id, at)| (*id, Some(at))));
    expected.sort();
    assert_eq!(store.unsettled(0, Uuid::nil(), 100).await.unwrap(), expected);
    // In steps.
    let first = store.unsettled(0, Uuid::nil(), 4).await.unwrap();
    let rest = store.unsettled(0, first[3].0, 4).await.unwrap();
    assert_eq!([first, rest].concat(), expected);
    // Ends of long ago count no more; whatever is open does.
    expected.retain(|(_, ended)| ended.is_none_or(|at| at > NOW + 20));
    assert_eq!(store.unsettled(NOW + 20, Uuid::nil(), 100).await.unwrap(), expected);
}
