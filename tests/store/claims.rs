//! The outbox as the queue of the embedded broker.

use crate::{NOW, accept, accept_for, accepted, claim, commit, load, places::Place, submit, tell};
use gateway_life::{Cause, DUE_MOST, Fact, Millis, Raised, State, Task, Written};
use service_gateway::store::{Orphan, Store};
use std::sync::Arc;
use uuid::Uuid;

both!(
    the_one_due_for_longest_comes_first,
    what_is_claimed_is_an_orphan_after_a_crash,
    what_is_requeued_waits_until_it_is_due,
    what_was_written_before_the_clock_was_set_back_is_due,
    what_was_cancelled_is_not_claimed,
    a_claim_sees_the_writes_before_it,
    two_claims_take_two,
);

async fn take(store: &Arc<dyn Store>, now: Millis, service: &str) -> Option<Task> {
    match commit(store, now, vec![claim(service)]).await.remove(0) {
        Written::Claimed(task, body) => {
            assert_eq!(body, format!("body of {}", task.id));
            Some(task)
        }
        Written::NothingDue => None,
        other => panic!("{other:?}"),
    }
}

fn requeue(id: Uuid, due: Millis) -> gateway_life::Write {
    tell(id, Fact::Requeued { due, why: Raised::new("WorkerLostError", "gone"), cause: Cause::Lost })
}

async fn the_one_due_for_longest_comes_first(place: Place) {
    let store = place.open().await;
    let (first, second, other) = (accept(), accept(), accept_for("other"));
    commit(&store, NOW, vec![submit(&other)]).await;
    commit(&store, NOW + 2, vec![submit(&first)]).await;
    commit(&store, NOW + 1, vec![submit(&second)]).await;
    assert_eq!(take(&store, NOW, "s").await, None, "nothing is due yet");
    let taken = take(&store, NOW + 5, "s").await.unwrap();
    assert_eq!((taken.id, taken.attempts, taken.sent), (second.task.id, 1, Some(NOW + 5)));
    assert_eq!(load(&store, taken.id).await, Some(taken));
    assert_eq!(take(&store, NOW + 5, "s").await.unwrap().id, first.task.id);
    assert_eq!(take(&store, NOW + 5, "s").await, None);
    assert_eq!(take(&store, NOW + 5, "other").await.unwrap().id, other.task.id);
}

async fn what_is_claimed_is_an_orphan_after_a_crash(place: Place) {
    let store = place.open().await;
    let (taken, waits) = (accept(), accept());
    commit(&store, NOW, vec![submit(&taken), submit(&waits)]).await;
    take(&store, NOW, "s").await.unwrap();
    let store = place.reopen(store).await;
    assert_eq!(store.orphans().await.unwrap(), [Orphan { id: taken.task.id, service: "s".into(), losses: 0 }]);
    assert_eq!(store.due().await.unwrap(), [("s".into(), NOW)]);
    commit(&store, NOW, vec![requeue(taken.task.id, NOW)]).await;
    assert_eq!(store.orphans().await.unwrap(), []);
    assert_eq!(take(&store, NOW, "s").await.unwrap().attempts, 2);
}

async fn what_is_requeued_waits_until_it_is_due(place: Place) {
    let store = place.open().await;
    let accept = accept();
    let id = accept.task.id;
    accepted(&store, &accept).await;
    take(&store, NOW, "s").await.unwrap();
    commit(&store, NOW, vec![requeue(id, NOW + 1_000)]).await;
    assert_eq!(load(&store, id).await.unwrap().state, State::Retry);
    assert_eq!(store.due().await.unwrap(), [("s".into(), NOW + 1_000)]);
    assert_eq!(take(&store, NOW + 999, "s").await, None);
    assert_eq!(take(&store, NOW + 1_000, "s").await.unwrap().id, id);
}

async fn what_was_written_before_the_clock_was_set_back_is_due(place: Place) {
    let store = place.open().await;
    let accept = accept();
    accepted(&store, &accept).await;
    assert_eq!(store.next_due("s").await.unwrap(), Some(NOW));
    assert_eq!(take(&store, NOW - DUE_MOST, "s").await, None, "so far ahead a next run may lie");
    assert_eq!(take(&store, NOW - DUE_MOST - 1, "s").await.unwrap().id, accept.task.id);
    assert_eq!(store.next_due("s").await.unwrap(), None);
}

async fn what_was_cancelled_is_not_claimed(place: Place) {
    let store = place.open().await;
    let (cancelled, next) = (accept(), accept());
    commit(&store, NOW, vec![submit(&cancelled), submit(&next)]).await;
    commit(&store, NOW, vec![tell(cancelled.task.id, Fact::Cancelled)]).await;
    assert_eq!(take(&store, NOW, "s").await.unwrap().id, next.task.id);
    // Cancelled while it runs: it is not run again.
    commit(&store, NOW, vec![tell(next.task.id, Fact::Cancelled), requeue(next.task.id, NOW)]).await;
    assert_eq!(take(&store, NOW, "s").await, None);
    assert_eq!(store.orphans().await.unwrap(), []);
}

async fn a_claim_sees_the_writes_before_it(place: Place) {
    let store = place.open().await;
    let (one, other) = (accept(), accept());
    let written = commit(&store, NOW, vec![submit(&one), claim("s"), claim("s"), submit(&other), claim("s")]).await;
    assert!(matches!(&written[1], Written::Claimed(task, _) if task.id == one.task.id), "{written:?}");
    assert_eq!(written[2], Written::NothingDue);
    assert!(matches!(&written[4], Written::Claimed(task, _) if task.id == other.task.id), "{written:?}");
    assert_eq!(store.stats(None).await.unwrap().invocations, 2);
}

async fn two_claims_take_two(place: Place) {
    let store = place.open().await;
    let all: Vec<_> = (0..30).map(|_| accept()).collect();
    commit(&store, NOW, all.iter().map(submit).collect()).await;
    let takers = (0..6).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(task) = take(&store, NOW, "s").await {
                taken.push(task.id);
            }
            taken
        })
    });
    let mut taken = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        taken.extend(taker.await.unwrap());
    }
    taken.sort();
    assert_eq!(taken, all.iter().map(|accept| accept.task.id).collect::<Vec<_>>());
}
