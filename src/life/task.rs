//! What is known of a task, and what one can learn about it.

use crate::{Millis, State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// Who has to see that the task reaches a worker. Delivery is not state: settling never writes `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// We do: its message waits in the outbox.
    Owned,
    /// The broker or a worker has it.
    Settled,
}

/// One run of a task: a redelivered task is run again, by another host or at another time. Of an end that tells no more:
/// an empty host, and when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The worker's host.
    pub host: Box<str>,
    /// When it began, in the worker's own words.
    pub start: Box<str>,
}

/// A task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// UUIDv7: time-ordered, so that the store appends.
    pub id: Uuid,
    /// The service's name in the configuration.
    pub service: Arc<str>,
    /// The owner, as the token said.
    pub subject: Option<Arc<str>>,
    /// Where it is.
    pub state: State,
    /// JSON. What the worker sent; a [`Raised`] where [`State::is_raised`].
    pub result: Option<Bytes>,
    /// Whether it still has to be sent.
    pub delivery: Delivery,
    /// Publications (embedded broker: starts) that are not known to have failed.
    pub attempts: u32,
    /// The end is only presumed by us, and yields once to a worker's own.
    pub presumed: bool,
    /// Why we presume an end, or what else its owner should know.
    pub note: Option<Box<str>>,
    /// The run that last told its progress.
    pub run: Option<Run>,
    /// How far that run was.
    pub current: f64,
    /// How many runs were seen to begin.
    pub runs: u32,
    /// How often a failure was followed by another run (embedded broker).
    pub retries: u32,
    /// How often a run was lost, and followed by another one (embedded broker).
    pub losses: u32,
    /// Grows with each change.
    pub seq: u64,
    /// Accepted.
    pub submitted: Millis,
    /// Known to be with the broker: it confirmed, or a worker spoke of it.
    pub sent: Option<Millis>,
    /// First seen to run.
    pub started: Option<Millis>,
    /// Since when the present run is seen to run.
    pub running: Option<Millis>,
    /// How long it may wait for its first run, from its acceptance on.
    pub wait_limit: Option<Millis>,
    /// How long one run may take.
    pub run_limit: Option<Millis>,
    /// Last sign of life.
    pub heard: Millis,
    /// Ended.
    pub ended: Option<Millis>,
    /// Its place in a trace, as text (W3C Trace Context); never changes.
    pub trace: Option<Box<str>>,
}

impl Task {
    /// A task just accepted: PENDING, and ours to send.
    pub fn new(id: Uuid, service: impl Into<Arc<str>>, now: Millis) -> Self {
        Self {
            id,
            service: service.into(),
            subject: None,
            state: State::Pending,
            result: None,
            delivery: Delivery::Owned,
            attempts: 0,
            presumed: false,
            note: None,
            run: None,
            current: 0.0,
            runs: 0,
            retries: 0,
            losses: 0,
            seq: 1,
            submitted: now,
            sent: None,
            started: None,
            running: None,
            wait_limit: None,
            run_limit: None,
            heard: now,
            ended: None,
            trace: None,
        }
    }

    /// When what [`Task::deadline`] is the end of began.
    pub fn began(&self) -> Millis {
        self.running.unwrap_or(self.submitted)
    }

    /// When [`Fact::Late`] is due: its time to wait, or to run, is over then.
    pub fn deadline(&self) -> Option<Millis> {
        if self.state.is_end() {
            return None;
        }
        match (self.started, self.running) {
            (None, _) => self.wait_limit.map(|limit| self.submitted.saturating_add(limit)),
            (Some(_), Some(since)) => self.run_limit.map(|limit| since.saturating_add(limit)),
            (Some(_), None) => None,
        }
    }
}

/// An exception as its owner is told: the class name gives the code, the message is plain text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The exception's class, without its module.
    pub class: Box<str>,
    /// Its message.
    pub message: Box<str>,
}

impl Raised {
    /// An exception of that class.
    pub fn new(class: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Self { class: class.into(), message: message.into() }
    }

    /// As [`Task::result`] keeps it.
    pub fn to_json(&self) -> Bytes {
        // Two strings under two fixed keys always serialise.
        Bytes::from(serde_json::to_vec(self).expect("two strings serialise"))
    }

    /// From [`Task::result`]; anything unreadable is told as it is.
    pub fn from_json(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_else(|_| Self::new("Exception", String::from_utf8_lossy(json)))
    }
}

/// Through what we heard from a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The result backend: the worker's own word, and proof that the broker delivered.
    Queue,
    /// A worker event: told beside the result backend, so it may come late.
    Event,
    /// A slot of the embedded broker: until the end its task may have to be run again.
    Slot,
}

/// What a worker said.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The state it told.
    pub state: State,
    /// Through what we heard it.
    pub source: Source,
    /// JSON; a [`Raised`] where [`State::is_raised`].
    pub result: Option<Bytes>,
    /// Which run tells it, if it says so.
    pub run: Option<Run>,
    /// How far it is, if it says so.
    pub current: Option<f64>,
    /// The broker says that it may have delivered this before.
    pub redelivered: bool,
}

impl Report {
    /// A report of this state and nothing else.
    pub fn new(state: State, source: Source) -> Self {
        Self { state, source, result: None, run: None, current: None, redelivered: false }
    }
}

/// Why a run is followed by another one. Each is counted by itself: a restart must not use up what is granted to
/// failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was stopped in good order: not counted.
    Stopped,
    /// It failed.
    Failed,
    /// Its worker or its machine died under it.
    Lost,
}

/// What one can learn about a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The broker confirmed the message after so many attempts.
    Sent {
        /// Publications that are not known to have failed.
        attempts: u32,
    },
    /// It is about to be published again. Known before it is done, because how it went may never be.
    Tried {
        /// Publications that are not known to have failed, this one included.
        attempts: u32,
    },
    /// A slot of the embedded broker takes it.
    Claimed,
    /// The embedded broker runs it again, not before `due`; `why` it has to.
    Requeued {
        /// Not before.
        due: Millis,
        /// What happened to the run before.
        why: Raised,
        /// What that is counted as.
        cause: Cause,
    },
    /// A worker said something.
    Heard(Report),
    /// A worker said something that cannot be read: presumed to have failed.
    Garbled(Box<str>),
    /// The broker definitely refuses it: presumed to have failed.
    Refused(Box<str>),
    /// The broker gave up on one copy of its message (a dead letter): presumed to have failed, unless another copy may
    /// still be worked on.
    Dead {
        /// Which attempt sent the copy, from 1.
        attempt: u32,
        /// It died in its queue (its time was over, the queue was full), not in the hands of a worker.
        waiting: bool,
        /// What happened to it.
        why: Box<str>,
    },
    /// No sign of life since it was last heard of: presumed lost, unless it was heard of meanwhile.
    Overdue {
        /// [`Task::heard`] as it was when that was judged.
        heard: Millis,
        /// What was waited for, and how long.
        why: Box<str>,
    },
    /// It waits in a queue that exists, which is a sign of life.
    Waits,
    /// Its [`Task::deadline`] may be over.
    Late {
        /// When the wait or the run that was looked at began.
        began: Millis,
        /// How far the clock was set forward since.
        ahead: Millis,
    },
    /// Its owner cancels it.
    Cancelled,
    /// Its result is no longer kept.
    Forgotten,
}

/// What a fact changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// The task is not as it was: write it.
    pub changed: bool,
    /// Its message leaves the outbox.
    pub settled: bool,
    /// Its message becomes due in the outbox at that time.
    pub due: Option<Millis>,
    /// It was seen to run for the first time.
    pub started: bool,
    /// It ended just now.
    pub ended: bool,
    /// It was cancelled, yet a worker has it or may have it: tell the workers (again).
    pub revoke: bool,
}
