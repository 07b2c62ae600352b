//! Decides what to write, publish, acknowledge, revoke and answer.

use crate::{
    Accept, Change, CommitFault, Fact, Millis, State, Task, Write, Written,
    outbox::{Fate, Outbox, Waiting},
};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use uuid::Uuid;

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Accepted but unconfirmed tasks.
    pub outbox_depth: usize,
    /// Publications in flight.
    pub window: usize,
    /// Writes in one commit.
    pub batch: usize,
    /// How long a submission waits for a place in a full outbox.
    pub patience: Millis,
    /// How long a write that nobody waits for may wait for company.
    pub lazy: Millis,
    /// The store itself is the queue (embedded broker): nothing is published, workers claim.
    pub store_is_queue: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { outbox_depth: 10_000, window: 512, batch: 256, patience: 1_000, lazy: 10, store_is_queue: false }
    }
}

/// Something learnt about a task, with the receipt to be given back once it is written.
#[derive(Debug)]
pub struct Heard<R> {
    /// The task.
    pub id: Uuid,
    /// What.
    pub fact: Fact,
    /// Given back in [`Effect::Ack`], if somebody waits for it.
    pub receipt: Option<R>,
}

/// What the driver tells. `C` is a waiting client, `R` a receipt; the engine keeps and returns them, no more.
#[derive(Debug)]
pub enum Input<C, R> {
    /// A client submits.
    Submit(C, Box<Accept>),
    /// A client cancels a task of this service.
    Cancel(C, Uuid, Arc<str>),
    /// A slot of the embedded broker is free.
    Claim(C, Arc<str>),
    /// Something was learnt.
    Heard(Heard<R>),
    /// A message found in the store at start.
    Restored(Waiting),
    /// What became of a publication.
    Landed(Uuid, Fate),
    /// What became of the batch of the last [`Effect::Commit`].
    Committed(Result<Vec<Written>, CommitFault>),
    /// The broker can be reached (again).
    Connected,
    /// Time has passed.
    Tick,
}

/// What a waiting client is told.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// Accepted, now or before under the same key.
    Accepted(Uuid),
    /// The idempotency key stands for another request.
    Conflict,
    /// The outbox is full.
    Busy,
    /// The store could not take it; nothing was written.
    NotWritten(Box<str>),
    /// The store failed: it may or may not be written.
    Unknown(Box<str>),
    /// The task as it is after the cancel.
    Cancelled(Box<Task>),
    /// There is no such task.
    NoTask,
    /// The task to be run, and its message's body.
    Claimed(Box<Task>, Bytes),
    /// No task waits.
    NothingDue,
}

/// A message to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// The message.
    pub message: Waiting,
    /// Which attempt it is, from 1.
    pub attempt: u32,
}

/// What the driver has to do, in order.
#[derive(Debug)]
pub enum Effect<C, R> {
    /// Write these in one durable transaction and tell what became of it. One batch is under way at a time.
    Commit(Vec<Write>),
    /// Publish; tell its fate.
    Publish(Publish),
    /// A task of this service became due in the store (embedded broker), at that time.
    Due(Arc<str>, Millis),
    /// What was heard is durable: acknowledge it.
    Ack(R),
    /// Something was heard of a task that nobody knows.
    Stray(Uuid),
    /// It could not be written: let the broker deliver it again.
    Return(R),
    /// Tell the workers to drop or stop this task.
    Revoke(Uuid, Arc<str>),
    /// Tell a waiting client.
    Answer(C, Answer),
    /// The store must not be used any more: stop.
    Stop(Box<str>),
}

/// Who waits for a write.
#[derive(Debug)]
enum Origin<C, R> {
    Submit(C, Waiting),
    Cancel(C),
    Claim(C),
    Heard(Vec<R>),
}

/// The engine: all decisions about tasks, none about how they are carried out.
#[derive(Debug)]
pub struct Engine<C, R> {
    limits: Limits,
    outbox: Outbox,
    /// Submissions that wait for a place, until when.
    held: VecDeque<(Millis, C, Box<Accept>)>,
    queued: Vec<(Write, Origin<C, R>)>,
    /// Where in `queued` a task's last PROGRESS stands.
    progress: HashMap<Uuid, usize>,
    committing: Option<Vec<Origin<C, R>>>,
    urgent: bool,
    lazy_since: Option<Millis>,
    stopped: bool,
}

/// Submissions that may wait for a place in a full outbox; beyond, they are refused at once.
const HELD: usize = 1024;
/// Message bodies above this size are read again from the store instead of being kept until they are published.
const KEPT_BODY: usize = 64 * 1024;

impl<C, R> Engine<C, R> {
    /// An engine that knows of no task.
    pub fn new(limits: Limits) -> Self {
        Self {
            outbox: Outbox::new(limits.outbox_depth, limits.window),
            limits,
            held: VecDeque::new(),
            queued: Vec::new(),
            progress: HashMap::new(),
            committing: None,
            urgent: false,
            lazy_since: None,
            stopped: false,
        }
    }

    /// Accepted, unconfirmed tasks.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Writes that wait for the next commit.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Takes one input. Follow a run of inputs by [`Engine::flush`].
    pub fn step(&mut self, now: Millis, input: Input<C, R>, effects: &mut Vec<Effect<C, R>>) {
        match input {
            Input::Submit(client, accept) => self.submit(now, client, accept, effects),
            Input::Cancel(client, id, service) => {
                self.queue(Write::Apply { id, service: Some(service), fact: Fact::Cancelled }, Origin::Cancel(client));
            }
            Input::Claim(client, service) => self.queue(Write::Claim { service }, Origin::Claim(client)),
            Input::Heard(heard) => self.heard(now, heard),
            Input::Restored(message) => self.outbox.restore(message),
            Input::Landed(id, fate) => self.landed(now, id, fate),
            Input::Committed(result) => self.committed(now, result, effects),
            Input::Connected => self.outbox.wake(now, true),
            Input::Tick => self.tick(now, effects),
        }
    }

    /// Starts what the inputs before have made possible: the next commit, the next publications.
    pub fn flush(&mut self, now: Millis, effects: &mut Vec<Effect<C, R>>) {
        if self.stopped {
            return;
        }
        if !self.limits.store_is_queue {
            while let Some((message, attempt)) = self.outbox.next() {
                effects.push(Effect::Publish(Publish { message, attempt }));
            }
        }
        let lazy_is_due = self.lazy_since.is_some_and(|since| now >= since + self.limits.lazy);
        if self.committing.is_some() || self.queued.is_empty() || !(self.urgent || lazy_is_due) {
            return;
        }
        let count = self.queued.len().min(self.limits.batch);
        let (writes, origins): (Vec<_>, Vec<_>) = self.queued.drain(..count).unzip();
        self.progress.clear();
        self.urgent = !self.queued.is_empty();
        self.lazy_since = None;
        self.committing = Some(origins);
        effects.push(Effect::Commit(writes));
    }

    /// When [`Input::Tick`] is needed next.
    pub fn next_tick(&self) -> Option<Millis> {
        let held = self.held.front().map(|(until, ..)| *until);
        let lazy = self.lazy_since.filter(|_| self.committing.is_none()).map(|since| since + self.limits.lazy);
        [held, lazy, self.outbox.next_due()].into_iter().flatten().min()
    }

    fn submit(&mut self, now: Millis, client: C, accept: Box<Accept>, effects: &mut Vec<Effect<C, R>>) {
        if self.stopped {
            effects.push(Effect::Answer(client, Answer::NotWritten("the store has failed".into())));
        } else if self.limits.store_is_queue || self.outbox.take_place(&accept.task.service) {
            self.accept(client, accept);
        } else if self.held.len() < HELD {
            self.held.push_back((now + self.limits.patience, client, accept));
        } else {
            effects.push(Effect::Answer(client, Answer::Busy));
        }
    }

    fn accept(&mut self, client: C, accept: Box<Accept>) {
        let body = (accept.body.len() <= KEPT_BODY).then(|| accept.body.clone());
        let task = &accept.task;
        let (id, service, run_limit) = (task.id, task.service.clone(), task.run_limit);
        let message = Waiting { id, service, attempts: 0, run_limit, body };
        self.queue(Write::Accept(accept), Origin::Submit(client, message));
    }

    fn queue(&mut self, write: Write, origin: Origin<C, R>) {
        self.queued.push((write, origin));
        self.urgent = true;
    }

    fn heard(&mut self, now: Millis, Heard { id, fact, receipt }: Heard<R>) {
        let is_progress = matches!(&fact, Fact::Heard(report) if report.state == State::Progress);
        let lazy = is_progress || matches!(fact, Fact::Sent { .. });
        if let (true, Some(&at)) = (is_progress, self.progress.get(&id))
            && let Some((write, Origin::Heard(receipts))) = self.queued.get_mut(at)
        {
            *write = Write::Apply { id, service: None, fact };
            receipts.extend(receipt);
            return;
        }
        if is_progress {
            self.progress.insert(id, self.queued.len());
        } else {
            // Whatever comes between two reports of progress keeps its place between them.
            self.progress.remove(&id);
        }
        self.queued.push((Write::Apply { id, service: None, fact }, Origin::Heard(receipt.into_iter().collect())));
        if lazy && self.queued.len() < self.limits.batch {
            self.lazy_since.get_or_insert(now);
        } else {
            self.urgent = true;
        }
    }

    fn landed(&mut self, now: Millis, id: Uuid, fate: Fate) {
        let Some(attempts) = self.outbox.landed(now, id, &fate) else { return };
        let fact = match fate {
            Fate::Sent => Fact::Sent { attempts },
            Fate::Refused(why) => Fact::Refused(why),
            Fate::NotSent | Fate::Unroutable(_) | Fate::Unknown(_) => return,
        };
        self.heard(now, Heard { id, fact, receipt: None });
        self.admit_held();
    }

    fn admit_held(&mut self) {
        // In order, but a service whose half is full does not block the others.
        let mut kept = VecDeque::new();
        while let Some((until, client, accept)) = self.held.pop_front() {
            if self.outbox.take_place(&accept.task.service) {
                self.accept(client, accept);
            } else {
                kept.push_back((until, client, accept));
            }
        }
        self.held = kept;
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect<C, R>>) {
        self.outbox.wake(now, false);
        while self.held.front().is_some_and(|(until, ..)| *until <= now) {
            if let Some((_, client, _)) = self.held.pop_front() {
                effects.push(Effect::Answer(client, Answer::Busy));
            }
        }
    }

    fn committed(&mut self, now: Millis, result: Result<Vec<Written>, CommitFault>, effects: &mut Vec<Effect<C, R>>) {
        let Some(origins) = self.committing.take() else { return };
        match result {
            Ok(written) => {
                for (origin, written) in origins.into_iter().zip(written) {
                    self.settle(now, origin, written, effects);
                }
                self.admit_held();
            }
            Err(fault) => {
                self.stopped |= matches!(fault, CommitFault::Unknown(_));
                for origin in origins {
                    self.refuse(origin, &fault, effects);
                }
                if let CommitFault::Unknown(why) = fault {
                    for (_, origin) in std::mem::take(&mut self.queued) {
                        self.refuse(origin, &CommitFault::NotWritten("the store has failed".into()), effects);
                    }
                    for (_, client, _) in std::mem::take(&mut self.held) {
                        effects.push(Effect::Answer(client, Answer::NotWritten("the store has failed".into())));
                    }
                    effects.push(Effect::Stop(why));
                }
            }
        }
    }

    fn settle(&mut self, now: Millis, origin: Origin<C, R>, written: Written, effects: &mut Vec<Effect<C, R>>) {
        match (origin, written) {
            (Origin::Submit(client, message), Written::Accepted(task)) => {
                effects.push(Effect::Answer(client, Answer::Accepted(task.id)));
                if self.limits.store_is_queue {
                    effects.push(Effect::Due(message.service, now));
                } else {
                    self.outbox.put(message);
                }
            }
            (Origin::Submit(client, message), written) => {
                self.free_place(&message);
                let answer = match written {
                    Written::Same(id) => Answer::Accepted(id),
                    Written::Conflict => Answer::Conflict,
                    _ => Answer::Unknown("the store answered something else than was asked".into()),
                };
                effects.push(Effect::Answer(client, answer));
            }
            (Origin::Cancel(client), Written::Applied(task, change)) => {
                self.applied(&task, change, effects);
                effects.push(Effect::Answer(client, Answer::Cancelled(Box::new(task))));
            }
            (Origin::Cancel(client), _) => effects.push(Effect::Answer(client, Answer::NoTask)),
            (Origin::Claim(client), Written::Claimed(task, body)) => {
                effects.push(Effect::Answer(client, Answer::Claimed(Box::new(task), body)));
            }
            (Origin::Claim(client), _) => effects.push(Effect::Answer(client, Answer::NothingDue)),
            (Origin::Heard(receipts), written) => {
                match written {
                    Written::Applied(task, change) => self.applied(&task, change, effects),
                    Written::NoTask(id) => effects.push(Effect::Stray(id)),
                    _ => {}
                }
                effects.extend(receipts.into_iter().map(Effect::Ack));
            }
        }
    }

    fn free_place(&mut self, message: &Waiting) {
        if !self.limits.store_is_queue {
            self.outbox.free_place(&message.service);
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

    fn refuse(&mut self, origin: Origin<C, R>, fault: &CommitFault, effects: &mut Vec<Effect<C, R>>) {
        let answer = |fault: &CommitFault| match fault {
            CommitFault::NotWritten(why) => Answer::NotWritten(why.clone()),
            CommitFault::Unknown(why) => Answer::Unknown(why.clone()),
        };
        match origin {
            Origin::Submit(client, message) => {
                self.free_place(&message);
                effects.push(Effect::Answer(client, answer(fault)));
            }
            Origin::Cancel(client) | Origin::Claim(client) => {
                effects.push(Effect::Answer(client, answer(fault)));
            }
            Origin::Heard(receipts) => effects.extend(receipts.into_iter().map(Effect::Return)),
        }
    }
}
