//! A guard's only work: starts the program, waits, and ends everything.

use super::{Order, Report};
use crate::processes::descendants;
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, wait},
};
use std::{
    collections::HashSet,
    io,
    os::unix::{net::UnixStream as StdUnixStream, process::CommandExt},
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
        Err(error) => Report::Unstarted(unstarted(&order.program.to_string_lossy(), &error)),
    };
    worker.tell(&report).await;
}

fn unstarted(program: &str, error: &io::Error) -> String {
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
    fn start(order: &Order) -> io::Result<Self> {
        // Listened for before there is anything to hear.
        let children = signal(SignalKind::child())?;
        let interrupts =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
        let child =
            Command::new(&order.program).args(&order.arguments).stdin(Stdio::null()).process_group(0).spawn()?;
        Ok(Self { program: Pid::from_child(&child), end: None, children, interrupts })
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

fn end(status: WaitStatus) -> Report {
    match status.terminating_signal() {
        Some(signal) => Report::Signalled(signal),
        // A process that has ended was killed by a signal or has a status.
        None => Report::Exited(status.exit_status().unwrap_or(-1)),
    }
}
