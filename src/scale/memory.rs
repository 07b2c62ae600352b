//! What the daemon has started, in a file; and a lock beside it, so that two daemons of one file never act together.

use super::crew::Crew;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Why the state cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    /// It cannot be read or written.
    #[error("{}: {cause}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is not what we wrote.
    #[error("{}: {cause}: mend it, or remove it (workers that were started are then not ours any more)", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    services: BTreeMap<String, Crew>,
}

/// The state in its file.
pub(crate) struct Memory {
    file: PathBuf,
    lock: Option<File>,
    state: State,
    /// As it is on the disk.
    saved: Vec<u8>,
}

impl Memory {
    /// In that file; nothing is read before [`Memory::lock`].
    pub(crate) fn at(file: &Path) -> Self {
        Self { file: file.to_owned(), lock: None, state: State::default(), saved: Vec::new() }
    }

    /// Takes the lock if nobody else has it, and reads what the last daemon left. `false`: another daemon has it.
    pub(crate) fn lock(&mut self) -> Result<bool, MemoryError> {
        if self.lock.is_some() {
            return Ok(true);
        }
        let mut name = self.file.as_os_str().to_owned();
        name.push(".lock");
        let lock = File::create(PathBuf::from(name)).map_err(|cause| self.io(cause))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(cause)) => return Err(self.io(cause)),
        }
        match fs::read(&self.file) {
            Ok(text) => {
                let read = serde_json::from_slice(&text);
                self.state = read.map_err(|cause| MemoryError::Unreadable { file: self.file.clone(), cause })?;
                self.saved = text;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(self.io(cause)),
        }
        self.lock = Some(lock);
        Ok(true)
    }

    /// The workers of a service.
    pub(crate) fn crew(&mut self, service: &str) -> &mut Crew {
        self.state.services.entry(service.to_owned()).or_default()
    }

    /// All workers.
    pub(crate) fn present(&self) -> u32 {
        self.state.services.values().map(Crew::present).sum()
    }

    /// Writes it down, all or nothing, if it has changed.
    pub(crate) fn save(&mut self) -> Result<(), MemoryError> {
        let text = serde_json::to_vec_pretty(&self.state)
            .map_err(|cause| MemoryError::Unreadable { file: self.file.clone(), cause })?;
        if text == self.saved {
            return Ok(());
        }
        let mut new = self.file.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &self.file)
        };
        write().map_err(|cause| self.io(cause))?;
        self.saved = text;
        Ok(())
    }

    fn io(&self, cause: io::Error) -> MemoryError {
        MemoryError::Io { file: self.file.clone(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_is_known_after_a_restart_and_to_one_daemon_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scaling.json");
        let mut first = Memory::at(&file);
        assert!(first.lock().unwrap());
        first.crew("words").hire("sg-words-1", 5);
        first.save().unwrap();
        let mut second = Memory::at(&file);
        assert!(!second.lock().unwrap(), "the first has it");
        drop(first);
        assert!(second.lock().unwrap());
        assert_eq!(second.crew("words").members[0].name, "sg-words-1");
        assert_eq!(second.present(), 1);
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("scaling.json");
        fs::write(&file, "nonsense").unwrap();
        assert!(matches!(Memory::at(&file).lock(), Err(MemoryError::Unreadable { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "nonsense");
    }
}
