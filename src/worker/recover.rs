//! What an earlier process left behind.

use crate::{
    directory::{GUARD_LOCK, OWNER_LOCK, is_unfinished, lock_file, parse, remove},
    processes::kill_marked,
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// Between two looks at a lock.
const TICK: Duration = Duration::from_millis(50);
/// How long killing may take.
const KILLING: Duration = Duration::from_secs(10);

/// A run that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOver {
    /// The task.
    pub id: Uuid,
    /// Which attempt of it.
    pub attempt: u32,
}

/// Cleans up after a process that died: for each run directory in `root` that no living process has in hand, waits
/// (`patience` for all of them together) for the guard, which ends the program when its worker dies; kills what still
/// carries the run's mark; removes the directory. A `root` that is not there holds nothing.
///
/// Call it before anything is run. Gives what was left over, also what could not be cleaned up: the caller decides
/// by its own records whether it is to be run again.
///
/// # Errors
/// When `root` cannot be read.
pub async fn recover(root: &Path, patience: Duration) -> io::Result<Vec<LeftOver>> {
    let root = root.to_owned();
    let found = spawn_blocking(move || list(&root)).await.map_err(io::Error::other)??;
    let deadline = Instant::now() + patience;
    let mut left = Vec::new();
    for (path, run) in found {
        if is_owned(&path).await {
            continue;
        }
        if !clear(&path, deadline).await {
            tracing::warn!(directory = %path.display(), "a run directory could not be cleaned up");
        }
        left.extend(run);
    }
    Ok(left)
}

/// The directories that may be left over; those without a run were never finished.
fn list(root: &Path) -> io::Result<Vec<(PathBuf, Option<LeftOver>)>> {
    // As the runner wrote it into marks.
    let root = match root.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        root => root?,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        match parse(name) {
            Some((id, attempt)) => found.push((entry.path(), Some(LeftOver { id, attempt }))),
            None if is_unfinished(name) => found.push((entry.path(), None)),
            None => {}
        }
    }
    Ok(found)
}

/// Whether a living process has the run in hand.
async fn is_owned(path: &Path) -> bool {
    !can_lock(path, OWNER_LOCK).await
}

/// Waits for the guard of the run in `path`, kills what it leaves, and removes the directory; `false` if a living
/// process has it in hand, or something of it resists.
pub(crate) async fn clear(path: &Path, deadline: Instant) -> bool {
    if is_owned(path).await {
        return false;
    }
    while !can_lock(path, GUARD_LOCK).await && Instant::now() < deadline {
        sleep(TICK).await;
    }
    let dead = match path.to_str() {
        Some(mark) => kill_marked(mark, KILLING).await,
        None => true, // runners have only UTF-8 paths
    };
    let path = path.to_owned();
    let removed = spawn_blocking(move || remove(&path)).await;
    if let Ok(Err(error)) = &removed {
        tracing::warn!(%error, "a run directory could not be removed");
    }
    dead && matches!(removed, Ok(Ok(())))
}

/// Whether nobody holds that lock. Takes it for a moment only: whoever could want it is gone.
async fn can_lock(path: &Path, name: &str) -> bool {
    let lock = path.join(name);
    let tried = spawn_blocking(move || {
        if !lock.exists() {
            return true;
        }
        let file = lock.to_str().ok_or(io::ErrorKind::InvalidInput.into()).and_then(lock_file);
        file.is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok())
    });
    tried.await.unwrap_or(false)
}
