//! Where a task of `celery_worker.py` waits until its test has seen what it told so far: no test has to be quick.

use std::{fs, path::Path};
use tempfile::TempDir;

/// Files that a task waits for. It waits for none any more when this is dropped.
pub(crate) struct Gate {
    _directory: TempDir,
    name: String,
}

#[allow(dead_code, clippy::unwrap_used)] // a helper of tests, not all used by each
impl Gate {
    /// A closed one.
    pub(crate) fn new() -> Self {
        let directory = TempDir::with_prefix("sg-test-gate-").unwrap();
        let name = directory.path().join("gate").to_str().expect("temporary directories have UTF-8 names").to_owned();
        Self { _directory: directory, name }
    }

    /// What the task is told: `gate`, or `hold` where it waits after each step.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The task goes on.
    pub(crate) fn open(&self) {
        fs::write(&self.name, "").unwrap();
    }

    /// The task goes on after this step.
    pub(crate) fn open_step(&self, step: impl std::fmt::Display) {
        fs::write(format!("{}{step}", self.name), "").unwrap();
    }

    /// Is there still somebody who may open it, and has not? As workers ask.
    pub(crate) fn keeps(file: &str) -> bool {
        !Path::new(file).exists() && Path::new(file).parent().is_some_and(Path::exists)
    }
}
