//! What the engine owes to clients that ask twice, or leave: the test plays the store.

use crate::*;
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

type TestEngine = Engine<u32, u32>;
type Effects = Vec<Effect<u32, u32>>;

fn asked(subject: &str, key: Option<&str>) -> Box<Accept> {
    let key = key.map(|key| IdempotencyKey { subject: Some(subject.into()), key: key.into(), fingerprint: [1; 32] });
    Box::new(Accept { task: Task::new(Uuid::now_v7(), "s", 0), body: Bytes::from_static(b"[]"), key })
}

fn submit(engine: &mut TestEngine, client: u32, key: Option<&str>) -> Effects {
    let mut effects = Vec::new();
    engine.step(0, Input::Submit(client, asked("ann", key)), &mut effects);
    effects
}

fn run(engine: &mut TestEngine, now: Millis, input: Input<u32, u32>) -> Effects {
    let mut effects = Vec::new();
    engine.step(now, input, &mut effects);
    engine.flush(now, &mut effects);
    effects
}

fn commit(engine: &mut TestEngine) -> Vec<Write> {
    let mut effects = Vec::new();
    engine.flush(0, &mut effects);
    let commits = effects.into_iter().filter_map(|effect| match effect {
        Effect::Commit(writes) => Some(writes),
        _ => None,
    });
    commits.flatten().collect()
}

fn accepted(writes: &[Write]) -> Input<u32, u32> {
    let written = writes.iter().map(|write| match write {
        Write::Accept(accept) => Written::Accepted(accept.task.clone()),
        other => panic!("{other:?}"),
    });
    Input::Committed(Ok(written.collect()))
}

fn is_in_progress(effects: &Effects) -> bool {
    matches!(effects.as_slice(), [Effect::Answer(_, Answer::InProgress)])
}

#[test]
fn a_key_whose_request_is_being_written_is_in_progress_until_that_is_known() {
    let mut engine = TestEngine::new(Limits::default());
    assert!(submit(&mut engine, 1, Some("k")).is_empty());
    assert!(is_in_progress(&submit(&mut engine, 2, Some("k"))), "queued");
    assert!(submit(&mut engine, 3, Some("other")).is_empty());
    let mut effects = Vec::new();
    engine.step(0, Input::Submit(4, asked("bob", Some("k"))), &mut effects);
    assert!(effects.is_empty(), "another subject's key is another one");
    let writes = commit(&mut engine);
    assert!(is_in_progress(&submit(&mut engine, 5, Some("k"))), "being committed");
    run(&mut engine, 0, accepted(&writes));
    assert!(submit(&mut engine, 6, Some("k")).is_empty(), "the store knows the key now");
    // Not written: then nothing is known of it.
    commit(&mut engine);
    run(&mut engine, 0, Input::Committed(Err(CommitFault::NotWritten("full".into()))));
    assert!(submit(&mut engine, 7, Some("k")).is_empty());
}

#[test]
fn a_key_is_free_again_when_its_request_was_refused() {
    let mut engine = TestEngine::new(Limits { outbox_depth: 2, ..Limits::default() });
    assert!(submit(&mut engine, 1, None).is_empty());
    // One service may hold half: this one waits for a place.
    assert!(submit(&mut engine, 2, Some("k")).is_empty());
    assert!(is_in_progress(&submit(&mut engine, 3, Some("k"))), "it waits");
    let effects = run(&mut engine, Limits::default().patience, Input::Tick);
    assert!(matches!(effects[0], Effect::Answer(2, Answer::Busy)), "{effects:?}");
    assert!(submit(&mut engine, 4, Some("k")).is_empty());
    engine.drop_gone(|client| *client == 4);
    assert!(submit(&mut engine, 5, Some("k")).is_empty(), "its client has left");
}

#[test]
fn what_a_client_that_left_has_submitted_is_not_accepted_behind_its_back() {
    let mut engine = TestEngine::new(Limits { outbox_depth: 6, ..Limits::default() });
    for client in 1..=3 {
        submit(&mut engine, client, Some(&client.to_string()));
    }
    submit(&mut engine, 4, None);
    engine.drop_gone(|client| *client == 2);
    let writes = commit(&mut engine);
    assert_eq!(writes.len(), 3, "the one that waited for a place has it now");
    // Under way already: nobody can take that back.
    engine.drop_gone(|client| *client == 1);
    let effects = run(&mut engine, 0, accepted(&writes));
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Publish(_))).count(), 3);
    assert!(submit(&mut engine, 5, Some("2")).is_empty(), "its key is free");
    assert_eq!(engine.outbox_len(), 3);
}

#[test]
fn other_writes_keep_their_order_when_a_client_has_left() {
    let mut engine = TestEngine::new(Limits::default());
    let (id, service) = (Uuid::now_v7(), Arc::<str>::from("s"));
    submit(&mut engine, 1, None);
    let progress = |current| Report { current: Some(current), ..Report::new(State::Progress, Source::Queue) };
    for current in [1.0, 2.0] {
        let heard = Heard { id, fact: Fact::Heard(progress(current)), receipt: None };
        engine.step(0, Input::Heard(heard), &mut Vec::new());
        engine.drop_gone(|client| *client == 1);
    }
    engine.step(0, Input::Cancel(2, id, service), &mut Vec::new());
    engine.drop_gone(|client| *client == 2);
    let writes = commit(&mut engine);
    let facts: Vec<_> = writes
        .iter()
        .map(|write| match write {
            Write::Apply { fact, .. } => fact.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [Fact::Heard(progress(1.0)), Fact::Heard(progress(2.0)), Fact::Cancelled];
    assert_eq!(facts, expected, "what a client cancels is cancelled, whether it waits or not");
}
