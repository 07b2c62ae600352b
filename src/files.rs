//! Temporary files on a disk: a directory, a limit on what lies in it, an age at which a file is gone.
//!
//! A file `NAME` lies in the directory as `temporary-NAME`, and while it is written as `uploading-…`, locked by whoever
//! writes it. What is called otherwise is not ours: it is neither given out nor removed, whatever directory is
//! configured. The directory is the truth; an index only remembers it, and is read anew at each sweep, so
//! that several gateways may share a directory. It is made when the first file comes.

mod index;
mod kept;
mod read;
mod write;

pub(crate) use kept::ProgramFiles;

use bytes::BytesMut;
use futures_util::StreamExt;
use gateway_config::Config;
use gateway_contract::{BoxFuture, Rejection, Side, code};
use gateway_files::{Content, Found, Name};
use http::StatusCode;
use index::Index;
use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use write::Writing;

/// What the names of whole files begin with.
const WHOLE: &str = "temporary-";
/// What the names of files that are being written begin with.
const PART: &str = "uploading-";
/// How many bytes are gathered before a thread is asked to write them.
const GATHERED: usize = 256 * 1024;
/// The most files, however small: each costs an inode and a line of the index.
const MOST: usize = 100_000;
/// How often the directory is swept, at the least and at the most.
const SWEEPS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5 * 60)];

/// Keeps temporary files in a directory (`[files]`). A clone is the same shelf.
#[derive(Clone, Debug)]
pub struct Shelf(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// How many bytes its files may take together, those that are being written included.
    max_total: u64,
    /// How long a file is kept.
    keep: Duration,
    /// Held by threads that may block, and by no others.
    index: Mutex<Index>,
    /// How many bytes are reserved for files that are being written. Grows only while `index` is held.
    writing: AtomicU64,
}

/// Why a file is not kept or not read.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("files that are being uploaded take all the room there is (files.max_total); try again later")]
    NoRoom,
    #[error("the disk is full; try again later")]
    Full(#[source] io::Error),
    #[error("the file could not be written or read")]
    Io(#[from] io::Error),
    #[error("a thread ended while it wrote or read the file")]
    Thread(#[from] tokio::task::JoinError),
}

impl Fault {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        match fault {
            Fault::NoRoom => Rejection::unavailable(detail, 30),
            Fault::Full(_) => Rejection::unavailable(detail, 60).with_cause(fault),
            Fault::Io(_) | Fault::Thread(_) => {
                Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, code::IO, Side::Gateway, detail).with_cause(fault)
            }
        }
    }
}

/// Does `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Rejection> {
    match spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Fault::Thread(error).into()),
    }
}

impl Shelf {
    /// As `[files]` of a checked configuration says. Touches nothing yet.
    pub fn new(config: &Config) -> Self {
        let files = &config.files;
        Self::at(files.directory.clone(), files.max_total.bytes(), files.keep)
    }

    fn at(path: PathBuf, max_total: u64, keep: Duration) -> Self {
        Self(Arc::new(Directory { path, max_total, keep, index: Mutex::default(), writing: AtomicU64::new(0) }))
    }

    /// Sweeps now, and again and again until `stop`: what is too old goes, and what a dead process left half written.
    pub(crate) async fn tend(self, stop: CancellationToken) {
        let pause = (self.0.keep / 4).clamp(SWEEPS[0], SWEEPS[1]);
        loop {
            self.sweep().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads the directory, and removes what is too old or left over.
    async fn sweep(&self) {
        let directory = self.0.clone();
        let swept = spawn_blocking(move || {
            let mut index = directory.lock();
            directory.read_into(&mut index)?;
            directory.make_room(&mut index, 0);
            Ok::<_, io::Error>(())
        });
        match swept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, directory = %self.0.path.display(), "temporary files cannot be swept");
            }
            Err(error) => tracing::error!(%error, "sweeping temporary files ended by a panic"),
        }
    }
}

impl gateway_files::Shelf for Shelf {
    fn put(&self, name: Name, mut content: Content) -> BoxFuture<Result<(), Rejection>> {
        let directory = self.0.clone();
        Box::pin(async move {
            let mut writing = blocking(move || Writing::begin(directory)).await?;
            let mut gathered = BytesMut::new();
            while let Some(piece) = content.next().await {
                gathered.extend_from_slice(&piece?);
                if gathered.len() >= GATHERED {
                    let piece = gathered.split().freeze();
                    writing = blocking(move || writing.write(&piece)).await?;
                }
            }
            blocking(move || writing.write(&gathered)?.commit(name)).await
        })
    }

    fn get(&self, name: Name) -> BoxFuture<Result<Option<Found>, Rejection>> {
        let directory = self.0.clone();
        Box::pin(blocking(move || directory.open(&name)))
    }
}

impl Directory {
    /// The index, and the directory with it: nobody else removes or renames while it is held.
    fn lock(&self) -> MutexGuard<'_, Index> {
        // Whoever panicked may have left it behind the directory; it is read anew at the next sweep.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{WHOLE}{name}"))
    }

    fn is_too_old(&self, modified: SystemTime) -> bool {
        // A time to come, after a clock was set back, is not old.
        SystemTime::now().duration_since(modified).is_ok_and(|age| age >= self.keep)
    }

    /// Makes `index` what the directory holds, without what is too old or left over: that is removed.
    fn read_into(&self, index: &mut Index) -> io::Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                *index = Index::read();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut found = Index::read();
        for entry in entries {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else { continue };
            // Of the entry itself: a link is none of ours. One that is gone meanwhile was another gateway's.
            let Some(facts) = entry.metadata().ok().filter(fs::Metadata::is_file) else { continue };
            if file_name.starts_with(PART) {
                remove_left_over(&entry.path());
            } else if let Some(Ok(name)) = file_name.strip_prefix(WHOLE).map(Name::new) {
                let modified = facts.modified()?;
                if self.is_too_old(modified) {
                    remove(&entry.path());
                } else {
                    found.insert(name, facts.len(), modified);
                }
            }
        }
        *index = found;
        Ok(())
    }

    /// Removes the oldest files until `more` bytes fit; `false` if they never will. Reserves nothing.
    fn make_room(&self, index: &mut Index, more: u64) -> bool {
        while index.total().saturating_add(self.writing.load(SeqCst)).saturating_add(more) > self.max_total {
            match index.pop_oldest() {
                Some(name) => remove(&self.whole(&name)),
                None => return false,
            }
        }
        true
    }

    /// Reserves `more` bytes for a file that is being written.
    fn reserve(&self, more: u64) -> Result<(), Fault> {
        let mut index = self.lock();
        if !index.is_read() {
            self.read_into(&mut index)?;
        }
        if !self.make_room(&mut index, more) {
            return Err(Fault::NoRoom);
        }
        self.writing.fetch_add(more, SeqCst);
        Ok(())
    }
}

/// Removes a file; that it is gone already is fine.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %path.display(), "a temporary file cannot be removed");
    }
}

/// Removes a file that nobody writes any more: its writer, in whatever process, would hold its lock.
fn remove_left_over(path: &Path) {
    if let Ok(file) = File::open(path)
        && file.try_lock().is_ok()
    {
        remove(path);
    }
}

#[cfg(test)]
mod tests;
