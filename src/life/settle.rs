//! What follows from a commit.

use crate::{
    Answer, Change, CommitFault, Delivery, Effect, Engine, Fact, Heard, Input, Millis, Task, Write, Written,
    engine::{Committing, Origin},
    outbox::Waiting,
    resting::AGAIN,
};
use uuid::Uuid;

const FAILED: &str = "the store has failed";

/// How clients wait for a commit. In two parts: where the process stood still, or the clock was set forward, the first is
/// over at once, and the store still has the second to be heard in.
#[derive(Debug)]
pub(crate) enum Waits {
    /// Until then, and then for [`LAST_LOOK`].
    Patiently(Millis),
    /// Until then.
    Once(Millis),
    /// It takes too long: its clients were told so.
    NoLonger,
}

/// The second part of the wait for a commit.
const LAST_LOOK: Millis = 1_000;

impl Waits {
    pub(crate) fn begin(now: Millis, patience: Millis) -> Self {
        Self::Patiently(now + patience - LAST_LOOK)
    }

    pub(crate) fn until(&self) -> Option<Millis> {
        match self {
            Self::Patiently(until) | Self::Once(until) => Some(*until),
            Self::NoLonger => None,
        }
    }

    pub(crate) fn clock_set_back(&mut self, back: Millis) {
        match self {
            Self::Patiently(until) | Self::Once(until) => *until -= back,
            Self::NoLonger => {}
        }
    }

    /// Goes on to what follows if the time is over; `true` if that is [`Waits::NoLonger`] now.
    fn give_up(&mut self, now: Millis) -> bool {
        match *self {
            Self::Patiently(until) if until <= now => *self = Self::Once(now + LAST_LOOK),
            Self::Once(until) if until <= now => *self = Self::NoLonger,
            _ => {}
        }
        matches!(self, Self::NoLonger)
    }
}

impl<C, R> Engine<C, R> {
    pub(crate) fn committed(
        &mut self,
        now: Millis,
        result: Result<Vec<Written>, CommitFault>,
        effects: &mut Vec<Effect<C, R>>,
    ) {
        let Some(Committing { origins, .. }) = self.committing.take() else { return };
        let fault = match result {
            Ok(written) => {
                for (origin, written) in origins.into_iter().zip(written) {
                    self.settle(now, origin, written, effects);
                }
                return self.admit_held();
            }
            Err(fault) => fault,
        };
        for origin in origins {
            self.refuse(now, origin, &fault, effects);
        }
        match fault {
            CommitFault::NotWritten(_) => {
                self.queue_behind_resting(now);
                // What only we know rests; whoever waits for something else is told at once that it cannot be.
                self.urgent = self.queued.iter().any(|(_, origin)| !matches!(origin, Origin::Own(..)));
            }
            CommitFault::Unknown(why) => self.stop(now, why, effects),
        }
    }

    /// What was not written rests, and what came later of the same tasks behind it.
    fn queue_behind_resting(&mut self, now: Millis) {
        for entry in std::mem::take(&mut self.queued) {
            match &entry.1 {
                Origin::Heard(id, ..) | Origin::Own(id, _) if self.resting.holds(*id) => {
                    self.resting.put(now, *id, entry);
                }
                _ => self.queued.push(entry),
            }
        }
        self.progress.clear();
        if self.queued.is_empty() {
            self.lazy_due = None;
        }
    }

    /// What has rested is written before what came later.
    pub(crate) fn wake_resting(&mut self, now: Millis) {
        let rested = self.resting.rested(now);
        if !rested.is_empty() {
            self.queued.splice(0..0, rested);
            self.progress.clear();
            self.urgent = true;
        }
    }

    /// Nothing more is written by this process.
    fn stop(&mut self, now: Millis, why: Box<str>, effects: &mut Vec<Effect<C, R>>) {
        self.stopped = true;
        let rested = self.resting.take();
        for (_, origin) in rested.into_iter().chain(std::mem::take(&mut self.queued)) {
            self.refuse(now, origin, &CommitFault::NotWritten(FAILED.into()), effects);
        }
        for (_, client, _) in std::mem::take(&mut self.held) {
            effects.push(Effect::Answer(client, Answer::NotWritten(FAILED.into())));
        }
        effects.push(Effect::Stop(why));
    }

    /// Tells clients that the commit under way takes too long: nobody knows what becomes of what is in it, and nothing
    /// of what waits behind it will be written.
    pub(crate) fn give_up_waiting(&mut self, now: Millis, effects: &mut Vec<Effect<C, R>>) {
        const SLOW: &str = "the store does not answer";
        let Some(committing) = self.committing.as_mut() else { return };
        if !committing.waits.give_up(now) {
            return;
        }
        for origin in &mut committing.origins {
            if let Origin::Submit(client, ..) | Origin::Cancel(client) = origin
                && let Some(client) = client.take()
            {
                effects.push(Effect::Answer(client, Answer::Unknown(SLOW.into())));
            }
        }
        let is_client = |origin: &Origin<C, R>| matches!(origin, Origin::Submit(..) | Origin::Cancel(_));
        if self.queued.iter().any(|(_, origin)| is_client(origin)) {
            let (clients, others) =
                std::mem::take(&mut self.queued).into_iter().partition::<Vec<_>, _>(|(_, origin)| is_client(origin));
            self.queued = others;
            self.progress.clear();
            for (_, origin) in clients {
                self.refuse(now, origin, &CommitFault::NotWritten(SLOW.into()), effects);
            }
        }
    }

    fn settle(&mut self, now: Millis, origin: Origin<C, R>, written: Written, effects: &mut Vec<Effect<C, R>>) {
        match (origin, written) {
            (Origin::Submit(client, message, scope), Written::Accepted(task)) => {
                self.over(scope.as_ref());
                tell(client, Answer::Accepted(task.id), effects);
                if self.limits.store_is_queue {
                    effects.push(Effect::Due(message.service, now));
                } else {
                    self.outbox.put(message);
                }
            }
            (Origin::Submit(client, message, scope), written) => {
                self.free_place(&message);
                self.over(scope.as_ref());
                let answer = match written {
                    Written::Same(id) => Answer::Accepted(id),
                    Written::Conflict => Answer::Conflict,
                    _ => Answer::Unknown("the store answered something else than was asked".into()),
                };
                tell(client, answer, effects);
            }
            (Origin::Cancel(client), Written::Applied(task, change)) => {
                self.applied(&task, change, effects);
                tell(client, Answer::Cancelled(Box::new(task)), effects);
            }
            (Origin::Cancel(client), _) => tell(client, Answer::NoTask, effects),
            (Origin::Claim(client), Written::Claimed(task, body)) => {
                effects.push(Effect::Answer(client, Answer::Claimed(Box::new(task), body)));
            }
            (Origin::Claim(client), _) => effects.push(Effect::Answer(client, Answer::NothingDue)),
            (Origin::Hint, written) => self.learnt(written, effects),
            (Origin::Heard(.., receipts), written) => {
                self.learnt(written, effects);
                effects.extend(receipts.into_iter().map(Effect::Ack));
            }
            (Origin::Own(..), Written::Applied(task, change)) => self.applied(&task, change, effects),
            // Its record is gone: so is the message.
            (Origin::Own(..), _) => {}
            (Origin::Tried(id, attempts), Written::Applied(task, _)) if task.delivery == Delivery::Owned => {
                self.outbox.recorded(id, Ok(attempts));
            }
            // It was settled meanwhile.
            (Origin::Tried(id, _), _) => {
                self.outbox.remove(id);
            }
        }
    }

    pub(crate) fn free_place(&mut self, message: &Waiting) {
        if !self.limits.store_is_queue {
            self.outbox.free_place(&message.service);
        }
    }

    fn learnt(&mut self, written: Written, effects: &mut Vec<Effect<C, R>>) {
        match written {
            Written::Applied(task, change) => self.applied(&task, change, effects),
            Written::NoTask(id) => effects.push(Effect::Stray(id)),
            _ => {}
        }
    }

    /// What follows from a change, whoever caused it.
    fn applied(&mut self, task: &Task, change: Change, effects: &mut Vec<Effect<C, R>>) {
        let mut left_us = true;
        if change.settled || task.state.is_end() {
            // A message that never left us needs no revoke: nobody can have it.
            left_us = self.outbox.remove(task.id).unwrap_or(true);
        }
        if let Some(due) = change.due {
            effects.push(Effect::Due(task.service.clone(), due));
        }
        if change.revoke && left_us {
            effects.push(Effect::Revoke(task.id, task.service.clone()));
        }
    }

    fn refuse(&mut self, now: Millis, origin: Origin<C, R>, fault: &CommitFault, effects: &mut Vec<Effect<C, R>>) {
        let answer = match fault {
            CommitFault::NotWritten(why) => Answer::NotWritten(why.clone()),
            CommitFault::Unknown(why) => Answer::Unknown(why.clone()),
        };
        let is_last = self.stopped || matches!(fault, CommitFault::Unknown(_));
        match origin {
            Origin::Submit(client, message, scope) => {
                self.free_place(&message);
                self.over(scope.as_ref());
                tell(client, answer, effects);
            }
            Origin::Cancel(client) => tell(client, answer, effects),
            Origin::Claim(client) => effects.push(Effect::Answer(client, answer)),
            Origin::Heard(id, fact, receipts) if !is_last => {
                self.resting.put(now, id, (apply(id, fact.clone()), Origin::Heard(id, fact, receipts)));
            }
            Origin::Heard(.., receipts) => effects.extend(receipts.into_iter().map(Effect::Return)),
            Origin::Own(id, fact) if !is_last => {
                self.resting.put(now, id, (apply(id, fact.clone()), Origin::Own(id, fact)));
            }
            // The next process finds the message in the store.
            Origin::Own(..) | Origin::Hint => {}
            Origin::Tried(id, _) => self.outbox.recorded(id, Err(now + AGAIN)),
        }
    }
}

fn apply(id: Uuid, fact: Fact) -> Write {
    Write::Apply { id, service: None, fact }
}

/// Nothing more is written by this process: whoever waits for that is told so, and what was heard is left to the next.
pub(crate) fn refuse_stopped<C, R>(input: Input<C, R>, effects: &mut Vec<Effect<C, R>>) {
    match input {
        Input::Submit(client, _) | Input::Cancel(client, ..) | Input::Claim(client, _) => {
            effects.push(Effect::Answer(client, Answer::NotWritten(FAILED.into())));
        }
        Input::Heard(Heard { receipt, .. }) => effects.extend(receipt.map(Effect::Return)),
        _ => {}
    }
}

/// A client that was told before is not told again.
fn tell<C, R>(client: Option<C>, answer: Answer, effects: &mut Vec<Effect<C, R>>) {
    effects.extend(client.map(|client| Effect::Answer(client, answer)));
}
