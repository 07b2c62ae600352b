//! Where and how programs are run.

use crate::KeepFiles;
use gateway_outside::Client;
use std::{ffi::OsString, io, path::PathBuf, sync::Arc, time::Duration};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// How to start a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardCommand {
    pub(crate) program: PathBuf,
    /// What `ps` shows instead of the program's path.
    pub(crate) name: Option<OsString>,
    /// The arguments before the guard's own.
    pub(crate) arguments: Vec<OsString>,
}

impl GuardCommand {
    /// The running binary, with the word `guard`: for a program whose `main` calls [`crate::guard::main`] on it. It is
    /// this very binary that is executed, also when its file was replaced meanwhile.
    pub fn this_binary() -> Self {
        let name = std::env::args_os().next();
        Self { program: "/proc/self/exe".into(), name, arguments: vec!["guard".into()] }
    }

    /// A program that calls [`crate::guard::main`] on its arguments, such as our `gateway-guard`.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), name: None, arguments: Vec::new() }
    }

    /// The same with these arguments before the guard's own.
    #[must_use]
    pub fn with_arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }
}

/// Where and how programs are run.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// Where run directories are made; made itself if it is not there.
    pub directory: PathBuf,
    /// How to start a guard.
    pub guard: GuardCommand,
    /// Fetches documents.
    pub client: Client,
    /// How long a program that is told to stop (SIGTERM) has until it is killed (default 10 s).
    pub grace: Duration,
    /// Where the files of a program go if its task names no storage service (default: nowhere, and a task
    /// with files fails).
    pub files: Option<Arc<dyn KeepFiles>>,
    /// Cancelled when we shut down: every program is stopped, every run ends with [`crate::Ending::Aborted`].
    pub shutdown: CancellationToken,
}

impl RunnerSettings {
    /// These, everything else at its default.
    pub fn new(directory: impl Into<PathBuf>, guard: GuardCommand, client: Client) -> Self {
        let grace = Duration::from_secs(10);
        Self { directory: directory.into(), guard, client, grace, files: None, shutdown: CancellationToken::new() }
    }
}

/// Why there is no runner.
#[derive(Debug, Error)]
pub enum RunnerFault {
    /// The directory cannot be made or found.
    #[error("the directory for runs, {path:?}: {cause}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its path is not UTF-8, so it cannot be part of a command.
    #[error("the directory for runs, {0:?}, has a path that is not UTF-8")]
    NotUtf8(PathBuf),
}
