//! What the engine is told, and what it tells.

use crate::{
    Accept, CommitFault, Fact, Millis, Task, Write, Written,
    outbox::{Fate, Waiting},
};
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Accepted but unconfirmed tasks.
    pub outbox_depth: usize,
    /// The queue of each service that has another name than its service: half of the depth is for one queue.
    pub queues: HashMap<Arc<str>, Arc<str>>,
    /// Publications in flight.
    pub window: usize,
    /// Writes in one commit.
    pub batch: usize,
    /// How long a submission waits for a place in a full outbox.
    pub patience: Millis,
    /// How long a write that nobody waits for may wait for company.
    pub lazy: Millis,
    /// How long clients wait for a commit that does not end; a second of it from when that was looked at.
    pub store_patience: Millis,
    /// The store itself is the queue (embedded broker): nothing is published, workers claim.
    pub store_is_queue: bool,
    /// Other gateways use the store too: what waits in memory may have been settled there by one of them.
    pub shared: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outbox_depth: 10_000,
            queues: HashMap::new(),
            window: 512,
            batch: 256,
            patience: 1_000,
            lazy: 10,
            store_patience: 5_000,
            store_is_queue: false,
            shared: false,
        }
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
    /// A message found in the store: at start, or when another gateway was gone.
    Restored(Waiting),
    /// Publishing is allowed from now on, in this term of the gateway's lease; or not any more. At first it is, in
    /// term 0. In a new term others may have claimed what waited in the old one: [`Effect::Reload`] comes first.
    Lease(Option<u64>),
    /// What [`Effect::Reload`] found.
    Reloaded(Result<Vec<Waiting>, Box<str>>),
    /// What became of a publication.
    Landed(Uuid, Fate),
    /// What became of the batch of the last [`Effect::Commit`].
    Committed(Result<Vec<Written>, CommitFault>),
    /// Another configuration: [`Limits::queues`] from now on.
    Queues(HashMap<Arc<str>, Arc<str>>),
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
    /// A request with the same idempotency key is being written: it is not known yet what becomes of it.
    InProgress,
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
    /// The term of the lease in which it was decided: not to be published in another.
    pub term: u64,
}

/// What the driver has to do, in order.
#[derive(Debug)]
pub enum Effect<C, R> {
    /// Write these in one durable transaction and tell what became of it. One batch is under way at a time.
    Commit(Vec<Write>),
    /// Publish; tell its fate.
    Publish(Publish),
    /// Read which messages of the store are this gateway's, and tell by [`Input::Reloaded`]. No commit is under way
    /// meanwhile.
    Reload,
    /// A task of this service became due in the store (embedded broker), at that time.
    Due(Arc<str>, Millis),
    /// What was heard is durable: acknowledge it.
    Ack(R),
    /// Something was heard of a task that nobody knows.
    Stray(Uuid),
    /// This process will never write it: leave it to the next one.
    Return(R),
    /// Tell the workers to drop or stop this task.
    Revoke(Uuid, Arc<str>),
    /// Tell a waiting client.
    Answer(C, Answer),
    /// The store must not be used any more: stop.
    Stop(Box<str>),
}
