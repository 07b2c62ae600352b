//! A guard's only work: starts the program, waits, and ends everything.

use super::{Order, Report, limited};
use crate::processes::descendants;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, wait},
};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream as StdUnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

/// Between two looks at what still runs.
const TICK: Duration = Duration::from_millis(50);
/// How long SIGKILL may take (a process in the middle of I/O dies when that ends).
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the worker may take to read a line.
const TELLING: Duration = Duration::from_secs(5);

/// How long the program's limits may take to be set.
const LIMITING: Duration = Duration::from_secs(10);
/// How much sooner than others the kernel kills the program when memory runs out, of 1000.
const SOONER: i32 = 500;

/// Why the program is not left to itself any longer.
#[derive(PartialEq, Eq)]
enum Cause {
    /// It ended.
    Ended,
    /// The worker closed the socket.
    Closed,
    /// We were sent a signal.
    Interrupted,
}

pub(super) async fn attend(order: &Order, socket: StdUnixStream) {
    let mut worker = match Worker::new(socket) {
        Ok(worker) => worker,
        // Without a socket nothing may start, and nobody can be told.
        Err(_) => return,
    };
    let report = match Wards::start(order) {
        Ok(mut wards) => {
            worker.tell(&Report::Started).await;
            match wards.wait(&mut worker).await {
                Cause::Interrupted => worker.tell(&Report::Interrupted).await,
                Cause::Ended | Cause::Closed => {}
            }
            wards.end_all(order.grace).await
        }
        Err(why) => Report::Unstarted(why),
    };
    worker.tell(&report).await;
}

/// Why a program did not start, in words.
pub(super) fn unstarted(program: &OsStr, error: &io::Error) -> String {
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("the program {program:?} was not found (nor, if it is a script, what its first line names)")
        }
        io::ErrorKind::PermissionDenied => format!("the program {program:?} may not be executed: {error}"),
        _ => format!("the program {program:?} could not be started: {error}"),
    }
}

/// The other end of the socket.
struct Worker {
    reads: OwnedReadHalf,
    writes: OwnedWriteHalf,
}

impl Worker {
    fn new(socket: StdUnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (reads, writes) = UnixStream::from_std(socket)?.into_split();
        Ok(Self { reads, writes })
    }

    async fn tell(&mut self, report: &Report) {
        // A worker that is gone, or does not listen, changes nothing about what we have to do.
        drop(timeout(TELLING, self.writes.write_all(report.line().as_bytes())).await);
    }

    /// Waits until it closes its end. It says nothing else.
    async fn closed(&mut self) {
        let mut ignored = [0; 64];
        while self.reads.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
    }
}

/// The program and everything that comes from it.
struct Wards {
    program: Pid,
    /// How the program ended; from then on its number may be somebody else's.
    end: Option<Report>,
    children: Signals,
    interrupts: [Signals; 3],
}

impl Wards {
    fn start(order: &Order) -> Result<Self, String> {
        let why = |error: io::Error| unstarted(&order.program, &error);
        // Listened for before there is anything to hear.
        let children = signal(SignalKind::child()).map_err(why)?;
        let interrupts = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [terminate, interrupt, hangup] = interrupts;
        let interrupts = [terminate.map_err(why)?, interrupt.map_err(why)?, hangup.map_err(why)?];
        let program = match order.limits.is_none() {
            true => {
                let mut command = Command::new(&order.program);
                spawn(command.args(&order.arguments).stdin(Stdio::null())).map_err(why)?
            }
            false => limited_start(order)?,
        };
        Ok(Self { program, end: None, children, interrupts })
    }

    /// Waits until the program ends or is to end.
    async fn wait(&mut self, worker: &mut Worker) -> Cause {
        loop {
            let [terminate, interrupt, hangup] = &mut self.interrupts;
            select! {
                biased;
                // First: a service manager sends the same signal to us and to the program.
                _ = terminate.recv() => return Cause::Interrupted,
                _ = interrupt.recv() => return Cause::Interrupted,
                _ = hangup.recv() => return Cause::Interrupted,
                () = worker.closed() => return Cause::Closed,
                _ = self.children.recv() => {}
            }
            self.reap();
            if self.end.is_some() {
                return Cause::Ended;
            }
        }
    }

    /// Takes leave of every child that has ended; says whether there is any other.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.program => self.end = Some(end(status)),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return true,
                // No children. As we adopt every orphan, no other descendants either.
                Err(_) => return false,
            }
        }
    }

    /// Ends everything that still runs: asks, waits for `grace`, kills.
    async fn end_all(&mut self, grace: Duration) -> Report {
        let mut asked = HashSet::new();
        let deadline = Instant::now() + grace;
        while self.reap() && Instant::now() < deadline {
            if asked.is_empty() {
                self.signal_group(Signal::TERM);
            }
            for process in descendants(getpid()) {
                if asked.insert(process) {
                    process.signal(Signal::TERM);
                    process.signal(Signal::CONT); // a stopped process hears SIGTERM only then
                }
            }
            self.tick(deadline).await;
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        while self.reap() && Instant::now() < deadline {
            self.signal_group(Signal::KILL);
            descendants(getpid()).iter().for_each(|process| process.signal(Signal::KILL));
            self.tick(deadline).await;
        }
        match self.reap() {
            true => Report::Stuck,
            false => self.end.take().unwrap_or(Report::Stuck),
        }
    }

    /// All members of the program's group at once, so that none can fork in between.
    fn signal_group(&self, signal: Signal) {
        if self.end.is_none() {
            let _ = kill_process_group(self.program, signal); // it may be gone already
        }
    }

    async fn tick(&mut self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        select! {
            _ = self.children.recv() => {}
            () = sleep(TICK.min(left)) => {}
        }
    }
}

/// Starts a program in a group of its own. What it inherits and we do not keep: to be killed sooner than we.
fn spawn(command: &mut Command) -> io::Result<Pid> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    // Where the system does not let us, all are killed alike.
    let before = fs::read_to_string(SCORE).ok().and_then(|score| score.trim().parse::<i32>().ok());
    let set = |score: i32| drop(fs::write(SCORE, score.to_string()));
    before.into_iter().for_each(|before| set((before + SOONER).min(1000)));
    let child = command.process_group(0).spawn();
    before.into_iter().for_each(set);
    Ok(Pid::from_child(&child?))
}

/// Starts a program that is held to limits: see [`limited`].
fn limited_start(order: &Order) -> Result<Pid, String> {
    let why = |error: io::Error| format!("the program's limits could not be set: {error}");
    let (mut ours, theirs) = StdUnixStream::pair().map_err(why)?;
    let mut command = Command::new("/proc/self/exe");
    command.args(&order.guard).arg(limited::WORD).args(order.limits.words()).arg("--");
    command.arg(&order.program).args(&order.arguments).stdin(Stdio::from(OwnedFd::from(theirs)));
    let program = spawn(&mut command).map_err(why)?;
    // It holds a copy of the other end, which would never be closed.
    drop(command);
    ours.set_read_timeout(Some(LIMITING)).map_err(why)?;
    let mut told = String::new();
    // No answer in time is no reason to wait longer: it is the program's time limit that counts then.
    let _ = ours.read_to_string(&mut told);
    if told.is_empty() { Ok(program) } else { Err(told) }
}

fn end(status: WaitStatus) -> Report {
    match status.terminating_signal() {
        Some(signal) => Report::Signalled(signal),
        // A process that has ended was killed by a signal or has a status.
        None => Report::Exited(status.exit_status().unwrap_or(-1)),
    }
}
