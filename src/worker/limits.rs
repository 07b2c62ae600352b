//! What each process of a program may use.

use rustix::{
    io,
    process::{Resource, Rlimit, setrlimit},
};
use std::{ffi::OsStr, time::Duration};

/// How long after SIGXCPU a process that goes on is killed.
const LAST: u64 = 5;

/// What each process of a program may use; `None`: as much as the worker itself.
///
/// The kernel holds each process to it, and what a process starts inherits it. It is not a sum over processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of memory of its own (`RLIMIT_DATA`): an allocation beyond fails. Files that are mapped, memory that is
    /// shared and address space that is only reserved do not count, so that Java, Go and Node.js can start.
    pub memory: Option<u64>,
    /// Seconds of processor time (`RLIMIT_CPU`): then SIGXCPU, and SIGKILL five seconds later.
    pub cpu_time: Option<Duration>,
    /// Files and sockets that are open at once (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
}

impl ProcessLimits {
    /// As words of a command line, which [`ProcessLimits::take`] reads; none where nothing is limited.
    pub(crate) fn words(&self) -> Vec<String> {
        let seconds = self.cpu_time.map(|time| time.as_secs().max(1));
        let all = [("memory", self.memory), ("cpu", seconds), ("files", self.open_files)];
        all.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect()
    }

    /// Takes one word in; says whether it is one of [`ProcessLimits::words`].
    pub(crate) fn take(&mut self, word: &OsStr) -> bool {
        let parts = word.to_str().and_then(|word| word.split_once('='));
        let Some((name, Ok(value))) = parts.map(|(name, value)| (name, value.parse::<u64>())) else { return false };
        match name {
            "memory" => self.memory = Some(value),
            "cpu" => self.cpu_time = Some(Duration::from_secs(value)),
            "files" => self.open_files = Some(value),
            _ => return false,
        }
        true
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Holds this process to them, for good.
    ///
    /// # Errors
    /// What the system says; a limit above the one that this process has already is lowered to that.
    pub(crate) fn apply(&self) -> io::Result<()> {
        let seconds = self.cpu_time.map(|time| time.as_secs());
        lower(Resource::Data, self.memory, 0)?;
        lower(Resource::Cpu, seconds, LAST)?;
        lower(Resource::Nofile, self.open_files, 0)
    }
}

fn lower(resource: Resource, limit: Option<u64>, more: u64) -> io::Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let (current, maximum) = (limit.min(most), limit.saturating_add(more).min(most));
    setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn said_and_understood() {
        let limits = ProcessLimits {
            memory: Some(1 << 30),
            cpu_time: Some(Duration::from_millis(90_500)),
            open_files: Some(64),
        };
        assert_eq!(limits.words(), ["memory=1073741824", "cpu=90", "files=64"]);
        let mut read = ProcessLimits::default();
        assert!(limits.words().iter().all(|word| read.take(OsStr::new(word))));
        assert_eq!(read, ProcessLimits { cpu_time: Some(Duration::from_secs(90)), ..limits });
        assert!(ProcessLimits::default().words().is_empty() && read.words().len() == 3);
        for word in ["", "memory", "memory=x", "memory=-1", "cpu=1.5", "other=1"] {
            assert!(!read.take(OsStr::new(word)), "{word}");
        }
    }
}
