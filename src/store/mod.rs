//! What is durable: tasks, their messages, idempotency keys, counts.
//!
//! A [`Store`] carries out batches of [`Write`]s, each batch one durable transaction, and knows no rule about tasks:
//! those are in [`gateway_life::apply`], which it calls inside the transaction.

mod postgres;
mod sqlite;

use bytes::Bytes;
use gateway_contract::{BoxFuture, Stats};
use gateway_life::{CommitFault, Fact, Millis, Task, Waiting, Write, Written};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

pub use postgres::{Leader, Postgres};
pub use sqlite::Sqlite;

/// What a read or the opening of a store fails with. Never holds a password.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the file.
    #[error("{0} is in use by another process: one gateway a file (several gateways need postgres)")]
    InUse(PathBuf),
    /// The schema is of a newer program.
    #[error("the store's schema is version {found}, this program knows up to {known}: run a newer service-gateway")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The store cannot be read now.
    #[error("the store failed: {0}")]
    Failed(Arc<str>),
    /// No answer in time, or the store was closed.
    #[error("the store did not answer in time")]
    TimedOut,
}

/// How long what is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Results, after the end.
    pub results: Millis,
    /// Records, after the end.
    pub records: Millis,
    /// Without a sign of life.
    pub silence: Millis,
    /// Idempotency keys, this much longer than they were to be.
    pub keys: Millis,
    /// How the clock was set forward meanwhile: tasks are not late for that.
    pub jumps: Vec<Jump>,
}

/// The clock was set forward. What began later than `from`, by whatever clock, did not begin before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// What it said before.
    pub from: Millis,
    /// How far it was set.
    pub ahead: Millis,
}

/// What a sweep found: facts to be applied, at most as many as were asked for.
#[derive(Debug, Default)]
pub struct Swept {
    /// Tasks and what is to be told of them.
    pub facts: Vec<(Uuid, Fact)>,
    /// Records deleted.
    pub deleted: Vec<Uuid>,
    /// Tasks without a sign of life for too long: whoever knows the broker judges whether they still wait in a queue.
    pub silent: Vec<Task>,
    /// After which task the next sweep looks for silent ones: nil, if it was looked at all of them.
    pub next: Uuid,
}

impl Swept {
    /// Where to go on: behind the last silent task if there were as many as asked for, else behind the last of the tasks
    /// that were looked at, `slice`, if there may be more.
    fn goes_on_after(&self, limit: usize, slice: Option<Uuid>) -> Uuid {
        let last = self.silent.last().filter(|_| self.silent.len() >= limit).map(|task| task.id);
        last.or(slice).unwrap_or_default()
    }
}

/// A task that a slot of the embedded broker was running when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The task.
    pub id: Uuid,
    /// Its service.
    pub service: Arc<str>,
    /// How many of its runs were lost before this one.
    pub losses: u32,
}

/// A cancelled task and its service.
pub type Cancelled = (Uuid, Arc<str>);

/// A task of which a worker may still report, and when its end was presumed, if it was.
pub type Unsettled = (Uuid, Option<Millis>);

/// A service, and when the first of its messages is due (or when a task of its was accepted).
pub type Due = (Arc<str>, Millis);

/// What is counted of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted tasks, ever.
    pub accepted: u64,
    /// Messages in the outbox that are due.
    pub due: u64,
    /// Since when the first of them is.
    pub due_since: Option<Millis>,
    /// Open tasks, among the oldest [`OPEN`] of all services.
    pub open: u64,
    /// Those of them that a worker was seen to run.
    pub running: u64,
    /// When the oldest of them that was never started was accepted.
    pub oldest: Option<Millis>,
}

/// A task that a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// Its service.
    pub service: Arc<str>,
    /// When it ended.
    pub ended: Millis,
    /// How long after it was seen to start.
    pub took: Millis,
}

/// So many open tasks are looked at at once, the oldest first: those that run are among them.
pub const OPEN: usize = 20_000;
/// So many of the latest tasks are looked at, ended or accepted.
pub const LATEST: usize = 20_000;

/// The least id that a task accepted then may have: ids are UUIDv7, which begin with their time.
fn first_id(at: Millis) -> Uuid {
    Uuid::from_u128(u128::from(at.max(0) as u64 & 0xffff_ffff_ffff) << 80)
}

/// What is asked for to know how many workers are needed.
#[derive(Debug, Default)]
pub struct Tally {
    /// By service.
    pub counts: BTreeMap<Arc<str>, Counts>,
    /// Tasks that workers ended after a certain time, the latest [`LATEST`] at most, the latest first.
    pub ended: Vec<Took>,
}

/// How long a lease is, and how it is kept.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// How long a gateway that gives no sign keeps what it owns. Default 20 s.
    pub length: Duration,
    /// How often it is renewed. Default 5 s.
    pub renew: Duration,
    /// How much earlier its owner stops publishing. Default 5 s.
    pub margin: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { length: seconds(20), renew: seconds(5), margin: seconds(5) }
    }
}

impl LeaseTimes {
    /// How long after its renewal its owner may publish.
    pub fn usable(&self) -> Duration {
        self.length.saturating_sub(self.margin)
    }
}

/// How far a gateway may publish what it owns: as long as it holds its lease, by monotonic time. Clones are the same
/// lease.
///
/// A lease that was over may have cost messages, so each time it is gained (again) begins a new *term*.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    term: u64,
    until: Instant,
}

impl Lease {
    /// A lease in term 0, until then.
    pub fn new(until: Instant) -> Self {
        Self(Arc::new(Mutex::new(Held { term: 0, until })))
    }

    /// The present term; `None` once the lease is over.
    pub fn term(&self) -> Option<u64> {
        let held = self.held();
        (Instant::now() < held.until).then_some(held.term)
    }

    /// Goes on until then: in the same term only if it was never over, here or (`kept`) as the store sees it.
    pub fn renew(&self, until: Instant, kept: bool) {
        let mut held = self.held();
        if !kept || Instant::now() >= held.until {
            held.term += 1;
        }
        held.until = until;
    }

    /// Messages may have become this gateway's, or another's, unnoticed: begins a new term.
    pub fn doubt(&self) {
        self.held().term += 1;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Whole even if a holder panicked: two numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What several gateways need to share one store. Each message in it is owned by one of them.
pub trait Sharing: Send + Sync + 'static {
    /// This gateway's lease.
    fn lease(&self) -> Lease;
    /// Renews the lease.
    fn renew(&self) -> BoxFuture<Result<(), StoreError>>;
    /// Takes over messages of gateways whose lease is over or that released them: at most `limit`, oldest first,
    /// without their bodies. What may have been published counts one attempt at least: only the first is not written
    /// down before it is made.
    fn adopt(&self, limit: usize) -> BoxFuture<Result<Vec<Waiting>, StoreError>>;
    /// Gives up the lease and all messages, for others to take at once. `untried`: those of which it is certain that
    /// they never reached the broker.
    fn release(&self, untried: Vec<Uuid>) -> BoxFuture<Result<(), StoreError>>;
}

/// A store. Its futures have deadlines of their own.
pub trait Store: Send + Sync + 'static {
    /// One durable transaction. `now` is what the rules are told.
    fn commit(&self, now: Millis, writes: Vec<Write>) -> BoxFuture<Result<Vec<Written>, CommitFault>>;
    /// A task.
    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Task>, StoreError>>;
    /// The body of a message that still waits in the outbox.
    fn body(&self, id: Uuid) -> BoxFuture<Result<Option<Bytes>, StoreError>>;
    /// What this gateway has in the outbox, oldest first, without the bodies.
    fn outbox(&self) -> BoxFuture<Result<Vec<Waiting>, StoreError>>;
    /// Tasks that were being run by the embedded broker when the last process ended.
    fn orphans(&self) -> BoxFuture<Result<Vec<Orphan>, StoreError>>;
    /// The latest cancelled tasks, at most `limit` that ended after `since`, oldest first: workers may have to be told of
    /// them again. Those whose results are forgotten, too.
    fn revoked(&self, since: Millis, limit: usize) -> BoxFuture<Result<Vec<Cancelled>, StoreError>>;
    /// Tasks of which a worker may still report something that counts: open ones, and those with an end that was only
    /// presumed, after `since`. At most `limit`, in the order of their ids, from the one after `after` on.
    fn unsettled(&self, since: Millis, after: Uuid, limit: usize) -> BoxFuture<Result<Vec<Unsettled>, StoreError>>;
    /// Services with messages in the outbox, and when the first of each is due.
    fn due(&self) -> BoxFuture<Result<Vec<Due>, StoreError>>;
    /// When the first message of that service is due.
    fn next_due(&self, service: &str) -> BoxFuture<Result<Option<Millis>, StoreError>>;
    /// Finds what is over its time, and deletes what is over its last, at most `limit` of each. Silent tasks are told
    /// in the order of their ids, from the one after `after` on; at most [`OPEN`] are looked at.
    fn sweep(&self, now: Millis, keep: Keep, after: Uuid, limit: usize) -> BoxFuture<Result<Swept, StoreError>>;
    /// Accepted tasks of a service, or of all.
    fn stats(&self, service: Option<&str>) -> BoxFuture<Result<Stats, StoreError>>;
    /// What the need for workers is concluded from: counts as they are at `now`, and what ended after `since`.
    fn tally(&self, now: Millis, since: Millis) -> BoxFuture<Result<Tally, StoreError>>;
    /// The tasks accepted after `since`, at most the latest [`LATEST`], the latest first: service and time.
    fn arrivals(&self, since: Millis) -> BoxFuture<Result<Vec<Due>, StoreError>>;
    /// The id of this installation, made with the store.
    fn installation(&self) -> Uuid;
    /// Why it cannot be used at the moment. Default: it can.
    fn fault(&self) -> Option<String> {
        None
    }
    /// How it is shared with other gateways. Default: it is not, one process uses it.
    fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        None
    }
}
