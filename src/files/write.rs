//! A file on its way into the directory.

use super::{Directory, Fault, MOST, PART, remove};
use gateway_files::Name;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::SystemTime,
};
use uuid::Uuid;

/// How often a new file is made when a sweeper takes the last one for a left-over.
const TRIES: usize = 5;

/// A file that is being written. Dropped before [`Writing::commit`], it leaves nothing.
pub(super) struct Writing {
    directory: Arc<Directory>,
    /// `None` once it is given away to be closed.
    file: Option<File>,
    path: PathBuf,
    size: u64,
}

impl Writing {
    /// An empty one. Makes the directory if there is none.
    pub(super) fn begin(directory: Arc<Directory>) -> Result<Self, Fault> {
        let mut made = None;
        for _ in 0..TRIES {
            let path = directory.path.join(format!("{PART}{}", Uuid::now_v7()));
            let file = create(&path, &directory).map_err(Fault::of)?;
            let writing = Self { directory: directory.clone(), file: Some(file), path, size: 0 };
            // Another gateway's sweeper may have come between making it and locking it: then it has no name any more.
            if writing.is_ours()? {
                made = Some(writing);
                break;
            }
        }
        made.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "new files vanish from the directory").into())
    }

    /// Locks it, and looks whether it is still there.
    fn is_ours(&self) -> Result<bool, Fault> {
        let Some(file) = &self.file else { return Ok(false) };
        if let Err(error) = file.lock() {
            // A file system without locks has no sweeper that gets one, either.
            tracing::debug!(%error, "a temporary file cannot be locked");
        }
        Ok(file.metadata()?.nlink() > 0)
    }

    /// Adds `bytes`, for which room is made.
    pub(super) fn write(mut self, bytes: &[u8]) -> Result<Self, Fault> {
        let more = bytes.len() as u64;
        if more > 0 {
            self.directory.reserve(more)?;
            self.size += more;
            if let Some(file) = &mut self.file {
                file.write_all(bytes).map_err(Fault::of)?;
            }
        }
        Ok(self)
    }

    /// Makes it the file of that name.
    pub(super) fn commit(mut self, name: Name) -> Result<(), Fault> {
        let mut index = self.directory.lock();
        while index.len() >= MOST {
            let Some(oldest) = index.pop_oldest() else { break };
            remove(&self.directory.whole(&oldest));
        }
        // The system's own time of a write is coarse; this one tells two contents of the same length apart.
        let now = SystemTime::now();
        if let Some(file) = &self.file {
            file.set_modified(now).map_err(Fault::of)?;
        }
        fs::rename(&self.path, self.directory.whole(&name)).map_err(Fault::of)?;
        index.insert(name, self.size, now);
        self.directory.writing.fetch_sub(std::mem::take(&mut self.size), SeqCst);
        // From here on there is nothing to undo but closing it.
        self.path = PathBuf::new();
        drop(index);
        Ok(())
    }
}

fn create(path: &PathBuf, directory: &Directory) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory.path)?;
            open()
        }
        opened => opened,
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.directory.writing.fetch_sub(self.size, SeqCst);
        if self.path.as_os_str().is_empty() {
            return;
        }
        // It takes no time while the file is open: closing it does, when it is large. The thread that we are on may be
        // one that must not wait.
        remove(&self.path);
        if let (Some(file), Ok(runtime)) = (self.file.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}
