//! What an earlier process left behind.

use crate::{
    directory::{GUARD_LOCK, OWNER_LOCK, is_unfinished, lock_file, lock_root, parse, remove},
    notes,
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
    let found = spawn_blocking(move || {
        remove_unfinished(&root);
        notes::remove_old(&root);
        list(&root)
    });
    let found = found.await.map_err(io::Error::other)??;
    let deadline = Instant::now() + patience;
    let mut left = Vec::new();
    for (path, run) in found {
        if is_owned(&path).await {
            continue;
        }
        if !clear(&path, deadline).await {
            tracing::warn!(directory = %path.display(), "a run directory could not be cleaned up");
        }
        left.push(run);
    }
    Ok(left)
}

/// Removes directories whose making was interrupted: nothing runs in them. While others make theirs they stay for the
/// next time, since these look alike.
fn remove_unfinished(root: &Path) {
    let Ok(_none_is_made) = lock_root(root, FlockOperation::NonBlockingLockExclusive) else { return };
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_unfinished)
            && is_free(&entry.path(), OWNER_LOCK)
            && let Err(error) = remove(&entry.path())
        {
            tracing::warn!(%error, "an unfinished run directory could not be removed");
        }
    }
}

/// The directories that may be left over.
fn list(root: &Path) -> io::Result<Vec<(PathBuf, LeftOver)>> {
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
        if let Some((id, attempt)) = parse(name) {
            found.push((entry.path(), LeftOver { id, attempt }));
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

/// As [`is_free`], from a runtime.
async fn can_lock(path: &Path, name: &'static str) -> bool {
    let path = path.to_owned();
    spawn_blocking(move || is_free(&path, name)).await.unwrap_or(false)
}

/// Whether nobody holds that lock. Takes it for a moment only: whoever could want it is gone.
fn is_free(path: &Path, name: &str) -> bool {
    let lock = path.join(name);
    if !lock.exists() {
        return true;
    }
    let file = lock.to_str().ok_or(io::ErrorKind::InvalidInput.into()).and_then(lock_file);
    file.is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_being_made_is_not_left_over() {
        let root = tempfile::tempdir().unwrap();
        let id = Uuid::from_u128(7);
        let unfinished = root.path().join(format!("{id}.1.{id}.new"));
        fs::create_dir(&unfinished).unwrap();
        let making = lock_root(root.path(), FlockOperation::LockShared).unwrap();
        assert_eq!(recover(root.path(), Duration::ZERO).await.unwrap(), []);
        assert!(unfinished.exists());
        drop(making);
        assert_eq!(recover(root.path(), Duration::ZERO).await.unwrap(), []);
        assert!(!unfinished.exists());
    }
}
