//! PostgreSQL: one database, several gateways.
//!
//! Each gateway has four connections: one writes, two read, one keeps the lease. They are made again for ever, each
//! wait has a deadline, and they live on a thread of their own. What is read by many at once is read by one statement.

mod commit;
mod leader;
mod lease;
mod link;
mod read;
mod row;
mod schema;
mod tally;
mod text;
mod tls;
mod transaction;
mod write;

use super::{Cancelled, Due, Keep, Lease, LeaseTimes, Orphan, Sharing, Store, StoreError, Swept, Tally, Unsettled};
use bytes::Bytes;
use commit::Writer;
use gateway_contract::{BoxFuture, Stats};
use gateway_life::{CommitFault, Millis, Task, Waiting, Write, Written};
use lease::Leases;
use link::{Link, Opened, explain};
use read::{Load, Reads, ask};
use std::{future::Future, sync::Arc, time::Duration};
use tls::Target;
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// How long a database that cannot be reached is waited for at start.
const START: Duration = Duration::from_secs(30);
/// Loads that may wait; beyond, they are refused as timed out.
const LOADS: usize = 4096;

pub use leader::Leader;

/// A store in a PostgreSQL database. Dropped, its connections are closed.
pub struct Postgres(Arc<Inner>);

struct Inner {
    runtime: Handle,
    installation: Uuid,
    /// This gateway: a new one with each process.
    gateway: Uuid,
    times: LeaseTimes,
    lease: Lease,
    /// Was the lease given up? Held while anything is done about it: one after the other, on one connection.
    released: Arc<Mutex<bool>>,
    writer: Arc<Writer>,
    readers: [Link<Reads>; 2],
    leases: Link<Leases>,
    loads: mpsc::Sender<Load>,
    _stop_when_dropped: DropGuard,
}

fn failed(error: tokio_postgres::Error) -> StoreError {
    StoreError::Failed(explain(&error).into())
}

impl Postgres {
    /// Can this URL be connected to, as far as it says itself?
    pub fn check(url: &str) -> Result<(), StoreError> {
        Target::parse(url).map(drop)
    }

    /// Connects to `url` (`postgres://user:password@host/database`), brings the database to the newest schema, and
    /// begins this gateway's lease. A database that cannot be reached is waited for, up to 30 s; one that refuses us
    /// is not. No error shows the password.
    pub async fn open(url: &str, times: LeaseTimes, now: Millis) -> Result<Self, StoreError> {
        let target = Arc::new(Target::parse(url)?);
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let runtime = thread(stop)?;
        let (handle, gateway) = (runtime.clone(), Uuid::now_v7());
        let opening = runtime.spawn(async move {
            let deadline = Instant::now() + START;
            let installation = migrated(&target, now, deadline).await?;
            // What migrating took is no time that the server was away.
            let deadline = deadline.max(Instant::now() + START / 2);
            let leases = Link::<Leases>::start(target.clone());
            leases.by(deadline).await.map_err(|why| read::unreachable(&why))?;
            let until = ask(&leases, |session| async move { lease::register(&session, gateway, times).await }).await?;
            let readers = [Link::start(target.clone()), Link::start(target.clone())];
            let (loads, waiting) = mpsc::channel(LOADS);
            let waiting = Arc::new(Mutex::new(waiting));
            for links in [readers.clone(), swapped(&readers)] {
                tokio::spawn(read::loads(links, waiting.clone()));
            }
            let writer = Arc::new(Writer::new(Link::start(target), gateway));
            for link in &readers {
                link.by(deadline).await.map_err(|why| read::unreachable(&why))?;
            }
            writer.link().by(deadline).await.map_err(|why| read::unreachable(&why))?;
            let lease = Lease::new(until);
            Ok(Inner {
                runtime: handle,
                installation,
                gateway,
                times,
                lease,
                released: Arc::default(),
                writer,
                readers,
                leases,
                loads,
                _stop_when_dropped: guard,
            })
        });
        let inner = opening.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string().into())))?;
        Ok(Self(Arc::new(inner)))
    }

    fn read<T, F>(
        &self,
        question: impl Fn(Arc<link::Session<Reads>>) -> F + Send + Sync + 'static,
    ) -> BoxFuture<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let links = self.0.readers.clone();
        self.0.run(async move { ask(read::usable(&links), question).await })
    }
}

impl Inner {
    /// Carries work out on the store's thread.
    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> BoxFuture<Result<T, StoreError>> {
        let work = self.runtime.spawn(work);
        Box::pin(async move { work.await.unwrap_or(Err(StoreError::TimedOut)) })
    }
}

/// The other reader first.
fn swapped([one, other]: &[Link<Reads>; 2]) -> [Link<Reads>; 2] {
    [other.clone(), one.clone()]
}

/// A thread with a runtime, until `stop`.
fn thread(stop: CancellationToken) -> Result<Handle, StoreError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| StoreError::Failed(error.to_string().into()))?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || runtime.block_on(stop.cancelled()))
        .map_err(|error| StoreError::Failed(error.to_string().into()))?;
    Ok(handle)
}

/// The installation, in the newest schema. A connection that is lost meanwhile takes with it what was not committed, and it
/// is all done again.
async fn migrated(target: &Target, now: Millis, deadline: Instant) -> Result<Uuid, StoreError> {
    loop {
        let mut opened = first(target, deadline).await?;
        match schema::migrate(&mut opened, now).await {
            Err(why) if opened.is_lost().await && Instant::now() < deadline => {
                tracing::warn!(%why, "the connection to PostgreSQL was lost at the start; it is made again");
            }
            migrated => return migrated,
        }
    }
}

/// The first connection: waits for a server that is away or starting, and no longer for one that says no.
async fn first(target: &Target, deadline: Instant) -> Result<Opened, StoreError> {
    let mut told = String::new();
    loop {
        match link::connect(target).await {
            Ok(opened) => return Ok(opened),
            Err(refusal) if refusal.is_final || Instant::now() >= deadline => {
                return Err(read::unreachable(&refusal.why));
            }
            Err(refusal) if refusal.why != told => {
                told = refusal.why;
                tracing::warn!(why = told, "PostgreSQL cannot be reached yet; it is tried again for 30 s");
            }
            Err(_) => {}
        }
        sleep(Duration::from_millis(500)).await;
    }
}

impl Store for Postgres {
    fn commit(&self, now: Millis, writes: Vec<Write>) -> BoxFuture<Result<Vec<Written>, CommitFault>> {
        let writer = self.0.writer.clone();
        let commit = self.0.runtime.spawn(async move { writer.commit(now, writes).await });
        Box::pin(async move {
            commit.await.unwrap_or_else(|error| Err(CommitFault::Unknown(format!("the store ended: {error}").into())))
        })
    }

    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Task>, StoreError>> {
        let loads = self.0.loads.clone();
        self.0.run(async move {
            let (answer, answered) = oneshot::channel();
            loads.try_send(Load { id, answer }).map_err(|_| StoreError::TimedOut)?;
            answered.await.map_err(|_| StoreError::TimedOut)?
        })
    }

    fn body(&self, id: Uuid) -> BoxFuture<Result<Option<Bytes>, StoreError>> {
        self.read(move |session| async move { read::body(&session, id).await })
    }

    fn outbox(&self) -> BoxFuture<Result<Vec<Waiting>, StoreError>> {
        let owner = self.0.gateway;
        self.read(move |session| async move { read::outbox(&session, owner).await })
    }

    fn orphans(&self) -> BoxFuture<Result<Vec<Orphan>, StoreError>> {
        self.read(|session| async move { read::orphans(&session).await })
    }

    fn revoked(&self, since: Millis, limit: usize) -> BoxFuture<Result<Vec<Cancelled>, StoreError>> {
        self.read(move |session| async move { read::revoked(&session, since, limit as i64).await })
    }

    fn unsettled(&self, since: Millis, after: Uuid, limit: usize) -> BoxFuture<Result<Vec<Unsettled>, StoreError>> {
        self.read(move |session| async move { read::unsettled(&session, since, after, limit as i64).await })
    }

    fn due(&self) -> BoxFuture<Result<Vec<Due>, StoreError>> {
        self.read(|session| async move { read::due(&session).await })
    }

    fn next_due(&self, service: &str) -> BoxFuture<Result<Option<Millis>, StoreError>> {
        let service = service.to_owned();
        self.read(move |session| {
            let service = service.clone();
            async move { read::next_due(&session, service).await }
        })
    }

    fn sweep(&self, now: Millis, keep: Keep, after: Uuid, limit: usize) -> BoxFuture<Result<Swept, StoreError>> {
        let limit = limit as i64;
        let links = swapped(&self.0.readers);
        let sweep = move |session: Arc<link::Session<Reads>>| {
            let keep = keep.clone();
            async move { read::sweep(&session, now, keep, after, limit).await }
        };
        self.0.run(async move { ask(read::usable(&links), sweep).await })
    }

    fn stats(&self, service: Option<&str>) -> BoxFuture<Result<Stats, StoreError>> {
        let service = service.map(str::to_owned);
        self.read(move |session| {
            let service = service.clone();
            async move { read::stats(&session, service).await }
        })
    }

    fn tally(&self, now: Millis, since: Millis) -> BoxFuture<Result<Tally, StoreError>> {
        self.read(move |session| async move { tally::tally(&session, now, since).await })
    }

    fn arrivals(&self, since: Millis) -> BoxFuture<Result<Vec<Due>, StoreError>> {
        self.read(move |session| async move { tally::arrivals(&session, since).await })
    }

    fn installation(&self) -> Uuid {
        self.0.installation
    }

    fn fault(&self) -> Option<String> {
        let reader = || read::usable(&self.0.readers).fault().map(|why| format!("PostgreSQL cannot be reached: {why}"));
        self.0.writer.fault().or_else(reader)
    }

    fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        Some(self.0.clone())
    }
}
