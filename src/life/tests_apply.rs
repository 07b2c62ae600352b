//! The rules, one a test.

use crate::{CANCELLED, Cause, Delivery, Fact, Raised, Report, Run, Source, State, Task, apply};
use uuid::Uuid;

fn task() -> Task {
    Task::new(Uuid::nil(), "s", 0)
}

fn heard(state: State) -> Fact {
    Fact::Heard(Report::new(state, Source::Queue))
}

fn progress(current: f64, host: &str) -> Report {
    let run = Some(Run { host: host.into(), start: "t".into() });
    let result = Some(format!("{{\"current\":{current}}}").into());
    Report { run, result, current: Some(current), ..Report::new(State::Progress, Source::Queue) }
}

#[test]
fn delivery_is_not_state() {
    let mut task = task();
    let change = apply(&mut task, &Fact::Sent { attempts: 2 }, 5);
    assert!(change.settled && change.changed && !change.ended);
    assert_eq!((task.state, task.delivery, task.attempts, task.sent), (State::Pending, Delivery::Settled, 2, Some(5)));
}

#[test]
fn a_result_may_come_before_the_confirm() {
    let mut task = task();
    let change = apply(&mut task, &heard(State::Success), 5);
    assert!(change.settled && change.ended);
    let change = apply(&mut task, &Fact::Sent { attempts: 1 }, 6);
    assert!(!change.settled && !change.ended);
    assert_eq!((task.state, task.ended), (State::Success, Some(5)));
}

#[test]
fn a_workers_end_is_final() {
    for end in [State::Success, State::Failure] {
        let mut task = task();
        apply(&mut task, &heard(end.clone()), 1);
        let seq = task.seq;
        for later in [
            heard(State::Failure),
            heard(State::Progress),
            Fact::Cancelled,
            Fact::Overdue { heard: 1, why: "late".into() },
        ] {
            let change = apply(&mut task, &later, 2);
            assert!(!change.changed && !change.ended, "{later:?}");
        }
        assert_eq!((task.state, task.seq), (end, seq));
    }
}

#[test]
fn a_presumed_end_yields_once_to_a_workers_own() {
    let mut task = task();
    assert!(apply(&mut task, &Fact::Overdue { heard: 0, why: "no sign of life".into() }, 1).revoke);
    assert_eq!((&task.state, task.presumed, task.note.as_deref()), (&State::Expired, true, Some("no sign of life")));
    assert!(!apply(&mut task, &heard(State::Progress), 2).changed, "only an end replaces an end");
    assert!(apply(&mut task, &heard(State::Success), 3).changed);
    assert_eq!((&task.state, task.presumed, &task.note), (&State::Success, false, &None));
    assert!(!apply(&mut task, &heard(State::Failure), 4).changed);
}

#[test]
fn garbage_is_a_presumed_failure_that_says_why() {
    let mut task = task();
    apply(&mut task, &Fact::Garbled("it is not JSON".into()), 1);
    assert_eq!((&task.state, task.presumed), (&State::Failure, true));
    let raised = Raised::from_json(task.result.as_deref().unwrap());
    assert_eq!(raised, Raised::new("ValueError", "it is not JSON"));
}

fn dead(attempt: u32, waiting: bool) -> Fact {
    Fact::Dead { attempt, waiting, why: "rejected".into() }
}

#[test]
fn a_dead_letter_is_a_presumed_failure_with_the_cause() {
    // Heard before the confirm: the broker had it, so nothing is left to be sent.
    let mut task = task();
    let change = apply(&mut task, &dead(1, true), 1);
    assert!(change.settled && change.ended && !change.revoke);
    assert_eq!((&task.state, task.presumed, task.note.as_deref()), (&State::Failure, true, Some("rejected")));
    let raised = Raised::from_json(task.result.as_deref().unwrap());
    assert_eq!(raised, Raised::new("AMQPError", "rejected"));
    assert!(!apply(&mut task, &dead(1, true), 2).changed);
    assert!(apply(&mut task, &heard(State::Success), 3).ended, "presumed: a worker's own end replaces it");
    assert!(!apply(&mut task, &dead(1, false), 4).changed);
}

#[test]
fn the_death_of_one_copy_does_not_end_another() {
    let mut task = task();
    apply(&mut task, &Fact::Sent { attempts: 2 }, 1);
    assert!(!apply(&mut task, &dead(1, true), 2).changed, "the second copy waits or runs");
    apply(&mut task, &heard(State::Started), 3);
    assert!(!apply(&mut task, &dead(2, true), 4).changed, "the first copy runs");
    assert!(apply(&mut task, &dead(2, false), 5).ended, "a worker gave the last one up");
}

#[test]
fn a_copy_that_runs_is_not_another_if_there_is_only_one() {
    let mut task = task();
    apply(&mut task, &Fact::Sent { attempts: 1 }, 1);
    apply(&mut task, &heard(State::Started), 2);
    // Its worker died, it went back into the queue, and its time was over there.
    assert!(apply(&mut task, &dead(1, true), 3).ended);
}

#[test]
fn a_cancel_is_stored_first_and_told_again_to_whoever_missed_it() {
    let mut task = task();
    let change = apply(&mut task, &Fact::Cancelled, 1);
    assert!(change.changed && change.settled && change.revoke && change.ended);
    assert_eq!(Raised::from_json(task.result.as_deref().unwrap()), Raised::new("TaskRevokedError", "revoked"));
    let change = apply(&mut task, &heard(State::Started), 2);
    assert!(change.revoke && !change.changed);
    assert!(!apply(&mut task, &heard(State::Revoked), 3).revoke);
    assert_eq!(task.state, State::Revoked);
}

#[test]
fn a_cancel_outlives_its_record_of_it() {
    let mut task = task();
    apply(&mut task, &Fact::Cancelled, 1);
    apply(&mut task, &Fact::Forgotten, 2);
    let change = apply(&mut task, &heard(State::Started), 3);
    assert!(change.revoke && !change.changed, "it waited in its queue for longer than results are kept");
    let change = apply(&mut task, &heard(State::Success), 4);
    assert!(!change.revoke && !change.changed);
    assert_eq!((&task.state, task.presumed, task.note.as_deref()), (&State::Expired, false, Some(CANCELLED)));
}

#[test]
fn a_running_task_is_terminated() {
    let mut task = task();
    apply(&mut task, &heard(State::Started), 1);
    apply(&mut task, &Fact::Cancelled, 2);
    assert_eq!(Raised::from_json(task.result.as_deref().unwrap()).message, "terminated".into());
}

#[test]
fn progress_is_never_lowered_within_a_run_but_a_new_run_begins_anew() {
    let mut task = task();
    apply(&mut task, &Fact::Heard(progress(50.0, "a")), 1);
    assert!(!apply(&mut task, &Fact::Heard(progress(10.0, "a")), 2).changed);
    assert_eq!((task.current, task.runs), (50.0, 1));
    assert!(apply(&mut task, &Fact::Heard(progress(10.0, "b")), 3).changed);
    assert_eq!((task.current, task.runs), (10.0, 2));
    assert!(apply(&mut task, &heard(State::Started), 4).changed, "STARTED after PROGRESS is a new run");
    assert_eq!((&task.state, task.runs, task.current), (&State::Started, 3, 0.0));
}

fn told(state: State, done: &str, redelivered: bool) -> Fact {
    let run = (!done.is_empty()).then(|| Run { host: "".into(), start: done.into() });
    let result = Some("{\"pid\":1}".into());
    Fact::Heard(Report { run, result, redelivered, ..Report::new(state, Source::Queue) })
}

#[test]
fn a_run_after_the_end_is_counted_and_changes_nothing_else() {
    let mut task = task();
    for fact in [told(State::Started, "", false), told(State::Success, "1", false)] {
        apply(&mut task, &fact, 1);
    }
    assert_eq!(task.runs, 1);
    // Heard again, because the first time was not acknowledged.
    for fact in [told(State::Started, "", true), told(State::Success, "1", true)] {
        assert!(!apply(&mut task, &fact, 2).changed, "{fact:?}");
    }
    let change = apply(&mut task, &told(State::Started, "", false), 3);
    assert!(change.changed && !change.ended && !change.revoke);
    assert_eq!((&task.state, task.runs, task.ended), (&State::Success, 2, Some(1)));
    let change = apply(&mut task, &told(State::Failure, "2", false), 4);
    assert!(!change.ended && !change.revoke);
    assert_eq!((&task.state, task.runs, task.deadline()), (&State::Success, 2, None), "the same run's end");
}

#[test]
fn an_end_that_was_made_later_tells_of_another_run() {
    let mut task = task();
    apply(&mut task, &told(State::Success, "1", false), 1);
    assert!(apply(&mut task, &told(State::Success, "2", true), 2).changed, "its beginning was not told");
    assert_eq!(task.runs, 2);
    assert!(!apply(&mut task, &told(State::Success, "2", false), 3).changed, "said twice");
    assert!(!apply(&mut task, &told(State::Success, "1", true), 3).changed, "known");
    assert!(!apply(&mut task, &told(State::Revoked, "3", false), 4).changed, "the echo of a revoke");
    assert!(!apply(&mut task, &told(State::Success, "", false), 4).changed, "nobody knows");
}

#[test]
fn a_second_beginning_is_a_second_run_even_in_the_same_process() {
    let mut task = task();
    for _ in 0..2 {
        apply(&mut task, &told(State::Started, "", false), 1);
    }
    assert_eq!(task.runs, 2);
    apply(&mut task, &told(State::Started, "", true), 2);
    assert_eq!(task.runs, 2, "heard before");
}

#[test]
fn progress_without_a_run_may_fall_unless_it_is_redelivered() {
    let plain = |current, redelivered| Report { run: None, redelivered, ..progress(current, "") };
    let mut task = task();
    apply(&mut task, &Fact::Heard(plain(50.0, false)), 1);
    assert!(!apply(&mut task, &Fact::Heard(plain(10.0, true)), 2).changed);
    assert!(apply(&mut task, &Fact::Heard(plain(10.0, false)), 3).changed, "a program may count twice to 100");
}

#[test]
fn a_worker_that_says_who_it_is_is_not_one_that_does_not() {
    let mut task = task();
    apply(&mut task, &heard(State::Started), 1);
    apply(&mut task, &Fact::Heard(progress(10.0, "a")), 2);
    assert_eq!(task.runs, 1);
    let mut other = Task::new(task.id, "s", 0);
    apply(&mut other, &Fact::Heard(Report { run: None, ..progress(10.0, "") }), 2);
    apply(&mut other, &Fact::Heard(progress(10.0, "a")), 3);
    assert_eq!(other.runs, 2, "delivered again, to a worker of another kind");
}

#[test]
fn any_open_state_may_follow_retry() {
    for next in [State::Received, State::Started, State::Progress, State::Other("STORING".into()), State::Success] {
        let mut task = task();
        apply(&mut task, &heard(State::Started), 1);
        apply(&mut task, &heard(State::Retry), 2);
        assert_eq!(task.state, State::Retry);
        apply(&mut task, &heard(next.clone()), 3);
        assert_eq!(task.state, next);
    }
}

#[test]
fn events_never_take_back_what_results_told() {
    let mut task = task();
    let event = |state| Fact::Heard(Report::new(state, Source::Event));
    assert!(apply(&mut task, &event(State::Received), 1).changed);
    apply(&mut task, &heard(State::Started), 2);
    assert!(!apply(&mut task, &event(State::Received), 3).changed);
    apply(&mut task, &heard(State::Success), 4);
    assert!(!apply(&mut task, &event(State::Started), 5).changed);
}

#[test]
fn an_embedded_task_stays_in_the_outbox_until_its_end() {
    let mut task = task();
    apply(&mut task, &Fact::Claimed, 1);
    assert_eq!((task.attempts, task.delivery), (1, Delivery::Owned));
    assert!(!apply(&mut task, &Fact::Heard(Report::new(State::Started, Source::Slot)), 2).settled);
    let change = apply(&mut task, &requeued(Cause::Lost), 3);
    assert_eq!((change.due, &task.state), (Some(9), &State::Retry));
    apply(&mut task, &Fact::Claimed, 9);
    assert!(apply(&mut task, &Fact::Heard(Report::new(State::Success, Source::Slot)), 10).settled);
    assert_eq!((task.attempts, task.delivery), (2, Delivery::Settled));
}

fn requeued(cause: Cause) -> Fact {
    Fact::Requeued { due: 9, why: Raised::new("WorkerLostError", "gone"), cause }
}

#[test]
fn what_runs_are_repeated_for_is_counted_apart() {
    let mut task = task();
    for cause in [Cause::Lost, Cause::Stopped, Cause::Failed, Cause::Lost, Cause::Stopped] {
        apply(&mut task, &Fact::Claimed, 1);
        apply(&mut task, &requeued(cause), 3);
    }
    assert_eq!((task.attempts, task.losses, task.retries), (5, 2, 1));
}

#[test]
fn a_cancelled_task_is_not_handed_back() {
    let mut task = task();
    apply(&mut task, &Fact::Claimed, 1);
    apply(&mut task, &Fact::Cancelled, 2);
    let change = apply(&mut task, &requeued(Cause::Stopped), 3);
    assert_eq!((change.due, change.changed, &task.state), (None, false, &State::Revoked));
}

#[test]
fn a_forgotten_result_is_gone_for_good() {
    let mut task = task();
    assert!(!apply(&mut task, &Fact::Forgotten, 1).changed, "an open task is not forgotten");
    apply(&mut task, &heard(State::Success), 1);
    assert!(apply(&mut task, &Fact::Forgotten, 2).changed);
    assert_eq!((&task.state, &task.result, task.ended), (&State::Expired, &None, Some(1)));
    assert!(!apply(&mut task, &heard(State::Success), 3).changed);
    assert!(!apply(&mut task, &Fact::Forgotten, 4).changed);
}

#[test]
fn a_sign_of_life_that_comes_between_saves_the_task() {
    let mut task = task();
    apply(&mut task, &heard(State::Started), 5);
    assert!(!apply(&mut task, &Fact::Overdue { heard: 0, why: "judged before".into() }, 6).changed);
    assert_eq!(task.state, State::Started);
}

#[test]
fn a_task_that_waits_too_long_expires_and_says_why() {
    let mut task = Task { wait_limit: Some(10_000), ..task() };
    assert_eq!(task.deadline(), Some(10_000));
    assert!(!apply(&mut task, &Fact::Late { began: 0, ahead: 0 }, 9_999).changed);
    assert!(apply(&mut task, &Fact::Late { began: 0, ahead: 0 }, 10_000).revoke);
    assert_eq!((&task.state, task.presumed), (&State::Expired, true));
    assert_eq!(task.note.as_deref(), Some("the task waited longer than its wait_limit of 10 s"));
}

#[test]
fn the_time_to_run_begins_with_each_run() {
    let mut task = Task { wait_limit: Some(1_000), run_limit: Some(10_000), ..task() };
    apply(&mut task, &heard(State::Started), 500);
    assert_eq!(task.deadline(), Some(10_500), "it waits no more");
    apply(&mut task, &heard(State::Retry), 600);
    assert_eq!(task.deadline(), None, "between two runs");
    apply(&mut task, &heard(State::Started), 5_000);
    assert_eq!(task.deadline(), Some(15_000));
    apply(&mut task, &Fact::Late { began: 5_000, ahead: 0 }, 15_000);
    assert_eq!(task.note.as_deref(), Some("the task ran longer than its run_limit of 10 s"));
    assert!(apply(&mut task, &heard(State::Success), 16_000).changed, "hours of CPU are not thrown away");
}

#[test]
fn a_clock_set_forward_makes_late_only_what_would_be_late_without() {
    let mut task = Task { wait_limit: Some(10_000), run_limit: Some(10_000), ..task() };
    let late = |began, ahead| Fact::Late { began, ahead };
    assert!(!apply(&mut task, &late(0, 100_000), 109_999).changed, "it has waited for less than ten seconds");
    assert!(apply(&mut task.clone(), &late(0, 100_000), 110_000).ended);
    // It was begun after it was looked at: nobody knows yet whether the clock was set since.
    apply(&mut task, &heard(State::Started), 1_000);
    assert!(!apply(&mut task, &late(0, 0), 110_000).changed);
    assert!(apply(&mut task, &late(1_000, 0), 11_000).ended);
}

#[test]
fn a_task_cancelled_on_its_way_is_revoked_when_it_arrives() {
    let mut task = task();
    apply(&mut task, &Fact::Cancelled, 1);
    assert!(apply(&mut task, &Fact::Sent { attempts: 1 }, 2).revoke);
}

#[test]
fn a_result_before_its_confirm_counts_as_one_attempt() {
    let mut task = Task::new(uuid::Uuid::now_v7(), "s", 0);
    let change = apply(&mut task, &Fact::Heard(Report::new(State::Success, Source::Queue)), 5);
    assert!(change.settled && change.changed);
    assert_eq!((task.attempts, task.sent), (1, Some(5)));
    apply(&mut task, &Fact::Sent { attempts: 2 }, 6);
    assert_eq!((task.attempts, task.sent), (2, Some(5)));
}

#[test]
fn a_run_after_a_retry_is_counted_however_it_is_first_heard_of() {
    let event = |state| Fact::Heard(Report::new(state, Source::Event));
    let result = |state, what: &'static str| {
        Fact::Heard(Report { result: Some(what.into()), ..Report::new(state, Source::Queue) })
    };
    let by_event = [event(State::Started), result(State::Started, "2")];
    let by_result = [event(State::Received), result(State::Started, "2")];
    let by_progress = [result(State::Progress, "2"), result(State::Progress, "3")];
    for again in [by_event, by_result, by_progress] {
        let mut task = task();
        apply(&mut task, &event(State::Started), 1);
        apply(&mut task, &result(State::Started, "1"), 1);
        assert_eq!(task.runs, 1, "event and result tell of one run");
        apply(&mut task, &result(State::Retry, "{}"), 2);
        for fact in &again {
            apply(&mut task, fact, 3);
        }
        assert_eq!(task.runs, 2, "{again:?}");
    }
}

#[test]
fn a_start_told_late_does_not_begin_the_run_after_a_retry() {
    let event = |state| Fact::Heard(Report::new(state, Source::Event));
    let mut task = Task { run_limit: Some(10_000), ..task() };
    apply(&mut task, &heard(State::Started), 1);
    apply(&mut task, &heard(State::Retry), 2);
    apply(&mut task, &event(State::Started), 3);
    assert_eq!((&task.state, task.deadline()), (&State::Retry, None), "it waits for its countdown");
    apply(&mut task, &event(State::Received), 4);
    assert_eq!((&task.state, task.deadline()), (&State::Received, None), "a worker holds it until then");
    apply(&mut task, &heard(State::Started), 5);
    assert_eq!(task.deadline(), Some(10_005));
}

#[test]
fn the_answer_to_our_own_revoke_is_no_end_of_the_workers_own() {
    let mut task = task();
    assert!(apply(&mut task, &Fact::Overdue { heard: 0, why: "no sign of life".into() }, 1).revoke);
    assert!(!apply(&mut task, &heard(State::Revoked), 2).changed);
    assert_eq!((&task.state, task.note.as_deref()), (&State::Expired, Some("no sign of life")));
    assert!(apply(&mut task, &heard(State::Success), 3).changed, "it had finished before it was told");
}

#[test]
fn an_attempt_counts_before_it_is_made_unless_it_never_will_be() {
    let mut task = task();
    let change = apply(&mut task, &Fact::Tried { attempts: 2 }, 1);
    assert!(change.changed && !change.settled);
    assert_eq!((task.attempts, task.delivery, task.sent), (2, Delivery::Owned, None));
    assert!(!apply(&mut task, &Fact::Tried { attempts: 2 }, 1).changed);
    apply(&mut task, &heard(State::Success), 2);
    assert!(!apply(&mut task, &Fact::Tried { attempts: 3 }, 3).changed);
    assert_eq!(task.attempts, 2);
}

#[test]
fn the_time_of_what_waited_in_its_queue_begins_anew() {
    let mut task = task();
    assert!(apply(&mut task, &Fact::Waits, 50).changed);
    assert_eq!((task.heard, &task.state), (50, &State::Pending));
    assert!(!apply(&mut task, &Fact::Overdue { heard: 0, why: "silence".into() }, 60).changed, "judged before");
    apply(&mut task, &Fact::Overdue { heard: 50, why: "silence".into() }, 100);
    assert_eq!(task.state, State::Expired);
    assert!(!apply(&mut task, &Fact::Waits, 110).changed);
}
