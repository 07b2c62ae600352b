//! What must hold, always and in the end.

use crate::{
    scenario::Fault,
    store::{Seen, What},
    words::short,
    world::World,
};
use gateway_life::{Answer, Delivery, Fact, Millis, Report, State, Task};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What is known of one task from outside.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Copies that the gateway brought to the broker (embedded: to a slot).
    arrivals: u32,
    /// First runs of these copies.
    begun: u32,
    /// Since when it is cancelled, by the monotonic clock.
    cancelled: Option<Millis>,
    /// Its worker's own end or its cancel, as it was stored first.
    end: Option<(State, Option<bytes::Bytes>)>,
    /// A worker's end was acknowledged.
    heard_end: bool,
    yields: u32,
    /// Those whose progress was acknowledged while the task was open.
    runs: BTreeSet<Box<str>>,
    /// When ends were made that were heard, and acknowledged, once.
    ends: BTreeSet<Box<str>>,
}

type Scope = Box<str>;

#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) violation: Option<String>,
    known: BTreeMap<Uuid, Known>,
    /// Clients were told that these exist.
    accepted: BTreeSet<Uuid>,
    /// Clients were told that these do not.
    refused: BTreeSet<Uuid>,
    keys: BTreeMap<Scope, ([u8; 32], Uuid)>,
    /// What is durable under each key.
    written: BTreeMap<Scope, Uuid>,
    /// What slots run now.
    pub(crate) running: BTreeSet<Uuid>,
}

impl Check {
    /// Notes the first violation.
    pub(crate) fn that(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(otherwise());
        }
    }

    fn of(&mut self, id: Uuid) -> &mut Known {
        self.known.entry(id).or_default()
    }

    fn change(&mut self, before: &Task, after: &Task, fact: &Fact, time: Millis) {
        let told = || format!("{} {fact:?}: {before:?} -> {after:?}", short(after.id));
        self.that(after.seq > before.seq, || format!("a change without a new seq: {}", told()));
        self.that(after.attempts >= before.attempts, || format!("attempts fell: {}", told()));
        self.that(after.runs >= before.runs, || format!("runs fell: {}", told()));
        let taken_back = before.delivery == Delivery::Settled && after.delivery == Delivery::Owned;
        self.that(!taken_back, || format!("settled is settled: {}", told()));
        self.that(after.state.is_end() == after.ended.is_some(), || format!("ended or not: {}", told()));
        let arrivals = self.of(after.id).arrivals;
        let settled = before.delivery == Delivery::Owned && after.delivery == Delivery::Settled;
        let confirmed = settled && matches!(fact, Fact::Sent { .. });
        self.that(!confirmed || arrivals > 0, || format!("the broker never had it: {}", told()));
        if let Err(why) = moves(before, after, fact) {
            self.that(false, || format!("{why}: {}", told()));
        }
        let known = self.of(after.id);
        if after.state == State::Revoked && !before.state.is_end() {
            known.cancelled = Some(time);
        }
        if before.presumed && !after.presumed && *fact != Fact::Forgotten {
            known.yields += 1;
        }
        if after.state.is_end() && !after.presumed && *fact != Fact::Forgotten {
            let end = (after.state.clone(), after.result.clone());
            let same = *known.end.get_or_insert(end.clone()) == end;
            let once = known.yields <= 1;
            self.that(same && once, || format!("a second end: {}", told()));
        }
    }
}

/// May a task go this way? Written down anew, beside `apply`.
fn moves(before: &Task, after: &Task, fact: &Fact) -> Result<(), &'static str> {
    let (was, is) = (&before.state, &after.state);
    let shows_same = was == is && before.result == after.result;
    match fact {
        Fact::Forgotten if was.is_end() && *is == State::Expired && after.result.is_none() => return Ok(()),
        Fact::Sent { .. } | Fact::Claimed if !shows_same => return Err("delivery is not state"),
        _ => {}
    }
    if was.is_end() && !before.presumed {
        return if shows_same && !after.presumed { Ok(()) } else { Err("an end yielded") };
    }
    if before.presumed {
        let yielded = is.is_end() && !after.presumed;
        // REVOKED is what a worker says to our own revoke: that is no reason to forget why we sent it.
        let own = matches!(fact, Fact::Heard(Report { state, .. }) if state == is && *is != State::Revoked);
        let to_what = own || *fact == Fact::Cancelled;
        return if shows_same || (yielded && to_what) { Ok(()) } else { Err("a presumed end yields to an end") };
    }
    if is.is_end() || shows_same || *is == State::Retry || *was == State::Retry {
        return Ok(());
    }
    let new_run = after.runs > before.runs;
    match (was, is) {
        (_, State::Pending) => Err("nothing becomes PENDING"),
        (State::Started, State::Received) => Err("STARTED is after RECEIVED"),
        (State::Progress | State::Other(_), State::Received | State::Started) if !new_run => Err("backward"),
        (State::Progress, State::Progress) if after.current < before.current => match fact {
            Fact::Heard(report) if report.run.is_some() && report.run == before.run => Err("fell within a run"),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

impl World {
    /// Looks at what the last transaction changed.
    pub(crate) fn observe(&mut self) {
        let time = self.time;
        for Seen { after, what } in std::mem::take(&mut self.store.seen) {
            let id = after.id;
            match what {
                What::Learnt(before, fact) => self.check.change(&before, &after, &fact, time),
                What::Accepted(key) => {
                    let refused = self.check.refused.contains(&id);
                    self.check.that(!refused, || format!("{} was refused, and is accepted", short(id)));
                    let other = key.and_then(|key| self.check.written.insert(key.key, id));
                    self.check.that(other.is_none(), || format!("{} is a second task for one key", short(id)));
                }
            }
            // What waits in the store and what the task says about it is one thing.
            let waits = self.store.outbox.contains_key(&id);
            let owned = self.store.tasks.get(&id).is_some_and(|task| task.delivery == Delivery::Owned);
            self.check.that(waits == owned, || format!("{} owned: {owned}, in the outbox: {waits}", short(id)));
        }
    }

    /// The gateway's copy of a task is in the broker's queue now.
    pub(crate) fn arrived(&mut self, id: Uuid) {
        let known = self.check.of(id);
        known.arrivals += 1;
        let arrivals = known.arrivals;
        let attempts = self.store.tasks.get(&id).map(|task| task.attempts);
        self.check.that(attempts.is_some(), || format!("{} was published, and is not durable", short(id)));
        let visible = attempts.is_some_and(|attempts| arrivals <= attempts.max(1));
        self.check.that(visible, || {
            format!("{} was brought {arrivals} times to the broker, and its owner sees {attempts:?}", short(id))
        });
        if arrivals > 1 {
            self.count("published again");
        }
    }

    /// Somebody begins to work on a copy.
    pub(crate) fn begins(&mut self, id: Uuid, anew: bool) {
        let known = self.check.of(id);
        known.begun += u32::from(anew);
        if known.begun > 1 {
            self.count("executed again");
        }
        if known_cancelled(&self.check, id) {
            self.count("a cancelled task was begun");
        }
    }

    /// In a slot: each run is an attempt, and no other is under way.
    pub(crate) fn begins_alone(&mut self, task: &Task) {
        let id = task.id;
        let alone = self.check.running.insert(id);
        self.check.that(alone, || format!("{} runs twice at once", short(id)));
        let (begun, attempts) = (self.check.of(id).begun, self.store.tasks.get(&id).map_or(0, |task| task.attempts));
        self.check.that(begun <= attempts, || format!("{} runs for the {begun}. time, told {attempts}", short(id)));
    }

    /// A run comes to its end by itself: had it been cancelled long ago, its worker would have been told.
    pub(crate) fn should_have_been_told(&mut self, id: Uuid, reported: Option<Millis>) {
        let long_ago = |at: Millis| at + 8_000 < self.time;
        let cancelled = self.check.known.get(&id).and_then(|known| known.cancelled);
        let missed = long_ago(self.troubled) && cancelled.is_some_and(long_ago) && reported.is_some_and(long_ago);
        self.check.that(!missed, || format!("{} was cancelled, and its worker was never told", short(id)));
    }

    /// The gateway is about to acknowledge it.
    pub(crate) fn check_ack(&mut self, id: Uuid, fact: &Fact) {
        let Some(task) = self.store.tasks.get(&id) else { return };
        if let Fact::Heard(Report { state: State::Progress, run: Some(run), .. }) = fact
            && !task.state.is_end()
        {
            let known = self.check.of(id);
            known.runs.insert(run.start.clone());
            let (seen, told) = (known.runs.len() as u32, task.runs);
            self.check
                .that(seen <= told, || format!("{}: {seen} runs told their progress, known are {told}", short(id)));
        }
        let end = match fact {
            Fact::Heard(report) if report.state.is_end() => Some(&report.state),
            Fact::Garbled(_) => Some(&State::Failure),
            _ => None,
        };
        let Some(end) = end else { return };
        let ended = task.state.is_end();
        let forgotten = task.state == State::Expired && !task.presumed;
        let own = matches!(end, State::Success | State::Failure) && matches!(fact, Fact::Heard(_));
        let kept = ended && (!own || !task.presumed || forgotten);
        let forgotten_or_cancelled = matches!(task.state, State::Expired | State::Revoked);
        let counts = own && !task.presumed && !forgotten_or_cancelled;
        let known = self.check.of(id);
        known.heard_end |= own;
        if let Fact::Heard(Report { run: Some(run), redelivered: false, .. }) = fact
            && counts
        {
            known.ends.insert(run.start.clone());
        }
        self.check.that(kept, || format!("{} was acknowledged, and is not kept: {fact:?}", short(id)));
    }

    pub(crate) fn check_answer(&mut self, offered: Uuid, key: Option<(Scope, [u8; 32])>, answer: &Answer) {
        let stopped = self.gateway.as_ref().is_some_and(|gateway| gateway.stopped);
        match answer {
            Answer::Accepted(id) => {
                let durable = self.store.tasks.contains_key(id);
                self.check.that(durable, || format!("{} was told as accepted, and is not durable", short(*id)));
                self.check.that(!stopped, || format!("{} was accepted after the stop", short(*id)));
                self.check.that(key.is_some() || *id == offered, || "another's uuid without a key".into());
                self.check.accepted.insert(*id);
                if *id != offered {
                    self.count("the same uuid for the same key");
                    self.check.refused.insert(offered);
                }
                if let Some((scope, print)) = key {
                    let one = *self.check.keys.entry(scope).or_insert((print, *id)) == (print, *id);
                    self.check.that(one, || format!("{}: one key, two tasks", short(*id)));
                }
            }
            Answer::NotWritten(_) | Answer::Busy | Answer::Conflict | Answer::InProgress => {
                let durable = self.store.tasks.contains_key(&offered);
                self.check.that(!durable, || format!("{} was told {answer:?}, and is durable", short(offered)));
                self.check.refused.insert(offered);
                if *answer == Answer::Busy {
                    self.count("outbox full");
                }
            }
            Answer::Unknown(_) => self.count("may have been accepted"),
            other => self.check.that(false, || format!("an answer to another question: {other:?}")),
        }
    }

    pub(crate) fn check_cancelled(&mut self, task: &Task) {
        let durable = self.store.tasks.get(&task.id).is_some_and(|task| task.state.is_end());
        self.check.that(durable, || format!("{} was told as cancelled, and is open", short(task.id)));
    }

    /// Nothing is left to happen.
    pub(crate) fn is_done(&self) -> bool {
        self.is_idle()
            && self.slots_are_idle()
            && self.requests.iter().all(|request| request.done)
            && self.broker.up
            && self.broker.is_empty()
            && self.workers.iter().all(crate::workers::Worker::is_idle)
            && self.store.outbox.is_empty()
            && self.store.tasks.values().all(|task| task.state.is_end())
    }

    /// Once all is calm, everything has come to its end.
    pub(crate) fn finish(&mut self) {
        let unacked = self.broker.unacked();
        self.check.that(unacked == 0, || format!("{unacked} replies were never acknowledged"));
        let waiting: Vec<_> = self.store.outbox.keys().map(|id| short(*id)).collect();
        self.check.that(waiting.is_empty(), || format!("these wait in the outbox for ever: {waiting:?}"));
        let idle = self.is_idle();
        self.check.that(idle, || "the engine is not at rest".into());
        let unanswered = self.requests.iter().filter(|request| !request.done).count();
        self.check.that(unanswered == 0, || format!("{unanswered} clients were never answered"));
        for id in self.check.accepted.clone() {
            let task = self.store.tasks.get(&id);
            self.check.that(task.is_some(), || format!("{} was accepted, and is lost", short(id)));
        }
        let forgets = self.scenario.has(Fault::Forget);
        for task in self.store.tasks.values() {
            let known = self.check.known.entry(task.id).or_default();
            let (heard, arrivals, ends) = (known.heard_end, known.arrivals, known.ends.len());
            let id = task.id;
            self.check.that(task.state.is_end(), || format!("{} never ended: {task:?}", short(id)));
            self.check.that(!(heard && task.presumed), || format!("{}: its worker's end is lost", short(id)));
            let explained = !task.presumed || task.note.is_some();
            self.check.that(explained, || format!("{}: a presumed end that says nothing", short(id)));
            let told = ends < 2 || task.attempts.max(task.runs) > 1;
            self.check.that(told, || format!("{}: {ends} ends of one run: {task:?}", short(id)));
            let visible = arrivals <= task.attempts.max(1);
            self.check.that(visible, || format!("{}: {arrivals} copies, told {}", short(id), task.attempts));
            let expired = task.state == State::Expired && !task.presumed;
            self.check.that(!expired || forgets, || format!("{}: forgotten too early", short(id)));
        }
    }
}

pub(crate) fn known_cancelled(check: &Check, id: Uuid) -> bool {
    check.known.get(&id).is_some_and(|known| known.cancelled.is_some())
}
