//! A batch is one transaction; what is written is read again as it was.

use crate::{NONE, NOW, accept, accept_for, accepted, commit, heard, load, outbox, places::Place, submit, tell};
use bytes::Bytes;
use gateway_life::{Change, Delivery, Fact, Raised, Report, Run, Source, State, Task, Write, Written};
use std::sync::Arc;
use uuid::Uuid;

both!(
    what_is_accepted_is_kept_and_waits,
    every_part_of_a_task_comes_back,
    any_text_comes_back,
    huge_results_come_back,
    many_huge_results_are_one_batch,
    a_batch_is_applied_in_its_order,
    a_thousand_writes_are_one_batch,
    a_batch_with_a_fault_leaves_nothing,
    a_fact_about_nobody_writes_nothing,
    what_changes_nothing_writes_nothing,
    what_the_broker_has_leaves_the_outbox,
    counts_are_kept,
    commits_at_the_same_time,
    the_latest_cancelled,
);

async fn what_is_accepted_is_kept_and_waits(place: Place) {
    let store = place.open().await;
    let (mut first, second) = (accept(), accept_for("t"));
    first.task.run_limit = Some(7_000);
    commit(&store, NOW, vec![submit(&first), submit(&second)]).await;
    let store = place.reopen(store).await;
    assert_eq!(load(&store, first.task.id).await, Some(first.task.clone()));
    assert_eq!(load(&store, second.task.id).await, Some(second.task.clone()));
    assert_eq!(load(&store, Uuid::now_v7()).await, None);
    let waiting = store.outbox().await.unwrap();
    assert_eq!(waiting.iter().map(|message| message.id).collect::<Vec<_>>(), [first.task.id, second.task.id]);
    assert_eq!((&*waiting[0].service, waiting[0].run_limit, waiting[0].attempts), ("s", Some(7_000), 0));
    assert!(waiting.iter().all(|message| message.body.is_none()), "bodies are read when they are needed");
    assert_eq!(store.body(first.task.id).await.unwrap(), Some(first.body));
    assert_eq!(store.body(Uuid::now_v7()).await.unwrap(), None);
    let mut due = store.due().await.unwrap();
    due.sort();
    assert_eq!(due, [("s".into(), NOW), ("t".into(), NOW)]);
}

async fn every_part_of_a_task_comes_back(place: Place) {
    let store = place.open().await;
    let mut accept = accept();
    accept.task =
        Task { subject: Some("me".into()), wait_limit: Some(60_000), run_limit: Some(120_000), ..accept.task };
    let id = accept.task.id;
    accepted(&store, &accept).await;
    let progress = Report {
        result: Some(Bytes::from_static(br#"{"current": 12.5}"#)),
        run: Some(Run { host: "h1".into(), start: "2026-01-01T00:00:00".into() }),
        current: Some(12.5),
        ..Report::new(State::Progress, Source::Queue)
    };
    let facts = [
        Fact::Sent { attempts: 3 },
        heard(State::Started),
        Fact::Heard(progress),
        Fact::Overdue { heard: NOW + 3, why: "no sign of life".into() },
        Fact::Heard(Report {
            result: Some(Raised::new("ValueError", "no").to_json()),
            ..Report::new(State::Failure, Source::Queue)
        }),
    ];
    let mut expected = accept.task.clone();
    for (step, fact) in (1..).zip(facts) {
        let change = gateway_life::apply(&mut expected, &fact, NOW + step);
        assert!(change.changed, "{fact:?}: {expected:?}");
        let written = commit(&store, NOW + step, vec![tell(id, fact)]).await;
        assert_eq!(written, [Written::Applied(expected.clone(), change)]);
        assert_eq!(load(&store, id).await, Some(expected.clone()));
    }
    let store = place.reopen(store).await;
    assert_eq!(load(&store, id).await, Some(expected));
}

/// Whatever a worker, a token or a configuration may hold.
async fn any_text_comes_back(place: Place) {
    let store = place.open().await;
    for text in ["", "ä 語 🎧 \u{202e}", "a\0b", "\0", r"C:\new\0", "\\", "'; DROP TABLE task; --", "\r\n\t\u{1}"] {
        let mut accept = accept_for(text);
        accept.task.subject = Some(text.into());
        accept.body = Bytes::from(text.to_owned());
        let id = accept.task.id;
        accepted(&store, &accept).await;
        let name: Box<str> = if text.is_empty() { "STORING".into() } else { text.into() };
        let report = Report {
            result: Some(Bytes::from(serde_json::to_vec(text).unwrap())),
            run: Some(Run { host: text.into(), start: text.into() }),
            ..Report::new(State::Other(name), Source::Queue)
        };
        let facts = [Fact::Heard(report), Fact::Garbled(text.into())];
        let written = commit(&store, NOW, facts.map(|fact| tell(id, fact)).to_vec()).await;
        let [Written::Applied(..), Written::Applied(task, _)] = written.as_slice() else { panic!("{written:?}") };
        assert_eq!(task.note.as_deref(), Some(text));
        assert_eq!(load(&store, id).await.as_ref(), Some(task), "{text:?}");
        assert_eq!(store.stats(Some(text)).await.unwrap().invocations, 1, "{text:?}");
    }
    // Every byte, as a result need not be text for the store.
    let accept = accept();
    accepted(&store, &accept).await;
    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    let report = Report { result: Some(bytes.clone()), ..Report::new(State::Success, Source::Queue) };
    commit(&store, NOW, vec![tell(accept.task.id, Fact::Heard(report))]).await;
    assert_eq!(load(&store, accept.task.id).await.unwrap().result, Some(bytes));
}

fn huge(length: usize) -> Fact {
    // Not all the same, so that nothing is made small on its way.
    let block: Vec<u8> = (0..1 << 16).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bytes = block.iter().cycle().take(length).copied().collect::<Vec<_>>();
    Fact::Heard(Report { result: Some(bytes.into()), ..Report::new(State::Success, Source::Queue) })
}

async fn huge_results_come_back(place: Place) {
    let store = place.open().await;
    let accept = accept();
    accepted(&store, &accept).await;
    let fact = huge(16 << 20);
    let Fact::Heard(Report { result, .. }) = &fact else { unreachable!() };
    commit(&store, NOW, vec![tell(accept.task.id, fact.clone())]).await;
    assert!(load(&store, accept.task.id).await.unwrap().result == *result, "the result is another one");
}

async fn many_huge_results_are_one_batch(place: Place) {
    let store = place.open().await;
    let mut all: Vec<_> = (0..6).map(|_| accept()).collect();
    all.iter_mut().for_each(|accept| accept.body = Bytes::from(vec![b'x'; 7 << 20]));
    commit(&store, NOW, all.iter().map(submit).collect()).await;
    for accept in &all {
        assert_eq!(store.body(accept.task.id).await.unwrap().map(|body| body.len()), Some(7 << 20));
    }
    commit(&store, NOW, all.iter().map(|accept| tell(accept.task.id, huge(7 << 20))).collect()).await;
    let loads = all.iter().map(|accept| load(&store, accept.task.id));
    for task in futures_util::future::join_all(loads).await {
        assert_eq!(task.unwrap().result.map(|result| result.len()), Some(7 << 20));
    }
}

async fn a_batch_is_applied_in_its_order(place: Place) {
    let store = place.open().await;
    let (one, other) = (accept(), accept());
    let id = one.task.id;
    let written = commit(
        &store,
        NOW,
        vec![
            tell(id, heard(State::Started)),
            submit(&one),
            tell(id, Fact::Sent { attempts: 1 }),
            submit(&other),
            tell(id, heard(State::Success)),
            tell(id, Fact::Cancelled),
            Write::Apply { id: other.task.id, service: Some("s".into()), fact: Fact::Cancelled },
        ],
    )
    .await;
    assert_eq!(written[0], Written::NoTask(id), "told before it was accepted");
    let Written::Applied(task, change) = &written[4] else { panic!("{written:?}") };
    assert!(change.ended && task.state == State::Success && task.sent == Some(NOW));
    assert!(matches!(&written[5], Written::Applied(task, change) if task.state == State::Success && !change.changed));
    assert!(matches!(&written[6], Written::Applied(task, _) if task.state == State::Revoked));
    assert_eq!(load(&store, id).await.unwrap().state, State::Success);
    assert_eq!(load(&store, other.task.id).await.unwrap().state, State::Revoked);
    assert_eq!(outbox(&store).await, NONE, "one was sent, the other never will be");
}

async fn a_thousand_writes_are_one_batch(place: Place) {
    let store = place.open().await;
    let all: Vec<_> = (0..1000).map(|_| accept()).collect();
    let written = commit(&store, NOW, all.iter().map(submit).collect()).await;
    assert!(written.iter().zip(&all).all(|(written, accept)| *written == Written::Accepted(accept.task.clone())));
    assert_eq!(outbox(&store).await.len(), 1000);
    let facts = all.iter().rev().map(|accept| tell(accept.task.id, Fact::Sent { attempts: 1 })).collect();
    let written = commit(&store, NOW + 1, facts).await;
    assert!(
        written.iter().zip(all.iter().rev()).all(
            |(written, accept)| matches!(written, Written::Applied(task, change) if task.id == accept.task.id && change.settled)
        )
    );
    assert_eq!(outbox(&store).await, NONE);
    assert_eq!(store.stats(None).await.unwrap().invocations, 1000);
}

async fn a_batch_with_a_fault_leaves_nothing(place: Place) {
    let store = place.open().await;
    let (known, new) = (accept(), accept());
    accepted(&store, &known).await;
    let batch = vec![submit(&new), tell(known.task.id, heard(State::Success)), submit(&known)];
    assert!(store.commit(NOW, batch).await.is_err(), "a uuid is used once");
    assert_eq!(load(&store, new.task.id).await, None);
    assert_eq!(load(&store, known.task.id).await, Some(known.task.clone()));
    assert_eq!(outbox(&store).await, [known.task.id]);
    assert_eq!(store.stats(None).await.unwrap().invocations, 1);
}

async fn a_fact_about_nobody_writes_nothing(place: Place) {
    let store = place.open().await;
    let (accept, nobody) = (accept(), Uuid::now_v7());
    accepted(&store, &accept).await;
    let id = accept.task.id;
    let others = Write::Apply { id, service: Some("t".into()), fact: Fact::Cancelled };
    let written = commit(&store, NOW, vec![tell(nobody, heard(State::Success)), others]).await;
    assert_eq!(written, [Written::NoTask(nobody), Written::NoTask(id)], "not a task of that service");
    assert_eq!(load(&store, id).await, Some(accept.task));
    assert_eq!(commit(&store, NOW, Vec::new()).await, []);
}

async fn what_changes_nothing_writes_nothing(place: Place) {
    let store = place.open().await;
    let accept = accept();
    let id = accept.task.id;
    accepted(&store, &accept).await;
    commit(&store, NOW, vec![tell(id, heard(State::Success))]).await;
    let ended = load(&store, id).await.unwrap();
    let written = commit(&store, NOW + 1, vec![tell(id, heard(State::Progress))]).await;
    assert_eq!(written, [Written::Applied(ended.clone(), Change::default())]);
    assert_eq!(load(&store, id).await, Some(ended));
}

async fn what_the_broker_has_leaves_the_outbox(place: Place) {
    let store = place.open().await;
    let [sent, heard_of, waits] = [accept(), accept(), accept()];
    commit(&store, NOW, [&sent, &heard_of, &waits].map(submit).to_vec()).await;
    let facts = vec![tell(sent.task.id, Fact::Sent { attempts: 2 }), tell(heard_of.task.id, heard(State::Started))];
    commit(&store, NOW, facts).await;
    assert_eq!(outbox(&store).await, [waits.task.id]);
    assert_eq!(store.body(sent.task.id).await.unwrap(), None);
    let task = load(&store, sent.task.id).await.unwrap();
    assert_eq!((task.state, task.delivery, task.attempts), (State::Pending, Delivery::Settled, 2));
}

async fn counts_are_kept(place: Place) {
    let store = place.open().await;
    commit(&store, NOW, (0..3).map(|_| submit(&accept_for("a"))).chain([submit(&accept_for("b"))]).collect()).await;
    commit(&store, NOW, vec![submit(&accept_for("a"))]).await;
    let store = place.reopen(store).await;
    commit(&store, NOW, vec![submit(&accept_for("a"))]).await;
    let count = async |service| store.stats(service).await.unwrap().invocations;
    assert_eq!((count(Some("a")).await, count(Some("b")).await, count(Some("c")).await), (5, 1, 0));
    assert_eq!(count(None).await, 6);
    assert_eq!(store.stats(None).await.unwrap().since, NOW);
}

async fn commits_at_the_same_time(place: Place) {
    let store = place.open().await;
    let shared: Vec<_> = (0..20).map(|_| accept()).collect();
    commit(&store, NOW, shared.iter().map(submit).collect()).await;
    let shared = Arc::new(shared);
    let tasks = (0..32).map(|n: usize| {
        let (store, shared) = (store.clone(), shared.clone());
        tokio::spawn(async move {
            for round in 0..5 {
                let mut writes: Vec<_> = (0..4).map(|_| submit(&accept_for("own"))).collect();
                // The same tasks as others, in another order.
                let of = |k: usize| &shared[(n * 7 + k * (round + 1)) % shared.len()];
                writes.extend((0..5).map(|k| tell(of(k).task.id, heard(State::Started))));
                commit(&store, NOW + round as i64, writes).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.stats(Some("own")).await.unwrap().invocations, 32 * 5 * 4);
    for accept in &*shared {
        assert_eq!(load(&store, accept.task.id).await.unwrap().runs, 1);
    }
}

async fn the_latest_cancelled(place: Place) {
    let store = place.open().await;
    let all: Vec<_> = (0..5).map(|_| accept()).collect();
    commit(&store, NOW, all.iter().map(submit).collect()).await;
    for (at, accept) in (0..).zip(&all) {
        let fact = if at == 2 { heard(State::Success) } else { Fact::Cancelled };
        commit(&store, NOW + at, vec![tell(accept.task.id, fact)]).await;
    }
    let ids = async |since, limit| -> Vec<Uuid> {
        store.revoked(since, limit).await.unwrap().into_iter().map(|(id, _)| id).collect()
    };
    let id = |n: usize| all[n].task.id;
    assert_eq!(ids(NOW - 1, 10).await, [id(0), id(1), id(3), id(4)], "oldest first");
    assert_eq!(ids(NOW + 1, 10).await, [id(3), id(4)]);
    assert_eq!(ids(NOW - 1, 1).await, [id(4)], "of too many the latest");
    commit(&store, NOW + 9, vec![tell(id(0), Fact::Forgotten), tell(id(2), Fact::Forgotten)]).await;
    assert_eq!(ids(NOW - 1, 10).await, [id(0), id(1), id(3), id(4)], "its result is gone, the cancel is not");
}
