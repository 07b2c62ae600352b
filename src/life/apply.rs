//! The one place with state rules.

use crate::{Cause, Change, Delivery, Fact, Millis, Raised, Report, Source, State, Task};

/// [`Task::note`] of a cancelled task whose result is forgotten.
pub const CANCELLED: &str = "cancelled";

/// Applies what was learnt to what is known, and says what that changed.
///
/// States move forward, but any open state may follow RETRY. A worker's end or a cancel yields to nothing; an end that
/// we only presume yields once to a worker's own. STARTED (or RECEIVED) after PROGRESS is a new run.
pub fn apply(task: &mut Task, fact: &Fact, now: Millis) -> Change {
    let waited = task.started.is_none();
    let mut change = match fact {
        Fact::Sent { attempts } => sent(task, *attempts, now),
        Fact::Tried { attempts } => tried(task, *attempts),
        Fact::Claimed => claimed(task, now),
        Fact::Requeued { due, why, cause } => requeued(task, *due, why, *cause, now),
        Fact::Heard(report) => heard(task, report, now),
        Fact::Garbled(why) => presume(task, State::Failure, Some(Raised::new("ValueError", why.clone())), why, now),
        Fact::Refused(why) => refused(task, why, now),
        Fact::Dead { attempt, waiting, why } => dead(task, *attempt, *waiting, why, now),
        Fact::Overdue { heard, why } if *heard == task.heard => presume(task, State::Expired, None, why, now),
        Fact::Overdue { .. } => Change::default(),
        Fact::Waits => waits(task, now),
        Fact::Late { began, ahead } => late(task, *began, now.saturating_sub(*ahead), now),
        Fact::Cancelled => cancelled(task, now),
        Fact::Forgotten => forgotten(task),
    };
    if change.settled {
        change.settled = task.delivery == Delivery::Owned;
        task.delivery = Delivery::Settled;
        change.changed |= change.settled;
    }
    change.started = waited && task.started.is_some();
    if change.changed {
        task.seq += 1;
    }
    change
}

const SETTLED: Change =
    Change { changed: false, settled: true, due: None, started: false, ended: false, revoke: false };

fn sent(task: &mut Task, attempts: u32, now: Millis) -> Change {
    task.attempts = task.attempts.max(attempts);
    task.sent.get_or_insert(now);
    // It was on its way when it was cancelled: whoever gets it has to be told.
    let revoke = task.state == State::Revoked;
    Change { changed: true, revoke, ..SETTLED }
}

fn tried(task: &mut Task, attempts: u32) -> Change {
    // Settled meanwhile, it will not be published.
    if task.delivery == Delivery::Settled || attempts <= task.attempts {
        return Change::default();
    }
    task.attempts = attempts;
    Change { changed: true, ..Change::default() }
}

fn claimed(task: &mut Task, now: Millis) -> Change {
    if task.state.is_end() {
        return SETTLED;
    }
    task.attempts += 1;
    task.sent.get_or_insert(now);
    task.heard = now;
    Change { changed: true, ..Change::default() }
}

fn requeued(task: &mut Task, due: Millis, why: &Raised, cause: Cause, now: Millis) -> Change {
    if task.state.is_end() {
        return SETTLED;
    }
    match cause {
        Cause::Stopped => {}
        Cause::Failed => task.retries += 1,
        Cause::Lost => task.losses += 1,
    }
    task.state = State::Retry;
    task.result = Some(why.to_json());
    task.run = None;
    task.running = None;
    task.current = 0.0;
    task.heard = now;
    Change { changed: true, due: Some(due), ..Change::default() }
}

fn cancelled(task: &mut Task, now: Millis) -> Change {
    if task.state.is_end() && !task.presumed {
        return Change::default();
    }
    let how = if task.started.is_some() { "terminated" } else { "revoked" };
    end(task, State::Revoked, Some(Raised::new("TaskRevokedError", how).to_json()), now);
    Change { changed: true, ended: true, revoke: true, ..SETTLED }
}

fn forgotten(task: &mut Task) -> Change {
    if !task.state.is_end() || (task.state == State::Expired && !task.presumed) {
        return Change::default();
    }
    if task.state == State::Revoked {
        // Workers are told of it for longer than its result is kept.
        task.note = Some(CANCELLED.into());
    }
    task.state = State::Expired;
    task.result = None;
    task.presumed = false;
    Change { changed: true, ..SETTLED }
}

fn presume(task: &mut Task, state: State, why: Option<Raised>, note: &str, now: Millis) -> Change {
    if task.state.is_end() {
        return SETTLED;
    }
    // An EXPIRED task may still run somewhere: nobody waits for it any more, so the workers are told.
    let revoke = state == State::Expired;
    end(task, state, why.map(|why| why.to_json()), now);
    task.presumed = true;
    task.note = Some(note.into());
    Change { changed: true, ended: true, revoke, ..SETTLED }
}

fn refused(task: &mut Task, why: &str, now: Millis) -> Change {
    presume(task, State::Failure, Some(Raised::new("AMQPError", why)), why, now)
}

/// A task whose confirm was lost is sent again, so there may be several copies of its message. A death counts only if it
/// may be the last one's: an older copy's says nothing of the newer; and a copy that died waiting is not the one that
/// a worker has begun. If that one ends without a word too, its time limits end the task.
fn dead(task: &mut Task, attempt: u32, waiting: bool, why: &str, now: Millis) -> Change {
    let other_runs = waiting && task.attempts > 1 && task.state.is_running();
    if attempt < task.attempts || other_runs {
        return Change::default();
    }
    refused(task, why, now)
}

/// Its time without a sign of life begins anew: once a worker has taken it from its queue it has all of it to be heard of.
fn waits(task: &mut Task, now: Millis) -> Change {
    if task.state.is_end() || task.heard >= now {
        return Change::default();
    }
    task.heard = now;
    Change { changed: true, ..Change::default() }
}

/// The broker tells nobody about a task that waits or runs too long: the gateway keeps its own time. It was looked at how
/// far the clock was set since `began`, so that whatever began meanwhile is looked at anew. `by_then`: now, by the clock
/// of then.
fn late(task: &mut Task, began: Millis, by_then: Millis, now: Millis) -> Change {
    if task.began() != began || task.deadline().is_none_or(|deadline| deadline > by_then) {
        return Change::default();
    }
    let (what, limit) = match task.started {
        None => ("waited longer than its wait_limit", task.wait_limit),
        Some(_) => ("ran longer than its run_limit", task.run_limit),
    };
    let why = format!("the task {what} of {} s", limit.unwrap_or_default() / 1000);
    presume(task, State::Expired, None, &why, now)
}

fn end(task: &mut Task, state: State, result: Option<bytes::Bytes>, now: Millis) {
    task.state = state;
    task.result = result;
    task.presumed = false;
    task.note = None;
    task.running = None;
    task.ended = Some(now);
}

fn heard(task: &mut Task, report: &Report, now: Millis) -> Change {
    // Whoever speaks of a task has it, so the broker delivered it; a slot is ours and may have to begin again.
    let settled = report.source != Source::Slot || report.state.is_end();
    let delivered = Change { settled, ..Change::default() };
    if settled && task.delivery == Delivery::Owned && report.source != Source::Slot {
        // Before the confirm, or instead of it: what was heard proves as much.
        task.attempts = task.attempts.max(1);
        task.sent.get_or_insert(now);
    }
    if task.state.is_end() {
        return heard_after_end(task, report, now, delivered);
    }
    task.heard = now;
    if report.state.is_end() {
        if task.started.is_none() && report.state != State::Revoked {
            task.started = Some(now);
        }
        end(task, report.state.clone(), report.result.clone(), now);
        task.run.clone_from(&report.run);
        return Change { changed: true, ended: true, ..delivered };
    }
    if !moves_on(task, report) {
        return delivered;
    }
    if report.state.is_running() {
        task.started.get_or_insert(now);
        task.running.get_or_insert(now);
    }
    if let Some(current) = report.current {
        task.current = current;
    }
    if report.run.is_some() {
        task.run.clone_from(&report.run);
    }
    task.state = report.state.clone();
    task.result.clone_from(&report.result);
    Change { changed: true, ..delivered }
}

fn heard_after_end(task: &mut Task, report: &Report, now: Millis, delivered: Change) -> Change {
    // A worker that was told of an end that we presumed answers REVOKED: our own echo, and no end of its own.
    let own_end = report.state.is_end() && report.state != State::Revoked && report.source != Source::Event;
    if task.presumed && own_end {
        end(task, report.state.clone(), report.result.clone(), now);
        task.run.clone_from(&report.run);
        return Change { changed: true, ended: true, ..delivered };
    }
    if ran_again(task, report, now) {
        return Change { changed: true, ..delivered };
    }
    // A worker that missed the revoke goes on with a cancelled task: it has to be told again. So is one that begins a task
    // whose result was forgotten, a cancel or not: nobody could read what it came to.
    let unwanted = task.state == State::Revoked || (task.state == State::Expired && !task.presumed);
    let revoke = unwanted && !report.state.is_end();
    Change { revoke, ..delivered }
}

/// Does this tell of one more run of a task that a worker has ended? Its message was delivered again, or there were two.
/// The first end stays, but its owner shall see that the task ran more than once.
fn ran_again(task: &mut Task, report: &Report, now: Millis) -> bool {
    let ended_by_worker = !task.presumed && !matches!(task.state, State::Revoked | State::Expired);
    if !ended_by_worker || report.source != Source::Queue {
        return false;
    }
    if report.state == State::Started {
        // Until the end of that run.
        let fresh = !report.redelivered && task.running.is_none();
        if fresh {
            task.runs = task.runs.max(1) + 1;
            task.running = Some(now);
        }
        return fresh;
    }
    // Two ends are told apart by when they were made; a worker that was not sure may say the same one twice.
    let newer = match (&task.run, &report.run) {
        (Some(known), Some(told)) if known.host == told.host => {
            told.start > known.start || (told.start != known.start && !report.redelivered)
        }
        _ => false,
    };
    if !report.state.is_end() || report.state == State::Revoked || !newer {
        return false;
    }
    task.run.clone_from(&report.run);
    if task.running.take().is_none() && task.runs <= 1 {
        // Its beginning was not told.
        task.runs = 2;
    }
    true
}

/// Does this report of an open state tell something newer than what is known? Notes a new run where it tells of one.
fn moves_on(task: &mut Task, report: &Report) -> bool {
    let after_retry = task.state == State::Retry && report.state != State::Retry;
    let again = match (&task.state, &report.state) {
        (_, State::Pending) => return false,
        // Events travel beside the results: what they tell counts only before the first result.
        (State::Pending, _) if report.source == Source::Event => return true,
        // A worker tells that it has received it again before it can start it again: a start alone is one told late.
        (State::Retry, State::Received) if report.source == Source::Event => true,
        _ if report.source == Source::Event => return false,
        (State::Started, State::Received) => return false,
        // The first result after an event tells of the same run; a different one of another.
        (known, told @ (State::Received | State::Started)) if known == told => {
            // From one process twice, the same words may tell of two runs.
            task.result.is_some() && (task.result != report.result || !report.redelivered)
        }
        (State::Progress | State::Other(_), State::Received | State::Started) => true,
        (known, State::Progress) => {
            let lower = report.current.is_some_and(|current| current < task.current);
            match (&task.run, &report.run) {
                (Some(known), Some(told)) if known != told => true,
                // A worker says in each of its reports who it is, or in none.
                (None, Some(_)) if *known == State::Progress => true,
                (Some(_), Some(_)) if lower => return false,
                _ if lower && report.redelivered => return false,
                _ => false,
            }
        }
        _ => false,
    };
    let again = again || after_retry;
    if again || report.state == State::Retry {
        task.current = 0.0;
        task.run = None;
        task.running = None;
    }
    if again || (task.runs == 0 && report.state.is_running()) {
        task.runs += 1;
    }
    true
}
