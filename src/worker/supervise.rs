//! A guard, seen from the worker.

use crate::{
    GuardCommand,
    directory::RunDirectory,
    guard::Report,
    limits::ProcessLimits,
    processes::{MARK, kill_marked},
};
use gateway_contract::TraceContext;
use std::{
    ffi::OsString,
    future::Future,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    pin::pin,
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, Take},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, ChildStderr, ChildStdout, Command},
    select,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// How long, beyond its grace, a guard may take to end everything.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long killing what a dead guard left may take.
const KILLING: Duration = Duration::from_secs(10);
/// More than a guard says.
const REPORTS: u64 = 256 << 10;

/// Everything a guard is started with.
pub(crate) struct Start<'a> {
    pub(crate) guard: &'a GuardCommand,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) grace: Duration,
    pub(crate) limits: ProcessLimits,
    pub(crate) command: Vec<String>,
    pub(crate) inherited: &'a [(OsString, OsString)],
    pub(crate) environment: &'a [(String, String)],
    pub(crate) id: Uuid,
    pub(crate) trace: Option<&'a TraceContext>,
}

/// A guard that runs.
pub(crate) struct Guarded {
    child: Child,
    reports: Lines<BufReader<Take<OwnedReadHalf>>>,
    /// Dropped to stop the program.
    hold: Option<OwnedWriteHalf>,
    grace: Duration,
    mark: String,
}

/// What became of a program, as far as its guard could tell.
pub(crate) struct Outcome<S> {
    /// Why it was stopped, if it was.
    pub(crate) stopped: Option<S>,
    /// Somebody stopped the guard.
    pub(crate) interrupted: bool,
    /// How it ended; `None`: the guard died.
    pub(crate) end: Option<Report>,
}

impl Guarded {
    /// Starts a guard that starts the program.
    ///
    /// # Errors
    /// When there is no socket or no process to be had, or the guard's program is not there.
    pub(crate) fn start(start: Start<'_>) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (reads, writes) = UnixStream::from_std(ours)?.into_split();
        let mark = start.directory.path().to_owned();
        let mut command = Command::new(&start.guard.program);
        if let Some(name) = &start.guard.name {
            command.arg0(name);
        }
        let mut child = command
            .args(&start.guard.arguments)
            .arg(&mark)
            .arg(start.grace.as_millis().to_string())
            .args(start.limits.words())
            .arg("--")
            .args(&start.command)
            .env_clear()
            .envs(start.inherited.iter().map(|(name, value)| (name, value)))
            .env("TMPDIR", start.directory.temporary())
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .env("SERVICE_GATEWAY_TASK", start.id.to_string())
            .envs(
                start.trace.iter().flat_map(|trace| trace.headers()).map(|(name, value)| (name.to_uppercase(), value)),
            )
            .env(MARK, &mark)
            .current_dir(&mark)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // It holds a copy of the guard's end: as long as it is open, the guard's death would go unnoticed.
        drop(command);
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the guard has no pipes"));
        };
        let reports = BufReader::new(reads.take(REPORTS)).lines();
        Ok((Self { child, reports, hold: Some(writes), grace: start.grace, mark }, stdout, stderr))
    }

    /// Waits until nothing of the program runs any more; stops it when `stop` resolves.
    pub(crate) async fn attend<S>(mut self, stop: impl Future<Output = S>) -> Outcome<S> {
        let mut outcome = Outcome { stopped: None, interrupted: false, end: None };
        {
            let hears = self.hear(&mut outcome.interrupted);
            let mut hears = pin!(hears);
            let (stopped, end) = select! {
                end = &mut hears => (None, end),
                stopped = stop => (Some(stopped), None),
            };
            outcome.stopped = stopped;
            outcome.end = end;
        }
        if outcome.stopped.is_some() {
            self.hold = None;
            let patience = self.grace.saturating_add(PATIENCE);
            // Out of patience is the same as no guard: it is killed below.
            outcome.end = timeout(patience, self.hear(&mut outcome.interrupted)).await.unwrap_or_default();
        }
        self.bury(outcome.end.is_some()).await;
        outcome
    }

    /// Reads reports up to the end; `None` if the guard died, or says what no guard says. Cancel-safe.
    async fn hear(&mut self, interrupted: &mut bool) -> Option<Report> {
        while let Ok(Some(line)) = self.reports.next_line().await {
            match line.parse() {
                Ok(Report::Started) => {}
                Ok(Report::Interrupted) => *interrupted = true,
                Ok(end) => return Some(end),
                Err(()) => return None,
            }
        }
        None
    }

    /// Waits for the guard to go; kills it and what it left if it did not say that nothing is left.
    async fn bury(mut self, told: bool) {
        let gone = told && timeout(PATIENCE, self.child.wait()).await.is_ok();
        if gone {
            return;
        }
        tracing::warn!(directory = %self.mark, "a guard did not do its work: killing what runs in its place");
        if !kill_marked(&self.mark, KILLING).await {
            tracing::error!(directory = %self.mark, "processes of a run cannot be killed");
        }
        select! {
            _ = self.child.wait() => {}
            () = sleep(KILLING) => {}
        }
    }
}
