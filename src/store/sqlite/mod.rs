//! SQLite: one file, one process. One thread writes, two read.
//!
//! Durable means WAL and `synchronous=FULL`. After an I/O error nobody knows what is on the disk: the batch's outcome
//! is [`CommitFault::Unknown`] and every later commit is refused (see <https://www.sqlite.org/wal.html>).

mod read;
mod row;
mod schema;
mod sweep;
mod tally;
mod write;

use super::{Cancelled, Due, Keep, Orphan, Store, StoreError, Swept, Tally, Unsettled};
use bytes::Bytes;
use gateway_contract::{BoxFuture, Stats};
use gateway_life::{CommitFault, Millis, Task, Waiting, Write, Written};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// How long a read may take before its client is told that the store does not answer.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How long a predecessor may take to let go of the file, or another program to have read it.
const PREDECESSOR: Duration = Duration::from_secs(30);
/// Reads that may wait; beyond, they are refused as timed out.
const READS: usize = 4096;
const READERS: usize = 2;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A store in one SQLite file, or in memory.
pub struct Sqlite {
    writer: mpsc::Sender<Job>,
    /// Empty in memory: then the writer reads too.
    reader: Option<mpsc::Sender<Job>>,
    installation: Uuid,
    /// Held as long as the store is open.
    _lock: Option<File>,
}

pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string().into())
}

impl Sqlite {
    /// Opens or makes the file; `None` keeps everything in memory. Blocks: waits up to 30 s for another process.
    pub fn open(file: Option<&Path>, now: Millis) -> Result<Self, StoreError> {
        let lock = file.map(lock_file).transpose()?;
        Self::locked(file, lock, now).map_err(|error| match (file, error) {
            (Some(file), StoreError::Failed(why)) => StoreError::Failed(format!("{}: {why}", file.display()).into()),
            (_, error) => error,
        })
    }

    fn locked(file: Option<&Path>, lock: Option<File>, now: Millis) -> Result<Self, StoreError> {
        let mut connection = match file {
            Some(file) => Connection::open(file),
            None => Connection::open_in_memory(),
        }
        .map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        let installation = schema::migrate(&mut connection, now)?;
        if let Some(file) = file {
            checkpoint(&connection, file, PREDECESSOR)?;
        }
        let writer = spawn("store-writer", connection, mpsc::channel(64));
        let reader = file.map(readers).transpose()?;
        Ok(Self { writer, reader, installation, _lock: lock })
    }

    fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<Result<T, StoreError>> {
        let reader = self.reader.as_ref().unwrap_or(&self.writer).clone();
        run(reader, move |connection| ask(connection).map_err(failed))
    }
}

/// Runs a job on a thread of the store and waits for its answer, under the deadline.
fn run<T: Send + 'static>(
    thread: mpsc::Sender<Job>,
    ask: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
) -> BoxFuture<Result<T, StoreError>> {
    Box::pin(async move {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody may be waiting any more: then the answer is dropped.
            let _ = answer.send(ask(connection));
        });
        let asked = async move {
            thread.send(job).await.map_err(|_| StoreError::TimedOut)?;
            answered.await.map_err(|_| StoreError::TimedOut)?
        };
        tokio::time::timeout(READ_DEADLINE, asked).await.unwrap_or(Err(StoreError::TimedOut))
    })
}

impl Store for Sqlite {
    fn commit(&self, now: Millis, writes: Vec<Write>) -> BoxFuture<Result<Vec<Written>, CommitFault>> {
        let writer = self.writer.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let job: Job = Box::new(move |connection| {
                let _ = answer.send(write::commit(connection, now, writes).map_err(|error| fault(connection, &error)));
            });
            let closed = |_| CommitFault::Unknown("the store's thread has ended".into());
            writer.send(job).await.map_err(|_| CommitFault::NotWritten("the store is closed".into()))?;
            answered.await.map_err(closed)?
        })
    }

    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Task>, StoreError>> {
        self.read(move |connection| row::load(connection, id))
    }

    fn body(&self, id: Uuid) -> BoxFuture<Result<Option<Bytes>, StoreError>> {
        self.read(move |connection| read::body(connection, id))
    }

    fn outbox(&self) -> BoxFuture<Result<Vec<Waiting>, StoreError>> {
        self.read(|connection| read::outbox(connection))
    }

    fn orphans(&self) -> BoxFuture<Result<Vec<Orphan>, StoreError>> {
        self.read(|connection| read::orphans(connection))
    }

    fn revoked(&self, since: Millis, limit: usize) -> BoxFuture<Result<Vec<Cancelled>, StoreError>> {
        self.read(move |connection| read::revoked(connection, since, limit))
    }

    fn unsettled(&self, since: Millis, after: Uuid, limit: usize) -> BoxFuture<Result<Vec<Unsettled>, StoreError>> {
        self.read(move |connection| read::unsettled(connection, since, after, limit))
    }

    fn due(&self) -> BoxFuture<Result<Vec<Due>, StoreError>> {
        self.read(|connection| read::due(connection))
    }

    fn next_due(&self, service: &str) -> BoxFuture<Result<Option<Millis>, StoreError>> {
        let service = service.to_owned();
        self.read(move |connection| read::next_due(connection, &service))
    }

    fn sweep(&self, now: Millis, keep: Keep, after: Uuid, limit: usize) -> BoxFuture<Result<Swept, StoreError>> {
        let looked_at = keep.clone();
        let found = self.read(move |connection| sweep::find(connection, now, &looked_at, after, limit));
        let writer = self.writer.clone();
        Box::pin(async move {
            let (mut swept, over) = found.await?;
            if over {
                let delete = move |connection: &mut Connection| sweep::delete(connection, now, &keep, limit);
                swept.deleted = run(writer, move |connection| delete(connection).map_err(failed)).await?;
            }
            Ok(swept)
        })
    }

    fn stats(&self, service: Option<&str>) -> BoxFuture<Result<Stats, StoreError>> {
        let service = service.map(str::to_owned);
        self.read(move |connection| read::stats(connection, service.as_deref()))
    }

    fn tally(&self, now: Millis, since: Millis) -> BoxFuture<Result<Tally, StoreError>> {
        self.read(move |connection| tally::tally(connection, now, since))
    }

    fn arrivals(&self, since: Millis) -> BoxFuture<Result<Vec<Due>, StoreError>> {
        self.read(move |connection| tally::arrivals(connection, since))
    }

    fn installation(&self) -> Uuid {
        self.installation
    }
}

/// Out of space or busy is known not to be written, once rolled back; anything else is not known.
fn fault(connection: &Connection, error: &rusqlite::Error) -> CommitFault {
    let why = error.to_string().into();
    let known = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::TooBig)
    );
    // `is_autocommit`: no transaction is left open, so the roll-back that the guard did on drop worked.
    if known && connection.is_autocommit() { CommitFault::NotWritten(why) } else { CommitFault::Unknown(why) }
}

/// What only the page cache may hold since a failed fsync of the last process is written again, all of it.
fn checkpoint(connection: &Connection, file: &Path, patience: Duration) -> Result<(), StoreError> {
    let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let all_written = || {
        let (log, written) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], counts).map_err(failed)?;
        // Somebody may still read: that keeps the log from being cut, and its end from being written.
        Ok((written >= log).then_some(()))
    };
    let why = "another program reads the store, a backup maybe: waiting for its end";
    wait_for(file, patience, why, all_written)?.ok_or_else(|| {
        let why =
            "another program has it open and reads: what the last process wrote cannot be made safe; end that first";
        StoreError::Failed(why.into())
    })
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Before the first table: it cannot be turned on later without rewriting the file.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    Ok(())
}

fn readers(file: &Path) -> Result<mpsc::Sender<Job>, StoreError> {
    let (asked, jobs) = mpsc::channel::<Job>(READS);
    let jobs = Arc::new(std::sync::Mutex::new(jobs));
    for number in 0..READERS {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(file, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let jobs = jobs.clone();
        thread(&format!("store-reader-{number}"), move || {
            loop {
                // One waits for the next job while the other works; a poisoned lock means that a job panicked.
                let job = jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).blocking_recv();
                match job {
                    Some(job) => job(&mut connection),
                    None => break,
                }
            }
        });
    }
    Ok(asked)
}

fn spawn(
    name: &str,
    mut connection: Connection,
    (asked, mut jobs): (mpsc::Sender<Job>, mpsc::Receiver<Job>),
) -> mpsc::Sender<Job> {
    thread(name, move || {
        while let Some(job) = jobs.blocking_recv() {
            job(&mut connection);
        }
    });
    asked
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    // A process that cannot start a thread at start-up cannot serve either.
    std::thread::Builder::new().name(name.into()).spawn(work).expect("the system starts threads");
}

/// One process a file: two writers would not know of each other's publications.
fn lock_file(file: &Path) -> Result<File, StoreError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error: std::io::Error| StoreError::Failed(format!("{}: {error}", file.display()).into());
    let lock = File::create(PathBuf::from(name)).map_err(failed)?;
    let locked = || match lock.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    };
    let why = "another process uses the store: waiting for its end";
    wait_for(file, PREDECESSOR, why, locked)?.ok_or_else(|| StoreError::InUse(file.to_path_buf()))?;
    Ok(lock)
}

/// Tries until it succeeds, and says once that it waits; `None` if it takes too long.
fn wait_for<T>(
    file: &Path,
    patience: Duration,
    why: &str,
    mut attempt: impl FnMut() -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    let deadline = Instant::now() + patience;
    let mut told = false;
    loop {
        let done = attempt()?;
        if done.is_some() || Instant::now() >= deadline {
            return Ok(done);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(file = %file.display(), "{why}");
        }
        // A synchronous wait at start-up, before any runtime thread depends on this one.
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn a_log_that_cannot_be_made_safe_is_no_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("store");
        let mut connection = Connection::open(&file).expect("a file");
        prepare(&connection).expect("pragmas");
        connection.execute_batch("CREATE TABLE a (b); INSERT INTO a VALUES (1)").expect("a table");
        let reader = Connection::open(&file).expect("a reader");
        reader.execute_batch("BEGIN; SELECT * FROM a").expect("a read");
        connection.busy_timeout(Duration::from_millis(1)).expect("a pragma");
        connection.execute_batch("INSERT INTO a VALUES (2)").expect("a row");
        let refused = checkpoint(&connection, &file, Duration::from_millis(1));
        assert!(matches!(refused, Err(StoreError::Failed(why)) if why.contains("another program")));
        // A backup that ends in time only delays the start.
        static REFUSED: AtomicBool = AtomicBool::new(false);
        let refuse = |_| {
            REFUSED.store(true, Relaxed);
            false
        };
        connection.busy_handler(Some(refuse)).expect("a handler");
        let backup = std::thread::spawn(move || {
            while !REFUSED.load(Relaxed) {
                std::thread::yield_now();
            }
            reader.execute_batch("COMMIT").expect("the end of the read");
        });
        checkpoint(&connection, &file, PREDECESSOR).expect("all is written");
        backup.join().expect("it has ended");
    }
}
