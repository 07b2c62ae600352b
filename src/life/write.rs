//! What the engine asks of a store, and what a store answers.

use crate::{Change, Fact, Millis, Task};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// An `Idempotency-Key` in the scope of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Whose key it is.
    pub subject: Option<Arc<str>>,
    /// The key.
    pub key: Box<str>,
    /// What the request asked for.
    pub fingerprint: [u8; 32],
}

/// A task to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accept {
    /// As [`Task::new`] makes it.
    pub task: Task,
    /// The message's body, stored as it will be sent.
    pub body: Bytes,
    /// Once, however often it is asked for.
    pub key: Option<IdempotencyKey>,
}

/// One write of a batch; a batch is one durable transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Task, outbox row and idempotency key. The service's count of accepted tasks grows by one.
    Accept(Box<Accept>),
    /// Reads the task, applies the fact, writes what changed.
    Apply {
        /// The task.
        id: Uuid,
        /// Only if it was sent to this service.
        service: Option<Arc<str>>,
        /// What was learnt.
        fact: Fact,
    },
    /// The outbox row of this service that has been due for longest: applies [`Fact::Claimed`], and the row is not
    /// due any more.
    Claim {
        /// The service.
        service: Arc<str>,
    },
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The task is accepted.
    Accepted(Task),
    /// The same request was accepted before, under this uuid.
    Same(Uuid),
    /// The key stands for another request.
    Conflict,
    /// The task as it is now (also if nothing changed).
    Applied(Task, Change),
    /// There is no such task.
    NoTask(Uuid),
    /// The task and its message's body.
    Claimed(Task, Bytes),
    /// Nothing is due.
    NothingDue,
}

/// Why a batch was not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitFault {
    /// Rolled back, nothing of it is written: out of space, or too busy. Try again later.
    NotWritten(Box<str>),
    /// Nobody knows whether it is written: the store must not be used any more by this process.
    Unknown(Box<str>),
}

impl CommitFault {
    /// Why, for logs.
    pub fn why(&self) -> &str {
        match self {
            CommitFault::NotWritten(why) | CommitFault::Unknown(why) => why,
        }
    }
}

/// Milliseconds after which an idempotency key is forgotten, unless its task is still open: 24 hours.
pub const KEY_KEPT: Millis = 24 * 60 * 60 * 1000;

/// The furthest that a message's due time lies ahead when it is written, in milliseconds. One that lies further ahead was
/// written before the clock was set back, and is due.
pub const DUE_MOST: Millis = 60_000;
