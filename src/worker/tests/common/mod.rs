//! A runner in a directory of its own, and a way to wait for things that other processes do.

#![allow(clippy::unwrap_used, dead_code)] // helpers of tests, not all used by each

use gateway_outside::{Client, Limits, Policy};
use gateway_worker::{Ending, Event, GuardCommand, Job, KeepFiles, Program, Runner, RunnerSettings};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const GUARD: &str = env!("CARGO_BIN_EXE_gateway-guard");
pub(crate) const TO_KILL: &str = env!("CARGO_BIN_EXE_gateway-worker-to-kill");

/// A runner with half a second of grace, and what belongs to it.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) runner: Runner,
    pub(crate) shutdown: CancellationToken,
    settings: RunnerSettings,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_guard(GuardCommand::program(GUARD))
    }

    pub(crate) fn with_guard(guard: GuardCommand) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { retries: 0, ..Limits::default() };
        let client = Client::new(Policy::default().with_private_networks(true), limits).unwrap();
        let mut settings = RunnerSettings::new(directory.path(), guard, client);
        settings.grace = Duration::from_millis(500);
        let shutdown = settings.shutdown.clone();
        Self { directory, runner: Runner::new(settings.clone()).unwrap(), shutdown, settings }
    }

    /// From now on, programs have so long to end by themselves.
    pub(crate) fn grace(&mut self, grace: Duration) {
        self.settings.grace = grace;
        self.runner = Runner::new(self.settings.clone()).unwrap();
    }

    /// From now on, files of programs go there.
    pub(crate) fn keep(&mut self, files: std::sync::Arc<dyn KeepFiles>) {
        self.settings.files = Some(files);
        self.runner = Runner::new(self.settings.clone()).unwrap();
    }

    /// Runs to the end; gives the events, too. Nothing of the run may be left.
    pub(crate) async fn run(&self, job: Job, program: Program, cancel: CancellationToken) -> (Ending, Vec<Event>) {
        let (events, mut received) = mpsc::channel(1000);
        let running = self.runner.run(job, &program, events, cancel);
        // Less than the programs of these tests would go on.
        let ending = tokio::time::timeout(Duration::from_secs(50), running).await.expect("a run ends");
        let mut heard = Vec::new();
        while let Some(event) = received.recv().await {
            heard.push(event);
        }
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 0, "a run directory is left");
        (ending, heard)
    }

    /// Runs a shell script as the program.
    pub(crate) async fn sh(&self, script: &str) -> (Ending, Vec<Event>) {
        self.run(job(), sh(script), CancellationToken::new()).await
    }
}

/// A shell script as the program.
pub(crate) fn sh(script: &str) -> Program {
    Program::new(["sh", "-c", script])
}

/// A task without a document.
pub(crate) fn job() -> Job {
    Job {
        id: Uuid::from_u128(rand()),
        service: "stub".into(),
        attempt: 1,
        argument: serde_json::json!({"service": {"misc": {}}}),
        document_url: None,
        version: String::new(),
        last: true,
        trace: None,
    }
}

/// Different in each test of each process.
fn rand() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(0)) << 64 | u128::from(std::process::id())
}

/// The result of a success.
pub(crate) fn success((ending, _): (Ending, Vec<Event>)) -> String {
    match ending {
        Ending::Success(result) => result.get().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// Class and message of a failure.
pub(crate) fn failure((ending, _): (Ending, Vec<Event>)) -> (String, String) {
    match ending {
        Ending::Failure { class, message } => (class.into_owned(), message),
        Ending::Unstarted { message } => (Ending::SUBPROCESS.to_owned(), message),
        other => panic!("{other:?}"),
    }
}

/// The guard of a task.
pub(crate) fn guard_of(mark: &str) -> Option<u32> {
    processes_with(mark).into_iter().find(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.starts_with(GUARD) || command.starts_with(&format!("{TO_KILL}\0guard"))
    })
}

/// Every living process whose environment holds `text`.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let holds = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| holds(*pid)).collect()
}

/// Waits up to 40 seconds until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a file is there and holds a whole line.
pub(crate) fn has_line(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.ends_with('\n'))
}
