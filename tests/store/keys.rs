//! Idempotency: one key, one task.

use crate::{HOUR, KEEP, NOW, accept, commit, heard, load, outbox, places::Place, submit, tell};
use gateway_life::{Accept, IdempotencyKey, KEY_KEPT, Millis, State, Written};
use service_gateway::store::Store;
use std::{collections::HashSet, sync::Arc};
use uuid::Uuid;

both!(
    a_key_stands_for_one_request,
    a_key_belongs_to_its_subject,
    twice_in_one_batch,
    at_the_same_time,
    any_key_and_any_subject,
    a_conflict_does_not_fail_the_others,
    a_key_is_kept_for_a_day_and_as_long_as_its_task_is_open,
);

fn keyed(subject: Option<&str>, key: &str, fingerprint: u8) -> Accept {
    let key = IdempotencyKey { subject: subject.map(Arc::from), key: key.into(), fingerprint: [fingerprint; 32] };
    Accept { key: Some(key), ..accept() }
}

async fn ask(store: &Arc<dyn Store>, now: Millis, accept: &Accept) -> Written {
    commit(store, now, vec![submit(accept)]).await.remove(0)
}

async fn a_key_stands_for_one_request(place: Place) {
    let store = place.open().await;
    let (first, again, other) = (keyed(None, "k", 1), keyed(None, "k", 1), keyed(None, "k", 2));
    let id = first.task.id;
    assert_eq!(ask(&store, NOW, &first).await, Written::Accepted(first.task.clone()));
    assert_eq!(ask(&store, NOW, &again).await, Written::Same(id));
    assert_eq!(ask(&store, NOW, &other).await, Written::Conflict);
    let store = place.reopen(store).await;
    assert_eq!(ask(&store, NOW + 1, &keyed(None, "k", 1)).await, Written::Same(id));
    assert_eq!(outbox(&store).await, [id]);
    assert_eq!(load(&store, again.task.id).await, None);
    assert_eq!(store.stats(None).await.unwrap().invocations, 1);
}

async fn a_key_belongs_to_its_subject(place: Place) {
    let store = place.open().await;
    for (subject, key) in [(None, "k"), (Some("a"), "k"), (Some("b"), "k"), (Some("a"), "bk"), (Some("ab"), "k")] {
        let accept = keyed(subject, key, 1);
        assert_eq!(ask(&store, NOW, &accept).await, Written::Accepted(accept.task.clone()), "{subject:?} {key}");
    }
}

async fn twice_in_one_batch(place: Place) {
    let store = place.open().await;
    let all = [keyed(None, "z", 1), keyed(None, "a", 1), keyed(None, "z", 1), keyed(None, "z", 2), keyed(None, "a", 1)];
    let written = commit(&store, NOW, all.iter().map(submit).collect()).await;
    let expected = [
        Written::Accepted(all[0].task.clone()),
        Written::Accepted(all[1].task.clone()),
        Written::Same(all[0].task.id),
        Written::Conflict,
        Written::Same(all[1].task.id),
    ];
    assert_eq!(written, expected, "the first of them counts");
}

async fn at_the_same_time(place: Place) {
    let store = place.open().await;
    let asking = (0..40).map(|n: u8| {
        let store = store.clone();
        tokio::spawn(async move {
            // Two keys a batch, in either order.
            let keys = if n.is_multiple_of(2) { ["k", "l"] } else { ["l", "k"] };
            let accepts = keys.map(|key| keyed(None, key, 1));
            let written = commit(&store, NOW, accepts.iter().map(submit).collect()).await;
            let ids = written.iter().map(|written| match written {
                Written::Accepted(task) => (task.id, true),
                Written::Same(id) => (*id, false),
                other => panic!("{other:?}"),
            });
            ids.collect::<Vec<_>>()
        })
    });
    let mut told = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        told.extend(asked.await.unwrap());
    }
    assert_eq!(told.iter().filter(|(_, first)| *first).count(), 2);
    assert_eq!(told.iter().map(|(id, _)| *id).collect::<HashSet<Uuid>>().len(), 2);
}

async fn any_key_and_any_subject(place: Place) {
    let store = place.open().await;
    let long = "x".repeat(100_000);
    for text in ["", "\0", "a\0b", r"\0", "ä 語", &long] {
        let accept = keyed(Some(text), &format!("k{text}"), 1);
        assert_eq!(ask(&store, NOW, &accept).await, Written::Accepted(accept.task.clone()));
        assert_eq!(ask(&store, NOW, &keyed(Some(text), &format!("k{text}"), 1)).await, Written::Same(accept.task.id));
    }
}

async fn a_conflict_does_not_fail_the_others(place: Place) {
    let store = place.open().await;
    ask(&store, NOW, &keyed(None, "k", 1)).await;
    let all = [accept(), keyed(None, "k", 2), keyed(None, "l", 1)];
    let written = commit(&store, NOW, all.iter().map(submit).collect()).await;
    let expected = [Written::Accepted(all[0].task.clone()), Written::Conflict, Written::Accepted(all[2].task.clone())];
    assert_eq!(written, expected);
}

async fn a_key_is_kept_for_a_day_and_as_long_as_its_task_is_open(place: Place) {
    let store = place.open().await;
    let (ended, open) = (keyed(None, "ended", 1), keyed(None, "open", 1));
    commit(&store, NOW, vec![submit(&ended), submit(&open), tell(ended.task.id, heard(State::Success))]).await;
    let sweep = async |now| store.sweep(now, KEEP, Uuid::nil(), 100).await.unwrap();
    sweep(NOW + KEY_KEPT - HOUR).await;
    assert_eq!(ask(&store, NOW, &keyed(None, "ended", 1)).await, Written::Same(ended.task.id));
    let late = NOW + KEY_KEPT + HOUR;
    sweep(late).await;
    let anew = keyed(None, "ended", 2);
    assert_eq!(ask(&store, late, &anew).await, Written::Accepted(anew.task.clone()));
    assert_eq!(ask(&store, late, &keyed(None, "open", 1)).await, Written::Same(open.task.id));
}
