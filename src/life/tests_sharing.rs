//! The engine where several gateways share a store, and where the store is slow or away: the test plays the store.

use crate::*;
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

type TestEngine = Engine<u32, u32>;
type Effects = Vec<Effect<u32, u32>>;

fn engine() -> TestEngine {
    TestEngine::new(Limits { shared: true, ..Limits::default() })
}

fn run(engine: &mut TestEngine, now: Millis, inputs: impl IntoIterator<Item = Input<u32, u32>>) -> Effects {
    let mut effects = Vec::new();
    for input in inputs {
        engine.step(now, input, &mut effects);
    }
    engine.flush(now, &mut effects);
    effects
}

fn ask(client: u32) -> Input<u32, u32> {
    let task = Task::new(Uuid::now_v7(), "s", 0);
    Input::Submit(client, Box::new(Accept { task, body: Bytes::from_static(b"[]"), key: None }))
}

fn written(writes: &[Write]) -> Input<u32, u32> {
    let answer = |write: &Write| match write {
        Write::Accept(accept) => Written::Accepted(accept.task.clone()),
        Write::Apply { id, fact, .. } => {
            let mut task = Task::new(*id, "s", 0);
            let change = apply(&mut task, fact, 0);
            Written::Applied(task, change)
        }
        Write::Claim { .. } => Written::NothingDue,
    };
    Input::Committed(Ok(writes.iter().map(answer).collect()))
}

fn commit(effects: &Effects) -> &[Write] {
    let commit = effects.iter().find_map(|effect| match effect {
        Effect::Commit(writes) => Some(writes.as_slice()),
        _ => None,
    });
    commit.expect("a commit")
}

fn published(effects: &Effects) -> Vec<(Uuid, u64)> {
    let publish = |effect: &Effect<u32, u32>| match effect {
        Effect::Publish(publish) => Some((publish.message.id, publish.term)),
        _ => None,
    };
    effects.iter().filter_map(publish).collect()
}

/// A task accepted and committed: its uuid, and what followed.
fn accepted(engine: &mut TestEngine, now: Millis) -> (Uuid, Effects) {
    let effects = run(engine, now, [ask(1)]);
    let [Write::Accept(accept)] = commit(&effects) else { panic!("{effects:?}") };
    (accept.task.id, run(engine, now, [written(commit(&effects))]))
}

fn found(ids: &[Uuid]) -> Input<u32, u32> {
    let waiting =
        |id: &Uuid| Waiting { id: *id, service: Arc::from("s"), attempts: 0, run_limit: None, trace: None, body: None };
    Input::Reloaded(Ok(ids.iter().map(waiting).collect()))
}

fn asks_the_store(effects: &Effects) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Reload))
}

fn not_written() -> Input<u32, u32> {
    Input::Committed(Err(CommitFault::NotWritten("away".into())))
}

#[test]
fn without_its_lease_a_gateway_accepts_and_does_not_publish() {
    let mut engine = engine();
    run(&mut engine, 0, [Input::Lease(None)]);
    let (id, effects) = accepted(&mut engine, 0);
    assert!(matches!(effects.as_slice(), [Effect::Answer(1, Answer::Accepted(told))] if *told == id));
    let effects = run(&mut engine, 1, [Input::Lease(Some(0))]);
    assert_eq!(published(&effects), [(id, 0)], "held again in the same term: nobody can have taken it");
}

#[test]
fn in_a_new_term_what_is_at_hand_is_compared_before_it_is_published() {
    let mut engine = engine();
    run(&mut engine, 0, [Input::Lease(None)]);
    let (ours, taken) = (accepted(&mut engine, 0).0, accepted(&mut engine, 0).0);
    let effects = run(&mut engine, 1, [Input::Lease(Some(1))]);
    assert!(matches!(effects.as_slice(), [Effect::Reload]));
    assert!(published(&run(&mut engine, 2, [Input::Tick, Input::Connected])).is_empty(), "not before the answer");
    let effects = run(&mut engine, 3, [found(&[ours])]);
    assert!(asks_the_store(&effects), "connected meanwhile: compared once more");
    let effects = run(&mut engine, 4, [found(&[ours])]);
    assert_eq!(published(&effects), [(ours, 1)]);
    assert!(run(&mut engine, 5, [Input::Landed(taken, Fate::Sent)]).is_empty());
    assert_eq!(engine.outbox_len(), 1, "its place is free");
}

#[test]
fn what_is_ours_and_not_at_hand_is_taken_up_as_sent_before() {
    let mut engine = engine();
    let lost = Uuid::now_v7();
    run(&mut engine, 0, [Input::Lease(Some(1))]);
    let effects = run(&mut engine, 1, [found(&[lost])]);
    assert!(matches!(commit(&effects), [Write::Apply { id, fact: Fact::Tried { attempts: 2 }, .. }] if *id == lost));
}

#[test]
fn what_is_under_way_stays_so_and_what_was_confirmed_is_not_sent_again() {
    let mut engine = engine();
    let (flying, effects) = accepted(&mut engine, 0);
    assert_eq!(published(&effects), [(flying, 0)]);
    let (confirmed, _) = accepted(&mut engine, 0);
    // Confirmed, and the store does not know it yet.
    run(&mut engine, 0, [Input::Landed(confirmed, Fate::Sent)]);
    assert!(asks_the_store(&run(&mut engine, 0, [Input::Lease(Some(1))])));
    let effects = run(&mut engine, 0, [found(&[flying, confirmed])]);
    assert!(published(&effects).is_empty(), "{effects:?}");
    assert_eq!(engine.outbox_len(), 1);
    let effects = run(&mut engine, 100, [Input::Landed(flying, Fate::Sent)]);
    assert_eq!(commit(&effects).len(), 2);
}

#[test]
fn what_comes_while_the_store_is_asked_is_not_dropped() {
    let mut engine = engine();
    run(&mut engine, 0, [Input::Lease(Some(1))]);
    let adopted = Uuid::now_v7();
    let waiting =
        Waiting { id: adopted, service: Arc::from("s"), attempts: 0, run_limit: None, trace: None, body: None };
    run(&mut engine, 0, [Input::Restored(waiting.clone()), Input::Restored(waiting)]);
    assert_eq!(engine.outbox_len(), 1, "told twice, it is there once");
    let effects = run(&mut engine, 1, [found(&[])]);
    assert_eq!(published(&effects), [(adopted, 1)]);
}

#[test]
fn no_commit_is_under_way_while_the_store_is_asked() {
    let mut engine = engine();
    let first = run(&mut engine, 0, [ask(1)]);
    assert!(run(&mut engine, 0, [Input::Lease(Some(1))]).is_empty(), "the commit ends first");
    let effects = run(&mut engine, 1, [written(commit(&first)), ask(2)]);
    assert!(asks_the_store(&effects) && !effects.iter().any(|effect| matches!(effect, Effect::Commit(_))));
    assert_eq!(engine.next_tick(), None, "it waits for the answer, and not for a time");
    let effects = run(&mut engine, 2, [Input::Reloaded(Err("away".into()))]);
    assert!(published(&effects).is_empty());
    assert_eq!(commit(&effects).len(), 1, "what clients wait for goes on");
    run(&mut engine, 2, [not_written()]);
    let again = engine.next_tick().expect("it is asked again");
    assert_eq!(again, 1_002);
    assert!(asks_the_store(&run(&mut engine, again, [Input::Tick])));
}

#[test]
fn a_broker_that_is_back_gets_what_is_still_to_be_sent() {
    let mut engine = engine();
    let (id, _) = accepted(&mut engine, 0);
    run(&mut engine, 0, [Input::Landed(id, Fate::NotSent)]);
    let effects = run(&mut engine, 5_000, [Input::Connected]);
    assert!(asks_the_store(&effects) && published(&effects).is_empty());
    assert!(published(&run(&mut engine, 5_000, [found(&[])])).is_empty(), "cancelled at another gateway");
    assert_eq!((engine.outbox_len(), engine.next_tick()), (0, None));
}

#[test]
fn it_is_known_what_never_reached_the_broker() {
    let mut engine = engine();
    let ids: Vec<_> = (0..3).map(|_| accepted(&mut engine, 0).0).collect();
    run(&mut engine, 0, [Input::Landed(ids[0], Fate::NotSent), Input::Landed(ids[1], Fate::Unknown("?".into()))]);
    assert_eq!(engine.untried(), [ids[0]], "of one nobody knows, one is under way");
}

#[test]
fn a_message_whose_store_has_settled_it_gives_its_place_back() {
    let mut engine = engine();
    let (id, _) = accepted(&mut engine, 0);
    run(&mut engine, 0, [Input::Landed(id, Fate::Unroutable("no queue".into()))]);
    let due = engine.next_tick().expect("it is tried again");
    run(&mut engine, due, [Input::Tick]);
    // Cancelled through another gateway meanwhile: there is no body to send.
    run(&mut engine, due, [Input::Landed(id, Fate::Unknown("not in the store".into()))]);
    let due = engine.next_tick().expect("it is looked for");
    let effects = run(&mut engine, due, [Input::Tick]);
    assert!(matches!(commit(&effects), [Write::Apply { fact: Fact::Tried { .. }, .. }]));
    let mut task = Task::new(id, "s", 0);
    apply(&mut task, &Fact::Cancelled, 1);
    let settled = Written::Applied(task, Change::default());
    assert!(run(&mut engine, due, [Input::Committed(Ok(vec![settled]))]).is_empty());
    assert_eq!((engine.outbox_len(), engine.next_tick()), (0, None));
}

#[test]
fn a_confirm_that_could_not_be_written_is_written_later() {
    let mut engine = engine();
    let (id, _) = accepted(&mut engine, 0);
    run(&mut engine, 0, [Input::Landed(id, Fate::Sent)]);
    let mut now = engine.next_tick().expect("it is due");
    for _ in 0..3 {
        let effects = run(&mut engine, now, [Input::Tick]);
        assert!(matches!(commit(&effects), [Write::Apply { fact: Fact::Sent { attempts: 1 }, .. }]));
        assert!(run(&mut engine, now, [not_written()]).is_empty(), "it rests before it is tried again");
        let next = engine.next_tick().expect("it is tried again");
        assert!(next >= now + 1_000);
        now = next;
    }
    let effects = run(&mut engine, now, [Input::Tick]);
    run(&mut engine, now, [written(commit(&effects))]);
    assert_eq!((engine.queued(), engine.next_tick()), (0, None));
}

#[test]
fn nobody_waits_long_for_a_commit_that_does_not_end() {
    let mut engine = engine();
    let effects = run(&mut engine, 0, [ask(1)]);
    run(&mut engine, 10, [ask(2), Input::Cancel(3, Uuid::nil(), Arc::from("s"))]);
    let patience = Limits::default().store_patience;
    let last_look = engine.next_tick().unwrap();
    assert!(last_look < patience && run(&mut engine, last_look, [Input::Tick]).is_empty());
    assert_eq!(engine.next_tick(), Some(patience));
    let told = run(&mut engine, patience, [Input::Tick]);
    assert!(matches!(
        told.as_slice(),
        [
            Effect::Answer(1, Answer::Unknown(_)),
            Effect::Answer(2, Answer::NotWritten(_)),
            Effect::Answer(3, Answer::NotWritten(_))
        ]
    ));
    assert_eq!(engine.next_tick(), None);
    let told = run(&mut engine, patience + 1, [ask(4)]);
    assert!(matches!(told.as_slice(), [Effect::Answer(4, Answer::NotWritten(_))]), "told at once");
    // It was written after all: the task is sent, and its client is not told twice.
    let effects = run(&mut engine, patience + 2, [written(commit(&effects))]);
    assert!(matches!(effects.as_slice(), [Effect::Publish(_)]), "{effects:?}");
    assert_eq!(engine.outbox_len(), 1);
}

/// The process was stopped, or the clock set forward: the store has had no time to answer.
#[test]
fn a_commit_is_waited_for_after_a_time_in_which_nothing_could_be_heard() {
    let mut engine = engine();
    let effects = run(&mut engine, 0, [ask(1)]);
    let late = 100 * Limits::default().store_patience;
    assert!(run(&mut engine, late, [Input::Tick]).is_empty(), "nobody is told that it takes too long");
    let told = run(&mut engine, late + 1, [ask(2), written(commit(&effects))]);
    assert!(told.iter().any(|effect| matches!(effect, Effect::Answer(1, Answer::Accepted(_)))), "{told:?}");
    assert!(!told.iter().any(|effect| matches!(effect, Effect::Answer(2, Answer::NotWritten(_)))), "{told:?}");
}
