//! What a handler notes of a task, for the run after one that did not come to its end.
//!
//! One file beside the run directories, for nobody's eyes but ours; gone when the task has ended here.

use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// The end of their names.
const NOTE: &str = ".note";
/// A task that went on elsewhere leaves its note here for so long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The note of one task.
#[derive(Debug, Clone)]
pub(crate) struct Note(PathBuf);

impl Note {
    pub(crate) fn of(root: impl AsRef<Path>, id: Uuid) -> Self {
        Self(root.as_ref().join(format!("{id}{NOTE}")))
    }

    /// What was noted last; `None` too where it cannot be read: a note is no more than a help.
    pub(crate) async fn read(&self) -> Option<Value> {
        let file = self.0.clone();
        let read = spawn_blocking(move || serde_json::from_slice(&fs::read(file).ok()?).ok());
        read.await.ok().flatten()
    }

    /// Notes this, in place of what was noted before.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) async fn write(&self, value: &Value) -> io::Result<()> {
        let (file, text) = (self.0.clone(), value.to_string());
        spawn_blocking(move || replace(&file, &text)).await.map_err(io::Error::other)?
    }

    /// The task has ended.
    pub(crate) fn forget(self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what was noted of a task could not be removed");
            }
            _ => {}
        }
    }
}

/// Whole, or as it was.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension(format!("{}{NOTE}", Uuid::now_v7()));
    let write = || {
        let mut open = OpenOptions::new();
        open.write(true).create_new(true).mode(0o600).open(&new)?.write_all(text.as_bytes())?;
        fs::rename(&new, file)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Removes notes that nobody will come back for.
pub(crate) fn remove_old(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_note = name.to_str().is_some_and(|name| name.ends_with(NOTE));
        let written = entry.metadata().and_then(|data| data.modified());
        let is_old = |at: SystemTime| at.elapsed().is_ok_and(|age| age > KEPT);
        if is_note && written.is_ok_and(is_old) {
            // The next start tries again.
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{fs::File, os::unix::fs::PermissionsExt};

    #[tokio::test]
    async fn the_last_one_counts_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let note = Note::of(root.path(), Uuid::nil());
        assert_eq!(note.read().await, None);
        note.write(&json!([1])).await.unwrap();
        note.write(&json!([2])).await.unwrap();
        assert_eq!(note.read().await, Some(json!([2])));
        assert_eq!(fs::metadata(&note.0).unwrap().permissions().mode() & 0o777, 0o600);
        remove_old(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        let long_ago = SystemTime::now() - KEPT - Duration::from_secs(60);
        File::open(&note.0).unwrap().set_modified(long_ago).unwrap();
        remove_old(root.path());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        note.clone().forget();
        note.write(&json!([3])).await.unwrap();
        note.clone().forget();
        assert_eq!(note.read().await, None);
    }
}
