//! Decides what to write, publish, acknowledge, revoke and answer.

use crate::{
    Accept, Answer, Effect, Fact, Heard, Input, Limits, Millis, Publish, Run, Source, State, Write,
    outbox::{Fate, Next, Outbox, Waiting},
    reload::Reload,
    resting::Resting,
    settle::{Waits, refuse_stopped},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};
use uuid::Uuid;

/// Subject and idempotency key.
pub(crate) type Scope = (Option<Arc<str>>, Box<str>);

/// Who waits for a write. A client that was told to wait no longer is `None`.
#[derive(Debug)]
pub(crate) enum Origin<C, R> {
    Submit(Option<C>, Waiting, Option<Scope>),
    Cancel(Option<C>),
    Claim(C),
    /// What was heard, and who waits until it is written.
    Heard(Uuid, Fact, Vec<R>),
    /// What was heard and is heard again, or found again by the sweeper, if it is not written.
    Hint,
    /// What nobody would tell again: the fate of a publication, the end of a run that nobody waits for.
    Own(Uuid, Fact),
    /// An attempt that has to be known before it is made.
    Tried(Uuid, u32),
}

/// A commit under way.
#[derive(Debug)]
pub(crate) struct Committing<C, R> {
    pub(crate) origins: Vec<Origin<C, R>>,
    pub(crate) waits: Waits,
}

/// The engine: all decisions about tasks, none about how they are carried out.
#[derive(Debug)]
pub struct Engine<C, R> {
    pub(crate) limits: Limits,
    pub(crate) outbox: Outbox,
    /// Submissions that wait for a place, until when.
    pub(crate) held: VecDeque<(Millis, C, Box<Accept>)>,
    /// The keys of submissions that are held, queued or being committed.
    pub(crate) in_progress: HashSet<Scope>,
    pub(crate) queued: Vec<(Write, Origin<C, R>)>,
    /// Where in `queued` a task's last PROGRESS stands.
    pub(crate) progress: HashMap<Uuid, usize>,
    pub(crate) resting: Resting<C, R>,
    pub(crate) committing: Option<Committing<C, R>>,
    pub(crate) reload: Reload,
    /// Something in `queued` wants a commit at once.
    pub(crate) urgent: bool,
    /// When the rest of it does.
    pub(crate) lazy_due: Option<Millis>,
    pub(crate) stopped: bool,
    /// When it was last told the time.
    clock: Millis,
}

/// Submissions that may wait for a place in a full outbox; beyond, they are refused at once.
const HELD: usize = 1024;
/// Message bodies above this size are read again from the store instead of being kept until they are published.
const KEPT_BODY: usize = 64 * 1024;

impl<C, R> Engine<C, R> {
    /// An engine that knows of no task.
    pub fn new(limits: Limits) -> Self {
        Self {
            outbox: Outbox::new(limits.outbox_depth, limits.window, limits.queues.clone()),
            limits,
            held: VecDeque::new(),
            in_progress: HashSet::new(),
            queued: Vec::new(),
            progress: HashMap::new(),
            resting: Resting::default(),
            committing: None,
            reload: Reload::default(),
            urgent: false,
            lazy_due: None,
            stopped: false,
            clock: Millis::MIN,
        }
    }

    /// Accepted, unconfirmed tasks.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// Messages at hand of which it is certain that they never reached the broker.
    pub fn untried(&self) -> Vec<Uuid> {
        self.outbox.untried().collect()
    }

    /// Writes that wait for a commit.
    pub fn queued(&self) -> usize {
        self.queued.len() + self.resting.len()
    }

    /// Takes one input. Follow a run of inputs by [`Engine::flush`].
    pub fn step(&mut self, now: Millis, input: Input<C, R>, effects: &mut Vec<Effect<C, R>>) {
        if self.stopped {
            return refuse_stopped(input, effects);
        }
        self.keep_time(now);
        match input {
            Input::Submit(client, accept) => self.submit(now, client, accept, effects),
            Input::Cancel(client, id, service) => {
                let write = Write::Apply { id, service: Some(service), fact: Fact::Cancelled };
                self.queue(write, Origin::Cancel(Some(client)));
            }
            Input::Claim(client, service) => self.queue(Write::Claim { service }, Origin::Claim(client)),
            Input::Heard(heard) => self.heard(now, heard),
            Input::Restored(message) => self.outbox.restore(message),
            Input::Landed(id, fate) => self.landed(now, id, fate),
            Input::Queues(queues) => {
                self.outbox.set_queues(queues);
                self.admit_held();
            }
            Input::Committed(result) => self.committed(now, result, effects),
            Input::Connected => {
                self.outbox.wake(now, true);
                if self.limits.shared {
                    // What could not be sent for a while may have been cancelled at another gateway.
                    self.reload.want(now);
                }
            }
            Input::Lease(term) => self.reload.lease(now, term),
            Input::Reloaded(found) => self.reloaded(now, found),
            Input::Tick => self.tick(now, effects),
        }
    }

    /// Starts what the inputs before have made possible: the next commit, the next publications.
    pub fn flush(&mut self, now: Millis, effects: &mut Vec<Effect<C, R>>) {
        if self.stopped {
            return;
        }
        self.keep_time(now);
        if let (false, Some(term)) = (self.limits.store_is_queue, self.reload.term()) {
            while let Some(next) = self.outbox.next() {
                match next {
                    Next::Publish(message, attempt) => {
                        effects.push(Effect::Publish(Publish { message, attempt, term }));
                    }
                    Next::Record(id, attempts) => {
                        let write = Write::Apply { id, service: None, fact: Fact::Tried { attempts } };
                        self.queue(write, Origin::Tried(id, attempts));
                    }
                }
            }
        }
        if self.committing.is_some() {
            return self.give_up_waiting(now, effects);
        }
        if self.reload.begin(now, || self.outbox.ids().collect()) {
            effects.push(Effect::Reload);
        }
        self.wake_resting(now);
        let lazy_is_due = self.lazy_due.is_some_and(|due| now >= due);
        if self.reload.is_under_way() || self.queued.is_empty() || !(self.urgent || lazy_is_due) {
            return;
        }
        let count = self.queued.len().min(self.limits.batch);
        let (writes, origins): (Vec<_>, Vec<_>) = self.queued.drain(..count).unzip();
        self.progress.clear();
        self.urgent = !self.queued.is_empty();
        self.lazy_due = None;
        self.committing = Some(Committing { origins, waits: Waits::begin(now, self.limits.store_patience) });
        effects.push(Effect::Commit(writes));
    }

    /// When [`Input::Tick`] is needed next.
    pub fn next_tick(&self) -> Option<Millis> {
        if self.stopped {
            return None;
        }
        let held = self.held.front().map(|(until, ..)| *until);
        let store = match &self.committing {
            Some(committing) => committing.waits.until(),
            None if self.reload.is_under_way() => None,
            None => [self.lazy_due, self.reload.due(), self.resting.due()].into_iter().flatten().min(),
        };
        [held, store, self.outbox.next_due()].into_iter().flatten().min()
    }

    /// Waits go on as long as they were meant to, even if the clock is set back.
    fn keep_time(&mut self, now: Millis) {
        let back = self.clock.saturating_sub(now);
        self.clock = now;
        if back <= 0 {
            return;
        }
        self.held.iter_mut().for_each(|(until, ..)| *until -= back);
        self.lazy_due = self.lazy_due.map(|due| due - back);
        if let Some(committing) = &mut self.committing {
            committing.waits.clock_set_back(back);
        }
        self.reload.clock_set_back(back);
        self.resting.clock_set_back(back);
        self.outbox.clock_set_back(back);
    }

    fn submit(&mut self, now: Millis, client: C, accept: Box<Accept>, effects: &mut Vec<Effect<C, R>>) {
        let scope = scope(&accept);
        if let Some(scope) = &scope
            && !self.in_progress.insert(scope.clone())
        {
            return effects.push(Effect::Answer(client, Answer::InProgress));
        }
        if self.limits.store_is_queue || self.outbox.take_place(&accept.task.service) {
            self.accept(client, accept);
        } else if self.held.len() < HELD {
            self.held.push_back((now + self.limits.patience, client, accept));
        } else {
            self.over(scope.as_ref());
            effects.push(Effect::Answer(client, Answer::Busy));
        }
    }

    /// What becomes of the submission with this key is known, or nothing does.
    pub(crate) fn over(&mut self, scope: Option<&Scope>) {
        if let Some(scope) = scope {
            self.in_progress.remove(scope);
        }
    }

    /// Drops submissions that are not being committed yet and whose client is `gone`: a task must not be run behind the
    /// back of one who was told nothing. Call it before [`Engine::flush`].
    pub fn drop_gone(&mut self, gone: impl Fn(&C) -> bool) {
        if self.held.iter().any(|(_, client, _)| gone(client)) {
            let (left, held) = std::mem::take(&mut self.held).into_iter().partition(|(_, client, _)| gone(client));
            self.held = held;
            left.iter().for_each(|(_, _, accept): &(_, _, Box<Accept>)| self.over(scope(accept).as_ref()));
        }
        let left = |origin: &Origin<C, R>| matches!(origin, Origin::Submit(Some(client), ..) if gone(client));
        // A batch that is about to be taken, and only that: what waits behind a commit is looked at when its turn comes.
        if self.committing.is_some() || !self.queued.iter().any(|(_, origin)| left(origin)) {
            return;
        }
        let (dropped, queued) =
            std::mem::take(&mut self.queued).into_iter().partition::<Vec<_>, _>(|(_, origin)| left(origin));
        self.queued = queued;
        self.progress.clear();
        for (_, origin) in dropped {
            if let Origin::Submit(_, message, scope) = origin {
                self.free_place(&message);
                self.over(scope.as_ref());
            }
        }
        self.admit_held();
    }

    fn accept(&mut self, client: C, accept: Box<Accept>) {
        let body = (accept.body.len() <= KEPT_BODY).then(|| accept.body.clone());
        let task = &accept.task;
        let (id, service, run_limit) = (task.id, task.service.clone(), task.run_limit);
        let message = Waiting { id, service, attempts: 0, run_limit, trace: task.trace.clone(), body };
        let scope = scope(&accept);
        self.queue(Write::Accept(accept), Origin::Submit(Some(client), message, scope));
    }

    fn queue(&mut self, write: Write, origin: Origin<C, R>) {
        self.queued.push((write, origin));
        self.urgent = true;
    }

    fn heard(&mut self, now: Millis, Heard { id, fact, receipt }: Heard<R>) {
        if self.resting.holds(id) {
            return match learnt(id, fact, receipt.into_iter().collect()) {
                (_, Origin::Hint) => {}
                kept => self.resting.put(now, id, kept),
            };
        }
        let is_progress = matches!(&fact, Fact::Heard(report) if report.state == State::Progress);
        if let (true, Some(&at)) = (is_progress, self.progress.get(&id))
            && let Some((write, origin)) = self.queued.get_mut(at)
            && run_of(write) == run_of_fact(&fact)
        {
            let mut receipts = match origin {
                Origin::Heard(_, _, receipts) => std::mem::take(receipts),
                _ => Vec::new(),
            };
            receipts.extend(receipt);
            (*write, *origin) = learnt(id, fact, receipts);
            return;
        }
        if is_progress {
            self.progress.insert(id, self.queued.len());
        } else {
            // Whatever comes between two reports of progress keeps its place between them.
            self.progress.remove(&id);
        }
        self.queued.push(learnt(id, fact, receipt.into_iter().collect()));
        if is_progress && self.queued.len() < self.limits.batch {
            self.lazy_due.get_or_insert(now + self.limits.lazy);
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
        self.progress.remove(&id);
        self.queue_own(id, fact, now + self.limits.lazy);
        self.admit_held();
    }

    /// A write that nobody waits for, but that must not be forgotten.
    pub(crate) fn queue_own(&mut self, id: Uuid, fact: Fact, due: Millis) {
        self.queued.push((Write::Apply { id, service: None, fact: fact.clone() }, Origin::Own(id, fact)));
        self.lazy_due = Some(self.lazy_due.map_or(due, |other| other.min(due)));
        self.urgent |= self.queued.len() >= self.limits.batch;
    }

    pub(crate) fn admit_held(&mut self) {
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
            if let Some((_, client, accept)) = self.held.pop_front() {
                self.over(scope(&accept).as_ref());
                effects.push(Effect::Answer(client, Answer::Busy));
            }
        }
    }
}

/// Something learnt, as it is queued.
fn learnt<C, R>(id: Uuid, fact: Fact, receipts: Vec<R>) -> (Write, Origin<C, R>) {
    let origin = match receipts.is_empty() {
        true if is_told_once(&fact) => Origin::Own(id, fact.clone()),
        true => Origin::Hint,
        false => Origin::Heard(id, fact.clone(), receipts),
    };
    (Write::Apply { id, service: None, fact }, origin)
}

fn scope(accept: &Accept) -> Option<Scope> {
    accept.key.as_ref().map(|key| (key.subject.clone(), key.key.clone()))
}

fn run_of(write: &Write) -> Option<&Run> {
    match write {
        Write::Apply { fact, .. } => run_of_fact(fact),
        _ => None,
    }
}

/// Two runs of one task are never taken for one.
fn run_of_fact(fact: &Fact) -> Option<&Run> {
    match fact {
        Fact::Heard(report) => report.run.as_ref(),
        _ => None,
    }
}

/// Ends of runs that nobody waits for are told by nobody else. Other facts without a receipt are hints that come again, or
/// are found again by the sweeper.
fn is_told_once(fact: &Fact) -> bool {
    match fact {
        Fact::Requeued { .. } => true,
        Fact::Heard(report) => report.source == Source::Slot && report.state.is_end(),
        _ => false,
    }
}
