//! The messages that still have to reach the broker.

use crate::Millis;
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};
use uuid::Uuid;

/// What became of one publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Confirmed, and not returned.
    Sent,
    /// It never left us (no connection): not counted as an attempt.
    NotSent,
    /// Returned: no queue takes it. Known not to have arrived, so not counted as an attempt.
    Unroutable(Box<str>),
    /// The broker definitely refuses this message, now and for ever.
    Refused(Box<str>),
    /// Nobody knows (connection lost, no confirm in time, nack): counted, and sent again.
    Unknown(Box<str>),
}

/// A message in the outbox, as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The task.
    pub id: Uuid,
    /// Its service.
    pub service: Arc<str>,
    /// Publications that are not known to have failed.
    pub attempts: u32,
    /// [`Task::run_limit`](crate::Task::run_limit), for the message's headers.
    pub run_limit: Option<Millis>,
    /// [`Task::trace`](crate::Task::trace), for the message's headers.
    pub trace: Option<Box<str>>,
    /// The message's body; read again from the store where it is not at hand.
    pub body: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Ready,
    /// Its next attempt is being written down.
    Recording,
    Flying,
    Delayed(Millis),
}

#[derive(Debug)]
struct Entry {
    message: Waiting,
    failures: u32,
    /// Attempts that the store knows of.
    recorded: u32,
    at: At,
}

/// What has to be done next for a message.
#[derive(Debug)]
pub(crate) enum Next {
    /// Publish it: which attempt it is.
    Publish(Waiting, u32),
    /// It may be with the broker already. Write down that it is sent again before it is: however this process ends, a
    /// task of which there are two copies says so.
    Record(Uuid, u32),
}

/// Accepted, unconfirmed messages: bounded in all and a queue, because a dead one must not fill it.
#[derive(Debug)]
pub(crate) struct Outbox {
    entries: HashMap<Uuid, Entry>,
    ready: VecDeque<Uuid>,
    delayed: BTreeSet<(Millis, Uuid)>,
    flying: usize,
    recording: usize,
    /// Accepted or about to be, by service.
    taken: HashMap<Arc<str>, usize>,
    /// Each service's queue, where that has another name.
    queues: HashMap<Arc<str>, Arc<str>>,
    taken_in_all: usize,
    depth: usize,
    window: usize,
}

impl Outbox {
    pub(crate) fn new(depth: usize, window: usize, queues: HashMap<Arc<str>, Arc<str>>) -> Self {
        Self {
            entries: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BTreeSet::new(),
            flying: 0,
            recording: 0,
            taken: HashMap::new(),
            queues,
            taken_in_all: 0,
            depth,
            window,
        }
    }

    fn queue<'a>(&'a self, service: &'a Arc<str>) -> &'a Arc<str> {
        self.queues.get(service).unwrap_or(service)
    }

    /// Services have other queues from now on.
    pub(crate) fn set_queues(&mut self, queues: HashMap<Arc<str>, Arc<str>>) {
        self.queues = queues;
    }

    /// Takes a place for a task that is about to be accepted; `false` if there is none.
    /// One queue may hold half of all places: a dead one must not fill it, whatever services use it.
    pub(crate) fn take_place(&mut self, service: &Arc<str>) -> bool {
        let queue = self.queue(service);
        let taken = self.taken.iter().filter(|(service, _)| self.queue(service) == queue);
        let of_queue: usize = taken.map(|(_, taken)| taken).sum();
        if self.taken_in_all >= self.depth || of_queue >= self.depth.div_ceil(2) {
            return false;
        }
        self.count_place(service);
        true
    }

    fn count_place(&mut self, service: &Arc<str>) {
        *self.taken.entry(service.clone()).or_insert(0) += 1;
        self.taken_in_all += 1;
    }

    /// Gives back a place that no message fills.
    pub(crate) fn free_place(&mut self, service: &Arc<str>) {
        self.taken_in_all = self.taken_in_all.saturating_sub(1);
        if let Some(taken) = self.taken.get_mut(service) {
            *taken = taken.saturating_sub(1);
        }
    }

    /// A message whose place is taken already.
    pub(crate) fn put(&mut self, message: Waiting) {
        let id = message.id;
        if self.entries.insert(id, Entry { message, failures: 0, recorded: 0, at: At::Ready }).is_none() {
            self.ready.push_back(id);
        }
    }

    /// A message found in the store: it counts, even beyond the depth. One that is at hand stays as it is.
    pub(crate) fn restore(&mut self, message: Waiting) {
        if !self.entries.contains_key(&message.id) {
            self.count_place(&message.service);
            self.put(message);
        }
    }

    /// The messages at hand.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.entries.keys().copied()
    }

    /// Those of which it is certain that they never reached the broker.
    pub(crate) fn untried(&self) -> impl Iterator<Item = Uuid> {
        self.entries.values().filter(|entry| entry.message.attempts == 0).map(|entry| entry.message.id)
    }

    /// The next message to be published, if the window has room: counted as an attempt until it is known to have failed.
    pub(crate) fn next(&mut self) -> Option<Next> {
        while self.flying + self.recording < self.window {
            let id = self.ready.pop_front()?;
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if entry.at != At::Ready {
                continue;
            }
            let attempt = entry.message.attempts + 1;
            if attempt > 1 && entry.recorded < attempt {
                entry.at = At::Recording;
                self.recording += 1;
                return Some(Next::Record(id, attempt));
            }
            entry.at = At::Flying;
            entry.message.attempts += 1;
            self.flying += 1;
            // Handed over; a retry reads it from the store.
            let body = entry.message.body.take();
            return Some(Next::Publish(Waiting { body, ..entry.message.clone() }, attempt));
        }
        None
    }

    /// The attempt that [`Next::Record`] told is written down, or could not be and is tried again at `again`.
    pub(crate) fn recorded(&mut self, id: Uuid, result: Result<u32, Millis>) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.at == At::Recording) else { return };
        self.recording -= 1;
        match result {
            Ok(attempt) => {
                entry.recorded = attempt;
                entry.at = At::Ready;
                // It has waited before the others.
                self.ready.push_front(id);
            }
            Err(again) => {
                entry.at = At::Delayed(again);
                self.delayed.insert((again, id));
            }
        }
    }

    /// Learns what became of a publication. `None` if nobody waits for it any more.
    pub(crate) fn landed(&mut self, now: Millis, id: Uuid, fate: &Fate) -> Option<u32> {
        let entry = self.entries.get_mut(&id)?;
        if entry.at != At::Flying {
            return None;
        }
        self.flying -= 1;
        entry.at = At::Ready;
        if matches!(fate, Fate::NotSent | Fate::Unroutable(_)) {
            entry.message.attempts -= 1;
        }
        let attempts = entry.message.attempts;
        match fate {
            Fate::Sent | Fate::Refused(_) => {
                self.remove(id);
            }
            Fate::NotSent | Fate::Unroutable(_) | Fate::Unknown(_) => {
                entry.failures += 1;
                let due = now + back_off(id, entry.failures);
                entry.at = At::Delayed(due);
                self.delayed.insert((due, id));
            }
        }
        Some(attempts)
    }

    /// It will never be sent (again). Says whether it may have left us before.
    pub(crate) fn remove(&mut self, id: Uuid) -> Option<bool> {
        let entry = self.entries.remove(&id)?;
        match entry.at {
            At::Delayed(due) => {
                self.delayed.remove(&(due, id));
            }
            At::Flying => self.flying = self.flying.saturating_sub(1),
            At::Recording => self.recording = self.recording.saturating_sub(1),
            At::Ready => {}
        }
        self.free_place(&entry.message.service.clone());
        Some(entry.message.attempts > 0)
    }

    /// Makes ready what is due; everything, if the broker just came back.
    pub(crate) fn wake(&mut self, now: Millis, everything: bool) {
        while let Some(&(due, id)) = self.delayed.first() {
            if due > now && !everything {
                break;
            }
            self.delayed.pop_first();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.at = At::Ready;
                self.ready.push_back(id);
            }
        }
    }

    pub(crate) fn clock_set_back(&mut self, back: Millis) {
        for (due, id) in std::mem::take(&mut self.delayed) {
            let due = due - back;
            self.delayed.insert((due, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.at = At::Delayed(due);
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.delayed.first().map(|&(due, _)| due)
    }

    pub(crate) fn len(&self) -> usize {
        self.taken_in_all
    }
}

/// 200 ms, doubled with each failure up to 30 s, spread by up to a half so that many messages do not return at once.
/// The spread comes from the task's id: the engine is pure.
fn back_off(id: Uuid, failures: u32) -> Millis {
    let base = 200_i64 << failures.saturating_sub(1).min(8);
    let base = base.min(30_000);
    let seed = id.as_u128() as u64 ^ u64::from(failures).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    base + (seed % (base as u64 / 2 + 1)) as i64
}
