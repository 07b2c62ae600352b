//! The engine's decisions, without a store or a broker: the test plays both.

use crate::*;
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

type TestEngine = Engine<u32, u32>;
type Effects = Vec<Effect<u32, u32>>;

fn accept(service: &str) -> Box<Accept> {
    Box::new(Accept { task: Task::new(Uuid::now_v7(), service, 0), body: Bytes::from_static(b"[]"), key: None })
}

fn run(engine: &mut TestEngine, now: Millis, inputs: impl IntoIterator<Item = Input<u32, u32>>) -> Effects {
    let mut effects = Vec::new();
    for input in inputs {
        engine.step(now, input, &mut effects);
    }
    engine.flush(now, &mut effects);
    effects
}

/// What a store without faults answers: every task is PENDING before.
fn store(writes: &[Write], now: Millis) -> Vec<Written> {
    let answer = |write: &Write| match write {
        Write::Accept(accept) => Written::Accepted(accept.task.clone()),
        Write::Apply { id, fact, .. } => {
            let mut task = Task::new(*id, "s", 0);
            let change = apply(&mut task, fact, now);
            Written::Applied(task, change)
        }
        Write::Claim { .. } => Written::NothingDue,
    };
    writes.iter().map(answer).collect()
}

fn commit(effects: &Effects) -> &[Write] {
    let commit = effects.iter().find_map(|effect| match effect {
        Effect::Commit(writes) => Some(writes.as_slice()),
        _ => None,
    });
    commit.expect("a commit")
}

fn published(effects: &Effects) -> Vec<(Uuid, u32)> {
    let publish = |effect: &Effect<u32, u32>| match effect {
        Effect::Publish(publish) => Some((publish.message.id, publish.attempt)),
        _ => None,
    };
    effects.iter().filter_map(publish).collect()
}

/// Submits one task and has it committed; gives its uuid and what followed the commit.
fn submit(engine: &mut TestEngine, now: Millis) -> (Uuid, Effects) {
    let accept = accept("s");
    let id = accept.task.id;
    let effects = run(engine, now, [Input::Submit(1, accept)]);
    let written = store(commit(&effects), now);
    (id, run(engine, now, [Input::Committed(Ok(written))]))
}

#[test]
fn nothing_is_answered_or_published_before_the_commit() {
    let mut engine = TestEngine::new(Limits::default());
    let accept = accept("s");
    let id = accept.task.id;
    let effects = run(&mut engine, 0, [Input::Submit(7, accept)]);
    assert!(matches!(effects.as_slice(), [Effect::Commit(writes)] if writes.len() == 1));
    let effects = run(&mut engine, 0, [Input::Committed(Ok(store(commit(&effects), 0)))]);
    assert!(matches!(&effects[0], Effect::Answer(7, Answer::Accepted(told)) if *told == id));
    assert_eq!(published(&effects), [(id, 1)]);
}

#[test]
fn what_comes_during_a_commit_shares_the_next_one() {
    let mut engine = TestEngine::new(Limits::default());
    let first = run(&mut engine, 0, [Input::Submit(1, accept("s"))]);
    assert!(run(&mut engine, 0, (2..=50).map(|client| Input::Submit(client, accept("s")))).is_empty());
    let effects = run(&mut engine, 1, [Input::Committed(Ok(store(commit(&first), 1)))]);
    assert_eq!(commit(&effects).len(), 49);
}

#[test]
fn an_unknown_outcome_is_published_again_and_counted() {
    let mut engine = TestEngine::new(Limits::default());
    let (id, effects) = submit(&mut engine, 0);
    assert_eq!(published(&effects), [(id, 1)]);
    assert!(run(&mut engine, 1, [Input::Landed(id, Fate::Unknown("connection lost".into()))]).is_empty());
    let due = engine.next_tick().expect("a retry is due");
    assert!((200..=320).contains(&due), "backed off: {due}");
    assert!(published(&run(&mut engine, due - 1, [Input::Tick])).is_empty());
    let effects = run(&mut engine, due, [Input::Tick]);
    assert_eq!(published(&effects), [], "it is known to be sent again before it is");
    assert!(matches!(commit(&effects), [Write::Apply { fact: Fact::Tried { attempts: 2 }, .. }]));
    let effects = run(&mut engine, due, [Input::Committed(Ok(store(commit(&effects), due)))]);
    assert_eq!(published(&effects), [(id, 2)]);
}

#[test]
fn what_never_left_or_came_back_is_not_an_attempt() {
    let mut engine = TestEngine::new(Limits::default());
    let (id, _) = submit(&mut engine, 0);
    run(&mut engine, 1, [Input::Landed(id, Fate::NotSent)]);
    assert_eq!(published(&run(&mut engine, 2, [Input::Connected])), [(id, 1)]);
    run(&mut engine, 3, [Input::Landed(id, Fate::Unroutable("no queue".into()))]);
    assert_eq!(published(&run(&mut engine, 100_000, [Input::Tick])), [(id, 1)]);
}

#[test]
fn a_confirm_settles_lazily_and_once() {
    let mut engine = TestEngine::new(Limits::default());
    let (id, _) = submit(&mut engine, 0);
    assert_eq!(engine.outbox_len(), 1);
    assert!(run(&mut engine, 1, [Input::Landed(id, Fate::Sent)]).is_empty(), "no fsync of its own at once");
    assert_eq!(engine.outbox_len(), 0);
    assert!(run(&mut engine, 2, [Input::Landed(id, Fate::Unknown("late".into()))]).is_empty());
    let due = engine.next_tick().expect("the settle is due");
    let effects = run(&mut engine, due, [Input::Tick]);
    assert!(matches!(commit(&effects), [Write::Apply { fact: Fact::Sent { attempts: 1 }, .. }]));
}

#[test]
fn a_result_is_acknowledged_after_its_commit_and_kept_until_there_is_one() {
    let mut engine = TestEngine::new(Limits::default());
    let heard = |receipt| {
        let fact = Fact::Heard(Report::new(State::Success, Source::Queue));
        Input::Heard(Heard { id: Uuid::nil(), fact, receipt: Some(receipt) })
    };
    let effects = run(&mut engine, 0, [heard(1)]);
    assert!(matches!(effects.as_slice(), [Effect::Commit(_)]), "no ack yet");
    let effects = run(&mut engine, 0, [Input::Committed(Ok(store(commit(&effects), 0)))]);
    assert!(matches!(effects.as_slice(), [Effect::Ack(1)]));
    run(&mut engine, 0, [heard(2)]);
    let effects = run(&mut engine, 0, [Input::Committed(Err(CommitFault::NotWritten("disk full".into())))]);
    assert!(effects.is_empty(), "it rests: {effects:?}");
    let again = engine.next_tick().expect("it is written later");
    let effects = run(&mut engine, again, [Input::Tick]);
    assert_eq!(commit(&effects).len(), 1);
    // Nobody knows what became of it: the next process is told again.
    let effects = run(&mut engine, again, [Input::Committed(Err(CommitFault::Unknown("fsync failed".into())))]);
    assert!(matches!(effects.as_slice(), [Effect::Return(2), Effect::Stop(_)]));
}

#[test]
fn what_was_not_written_is_written_before_what_came_later_of_the_same_task() {
    let mut engine = TestEngine::new(Limits::default());
    let heard = |id: u128, state: State, receipt| {
        let fact = Fact::Heard(Report::new(state, Source::Queue));
        Input::Heard(Heard { id: Uuid::from_u128(id), fact, receipt: Some(receipt) })
    };
    let told = |effects: &Effects| {
        let told = |write: &Write| match write {
            Write::Apply { id, fact: Fact::Heard(report), .. } => (id.as_u128(), report.state.name().to_owned()),
            other => panic!("{other:?}"),
        };
        commit(effects).iter().map(told).collect::<Vec<_>>()
    };
    let first = run(&mut engine, 0, [heard(1, State::Started, 1)]);
    assert_eq!(told(&first), [(1, "STARTED".to_owned())]);
    // While it was tried and while it rests, more comes: of this task it waits behind, of others it does not.
    run(&mut engine, 0, [heard(1, State::Progress, 2), heard(2, State::Started, 3)]);
    let effects = run(&mut engine, 0, [Input::Committed(Err(CommitFault::NotWritten("disk full".into())))]);
    assert_eq!(told(&effects), [(2, "STARTED".to_owned())]);
    run(&mut engine, 1, [Input::Committed(Ok(store(commit(&effects), 1)))]);
    assert!(run(&mut engine, 2, [heard(1, State::Success, 4)]).is_empty());
    let again = engine.next_tick().expect("they are written later");
    let effects = run(&mut engine, again, [Input::Tick]);
    assert_eq!(told(&effects), ["STARTED", "PROGRESS", "SUCCESS"].map(|state| (1, state.to_owned())));
    let effects = run(&mut engine, again, [Input::Committed(Ok(store(commit(&effects), again)))]);
    assert!(matches!(effects.as_slice(), [Effect::Ack(1), Effect::Ack(2), Effect::Ack(4)]));
    assert_eq!((engine.queued(), engine.next_tick()), (0, None));
}

#[test]
fn what_is_told_again_while_the_store_is_away_rests_once() {
    let mut engine = TestEngine::new(Limits::default());
    let full = || Input::Committed(Err(CommitFault::NotWritten("full".into())));
    let heard = |state: State, redelivered, receipt| {
        let report = Report { redelivered, ..Report::new(state, Source::Queue) };
        Input::Heard(Heard { id: Uuid::nil(), fact: Fact::Heard(report), receipt: Some(receipt) })
    };
    let late = |receipt| {
        let fact = Fact::Late { began: 0, ahead: 0 };
        Input::Heard(Heard { id: Uuid::nil(), fact, receipt: Some(receipt) })
    };
    // Two runs from one process begin with the same words.
    run(&mut engine, 0, [heard(State::Started, false, 0), heard(State::Started, false, 1), late(2)]);
    run(&mut engine, 0, [full()]);
    for connection in 1..=1_000 {
        let now = engine.next_tick().expect("it is tried again");
        let tried = run(&mut engine, now, [Input::Tick]);
        assert_eq!(commit(&tried).len(), 3);
        // While it is tried, and while it rests.
        run(&mut engine, now, [heard(State::Started, true, 10 * connection), late(10 * connection + 1)]);
        run(&mut engine, now, [full()]);
        run(&mut engine, now, [heard(State::Started, true, 10 * connection + 2), late(10 * connection + 3)]);
    }
    let now = engine.next_tick().expect("it is tried again");
    let tried = run(&mut engine, now, [Input::Tick]);
    let effects = run(&mut engine, now, [Input::Committed(Ok(store(commit(&tried), now)))]);
    let acks: Vec<_> = effects.iter().filter_map(|e| if let Effect::Ack(n) = e { Some(*n) } else { None }).collect();
    assert!([10_000, 10_001, 10_002, 10_003].iter().all(|last| acks.contains(last)) && acks.len() < 20, "{acks:?}");
}

#[test]
fn of_one_batch_only_the_last_progress_is_written_and_every_receipt_is_given() {
    let mut engine = TestEngine::new(Limits::default());
    let id = Uuid::nil();
    let heard = |state: State, receipt| {
        let report = Report { current: Some(f64::from(receipt)), ..Report::new(state, Source::Queue) };
        Input::Heard(Heard { id, fact: Fact::Heard(report), receipt: Some(receipt) })
    };
    let blocked = run(&mut engine, 0, [Input::Submit(1, accept("s"))]);
    run(
        &mut engine,
        0,
        [
            heard(State::Progress, 1),
            heard(State::Progress, 2),
            heard(State::Started, 3),
            heard(State::Progress, 4),
            heard(State::Success, 5),
        ],
    );
    let effects = run(&mut engine, 0, [Input::Committed(Ok(store(commit(&blocked), 0)))]);
    assert_eq!(commit(&effects).len(), 4, "1 gave way to 2; what lies between keeps its place");
    let effects = run(&mut engine, 0, [Input::Committed(Ok(store(commit(&effects), 0)))]);
    let acks: Vec<_> = effects.iter().map(|e| if let Effect::Ack(n) = e { *n } else { 0 }).collect();
    assert_eq!(acks, [1, 2, 3, 4, 5]);
}

#[test]
fn a_full_outbox_delays_then_refuses_and_one_queue_holds_half() {
    let queues = [("same".into(), "s".into())].into();
    let mut engine = TestEngine::new(Limits { outbox_depth: 4, queues, ..Limits::default() });
    let services = [(1, "s"), (2, "same"), (3, "s")];
    let effects = run(&mut engine, 0, services.map(|(client, service)| Input::Submit(client, accept(service))));
    assert_eq!(commit(&effects).len(), 2, "half of four");
    let written = store(commit(&effects), 0);
    run(&mut engine, 0, [Input::Committed(Ok(written))]);
    assert_eq!(engine.next_tick(), Some(1_000));
    let effects = run(&mut engine, 1, [Input::Submit(4, accept("other"))]);
    assert_eq!(commit(&effects).len(), 1, "another queue has its own half");
    let effects = run(&mut engine, 1_000, [Input::Tick]);
    assert!(matches!(effects.as_slice(), [Effect::Answer(3, Answer::Busy)]));
}

#[test]
fn after_a_reload_services_share_the_half_of_their_queue() {
    let mut engine = TestEngine::new(Limits { outbox_depth: 4, ..Limits::default() });
    let services = [(1, "s"), (2, "t")];
    let effects = run(&mut engine, 0, services.map(|(client, service)| Input::Submit(client, accept(service))));
    let written = store(commit(&effects), 0);
    run(&mut engine, 0, [Input::Committed(Ok(written))]);
    run(&mut engine, 1, [Input::Queues([("t".into(), "s".into())].into())]);
    assert!(run(&mut engine, 1, [Input::Submit(3, accept("t"))]).is_empty(), "half of four, one for each service");
    let effects = run(&mut engine, 2, [Input::Queues([].into())]);
    assert_eq!(commit(&effects).len(), 1);
}

#[test]
fn a_freed_place_goes_to_who_waits() {
    let mut engine = TestEngine::new(Limits { outbox_depth: 2, ..Limits::default() });
    let (id, _) = submit(&mut engine, 0);
    assert!(run(&mut engine, 1, [Input::Submit(2, accept("s"))]).is_empty());
    let effects = run(&mut engine, 2, [Input::Landed(id, Fate::Sent)]);
    assert!(commit(&effects).iter().any(|write| matches!(write, Write::Accept(_))));
}

#[test]
fn a_cancel_before_the_message_left_us_tells_no_worker() {
    let mut engine = TestEngine::new(Limits { window: 0, ..Limits::default() });
    let (id, effects) = submit(&mut engine, 0);
    assert!(published(&effects).is_empty());
    let effects = run(&mut engine, 1, [Input::Cancel(9, id, Arc::from("s"))]);
    let effects = run(&mut engine, 1, [Input::Committed(Ok(store(commit(&effects), 1)))]);
    assert!(matches!(effects.as_slice(), [Effect::Answer(9, Answer::Cancelled(task))] if task.state == State::Revoked));
    assert_eq!(engine.outbox_len(), 0);
}

#[test]
fn a_cancel_of_a_message_that_left_us_tells_the_workers() {
    let mut engine = TestEngine::new(Limits::default());
    let (id, _) = submit(&mut engine, 0);
    let effects = run(&mut engine, 1, [Input::Cancel(9, id, Arc::from("s"))]);
    let effects = run(&mut engine, 1, [Input::Committed(Ok(store(commit(&effects), 1)))]);
    assert!(matches!(effects.as_slice(), [Effect::Revoke(told, _), Effect::Answer(9, _)] if *told == id));
    assert!(run(&mut engine, 2, [Input::Landed(id, Fate::Unknown("lost".into()))]).is_empty(), "never sent again");
    assert_eq!(engine.next_tick(), None);
}

#[test]
fn a_store_whose_outcome_is_unknown_stops_the_engine() {
    let mut engine = TestEngine::new(Limits::default());
    run(&mut engine, 0, [Input::Submit(1, accept("s"))]);
    run(&mut engine, 0, [Input::Submit(2, accept("s"))]);
    let effects = run(&mut engine, 0, [Input::Committed(Err(CommitFault::Unknown("fsync failed".into())))]);
    assert!(matches!(&effects[0], Effect::Answer(1, Answer::Unknown(_))), "it may be written");
    assert!(matches!(&effects[1], Effect::Answer(2, Answer::NotWritten(_))), "it was never tried");
    assert!(matches!(&effects[2], Effect::Stop(_)));
    let effects = run(&mut engine, 1, [Input::Submit(3, accept("s"))]);
    assert!(matches!(effects.as_slice(), [Effect::Answer(3, Answer::NotWritten(_))]));
}

#[test]
fn a_full_disk_gives_the_places_back() {
    let mut engine = TestEngine::new(Limits::default());
    run(&mut engine, 0, [Input::Submit(1, accept("s"))]);
    let effects = run(&mut engine, 0, [Input::Committed(Err(CommitFault::NotWritten("full".into())))]);
    assert!(matches!(effects.as_slice(), [Effect::Answer(1, Answer::NotWritten(_))]));
    assert_eq!(engine.outbox_len(), 0);
}

#[test]
fn with_the_store_as_queue_workers_are_told_and_nothing_is_published() {
    let mut engine = TestEngine::new(Limits { store_is_queue: true, outbox_depth: 1, ..Limits::default() });
    for _ in 0..3 {
        let (_, effects) = submit(&mut engine, 5);
        assert!(matches!(effects.as_slice(), [Effect::Answer(1, Answer::Accepted(_)), Effect::Due(_, 5)]));
    }
}

#[test]
fn a_result_of_a_stranger_is_told_and_acknowledged() {
    let mut engine = TestEngine::new(Limits::default());
    let id = Uuid::now_v7();
    let fact = Fact::Heard(Report::new(State::Success, Source::Queue));
    run(&mut engine, 0, [Input::Heard(Heard { id, fact, receipt: Some(7) })]);
    let effects = run(&mut engine, 0, [Input::Committed(Ok(vec![Written::NoTask(id)]))]);
    assert!(matches!(effects.as_slice(), [Effect::Stray(told), Effect::Ack(7)] if *told == id), "{effects:?}");
}

fn restored(id: Uuid, attempts: u32) -> Input<u32, u32> {
    Input::Restored(Waiting { id, service: Arc::from("s"), attempts, run_limit: None, trace: None, body: None })
}

#[test]
fn what_may_be_with_the_broker_is_sent_again_only_once_the_store_counts_it() {
    let mut engine = TestEngine::new(Limits::default());
    let id = Uuid::now_v7();
    let effects = run(&mut engine, 0, [restored(id, 1)]);
    assert!(matches!(effects.as_slice(), [Effect::Commit(writes)]
        if matches!(writes[..], [Write::Apply { fact: Fact::Tried { attempts: 2 }, .. }])));
    let full = || Input::Committed(Err(CommitFault::NotWritten("full".into())));
    assert!(run(&mut engine, 1, [full()]).is_empty(), "not counted, not sent");
    let again = engine.next_tick().expect("it is tried again");
    let effects = run(&mut engine, again, [Input::Tick]);
    let written = store(commit(&effects), again);
    let effects = run(&mut engine, again, [Input::Committed(Ok(written))]);
    assert_eq!(published(&effects), [(id, 2)]);
    // It came back: known not to have arrived. The same attempt need not be counted twice.
    let effects = run(&mut engine, again, [Input::Landed(id, Fate::Unroutable("no queue".into()))]);
    assert!(effects.is_empty());
    let due = engine.next_tick().expect("a retry is due");
    assert_eq!(published(&run(&mut engine, due, [Input::Tick])), [(id, 2)]);
}

#[test]
fn what_was_settled_while_it_was_counted_is_not_sent() {
    let mut engine = TestEngine::new(Limits::default());
    let id = Uuid::now_v7();
    run(&mut engine, 0, [restored(id, 1)]);
    let mut task = Task::new(id, "s", 0);
    apply(&mut task, &Fact::Heard(Report::new(State::Started, Source::Queue)), 0);
    let change = apply(&mut task, &Fact::Tried { attempts: 2 }, 1);
    let effects = run(&mut engine, 1, [Input::Committed(Ok(vec![Written::Applied(task, change)]))]);
    assert!(effects.is_empty());
    assert_eq!((engine.outbox_len(), engine.next_tick()), (0, None));
}

#[test]
fn an_orphan_is_handed_back_however_often_the_disk_is_full() {
    let mut engine = TestEngine::new(Limits { store_is_queue: true, ..Limits::default() });
    let fact = Fact::Requeued { due: 0, why: Raised::new("WorkerLostError", "gone"), cause: Cause::Lost };
    let heard = Heard { id: Uuid::nil(), fact: fact.clone(), receipt: None };
    run(&mut engine, 0, [Input::Heard(heard)]);
    for _ in 0..3 {
        run(&mut engine, 0, [Input::Committed(Err(CommitFault::NotWritten("full".into())))]);
        let again = engine.next_tick().expect("nobody else would tell it again");
        let effects = run(&mut engine, again, [Input::Tick]);
        assert!(matches!(commit(&effects), [Write::Apply { fact: told, .. }] if *told == fact));
    }
}

#[test]
fn nobody_waits_for_an_engine_that_has_stopped() {
    let mut engine = TestEngine::new(Limits::default());
    run(&mut engine, 0, [Input::Submit(1, accept("s"))]);
    run(&mut engine, 0, [Input::Committed(Err(CommitFault::Unknown("fsync failed".into())))]);
    let fact = Fact::Heard(Report::new(State::Success, Source::Queue));
    let asks = [
        Input::Cancel(2, Uuid::nil(), Arc::from("s")),
        Input::Claim(3, Arc::from("s")),
        Input::Heard(Heard { id: Uuid::nil(), fact, receipt: Some(4) }),
    ];
    let effects = run(&mut engine, 1, asks);
    assert!(matches!(
        effects.as_slice(),
        [Effect::Answer(2, Answer::NotWritten(_)), Effect::Answer(3, Answer::NotWritten(_)), Effect::Return(4)]
    ));
    assert_eq!((engine.queued(), engine.next_tick()), (0, None));
}

#[test]
fn waits_go_on_when_the_clock_is_set_back() {
    const HOUR: Millis = 3_600_000;
    let mut engine = TestEngine::new(Limits { outbox_depth: 2, ..Limits::default() });
    let (id, _) = submit(&mut engine, HOUR);
    run(&mut engine, HOUR, [Input::Landed(id, Fate::Unknown("lost".into())), Input::Submit(2, accept("s"))]);
    let effects = run(&mut engine, 400, [Input::Tick]);
    assert!(effects.is_empty(), "nothing is due yet");
    let due = engine.next_tick().expect("a retry is due");
    assert!(due < 400 + 1_000, "{due}");
    let effects = run(&mut engine, 400 + 1_000, [Input::Tick]);
    assert!(matches!(effects[0], Effect::Answer(2, Answer::Busy)));
    assert!(matches!(commit(&effects), [Write::Apply { fact: Fact::Tried { attempts: 2 }, .. }]));
}

#[test]
fn the_progress_of_two_runs_is_not_taken_for_that_of_one() {
    let mut engine = TestEngine::new(Limits::default());
    let heard = |host: &str, receipt| {
        let run = Some(Run { host: host.into(), start: "t".into() });
        let report = Report { run, current: Some(10.0), ..Report::new(State::Progress, Source::Queue) };
        Input::Heard(Heard { id: Uuid::nil(), fact: Fact::Heard(report), receipt: Some(receipt) })
    };
    run(&mut engine, 0, [heard("a", 1), heard("a", 2), heard("b", 3)]);
    assert_eq!(engine.queued(), 2);
}
