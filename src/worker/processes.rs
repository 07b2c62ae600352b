//! Other processes, as `/proc` shows them.

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// The variable that marks every process of a run; its value is the run directory.
pub(crate) const MARK: &str = "SERVICE_GATEWAY_RUN";
/// As much of a process's environment is searched.
const ENVIRONMENT: u64 = 8 << 20;
/// Between two looks.
const TICK: Duration = Duration::from_millis(50);

/// A process; number and start together name it for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: i32,
    /// In clock ticks since boot.
    start: u64,
}

impl Process {
    fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let (parent, start) = parse_stat(&String::from_utf8_lossy(&stat))?;
        Some(Self { pid, parent, start })
    }

    /// Every process that is not a zombie.
    fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::of(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?)).collect()
    }

    /// Sends it a signal - to it, and not to another that has got its number meanwhile.
    pub(crate) fn signal(&self, signal: Signal) {
        let is_it = || Self::of(self.pid).is_some_and(|now| now.start == self.start);
        let sent = match pidfd_open(self.pid, PidfdFlags::empty()) {
            // Once the descriptor is open the number may change hands, but the descriptor does not.
            Ok(fd) if is_it() => pidfd_send_signal(fd, signal),
            Ok(_) | Err(Errno::SRCH) => return,
            Err(error) => Err(error),
        };
        // Kernels before 5.3, sandboxes that forbid what they do not know (EPERM), no descriptor left.
        if sent.is_err_and(|error| error != Errno::SRCH) && is_it() {
            let _ = kill_process(self.pid, signal); // it may have ended by itself
        }
    }

    fn is_marked(&self, directory: &str) -> bool {
        let mut environment = Vec::new();
        let read = File::open(format!("/proc/{}/environ", self.pid))
            .and_then(|file| file.take(ENVIRONMENT).read_to_end(&mut environment));
        let mark = format!("{MARK}={directory}");
        read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    }
}

/// Parent and start from a line of `/proc/<pid>/stat`; `None` for a zombie. The name, in brackets, may hold anything.
fn parse_stat(stat: &str) -> Option<(i32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of the line; the first after the brackets was the third.
    let start = fields.nth(17)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some((parent, start))
}

/// Everything that descends from the processes in `of`, they themselves left out.
fn below(all: &[Process], of: impl IntoIterator<Item = Pid>) -> Vec<Process> {
    let mut known: HashSet<i32> = of.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let mut found = Vec::new();
    loop {
        let more: Vec<_> = all
            .iter()
            .filter(|process| known.contains(&process.parent) && !known.contains(&process.pid.as_raw_nonzero().get()))
            .copied()
            .collect();
        if more.is_empty() {
            return found;
        }
        known.extend(more.iter().map(|process| process.pid.as_raw_nonzero().get()));
        found.extend(more);
    }
}

/// Everything that descends from the process `of`, which is left out itself.
pub(crate) fn descendants(of: Pid) -> Vec<Process> {
    below(&Process::all(), [of])
}

/// Every process that carries the mark of `directory`, and everything that descends from one; never ourselves.
pub(crate) fn marked(directory: &str) -> Vec<Process> {
    let us = rustix::process::getpid();
    let all: Vec<_> = Process::all().into_iter().filter(|process| process.pid != us).collect();
    let mut found: Vec<_> = all.iter().filter(|process| process.is_marked(directory)).copied().collect();
    found.extend(below(&all, found.iter().map(|process| process.pid)));
    found
}

/// Kills what is marked with `directory` until nothing is, or `patience` is over; says whether nothing is.
pub(crate) async fn kill_marked(directory: &str, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let directory = directory.to_owned();
        let killing = spawn_blocking(move || {
            let found = marked(&directory);
            found.iter().for_each(|process| process.signal(Signal::KILL));
            found.is_empty()
        });
        match killing.await {
            Ok(true) => return true,
            // It does not panic; it fails only when the runtime ends.
            Err(_) => return false,
            Ok(false) if Instant::now() >= deadline => return false,
            Ok(false) => sleep(TICK).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_under_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").env(MARK, "/a b").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let found = descendants(rustix::process::getpid());
        let process = *found.iter().find(|process| process.pid == pid).expect("the child is there");
        // Between fork and exec the child still has our environment.
        let deadline = std::time::Instant::now() + Duration::from_secs(40);
        while !marked("/a b").contains(&process) {
            assert!(std::time::Instant::now() < deadline, "its mark is not found");
            std::thread::yield_now();
        }
        assert!(marked("/a").is_empty());
        let another = Process { start: process.start + 1, ..process };
        another.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none(), "another process of that number was meant");
        process.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
        assert!(!descendants(rustix::process::getpid()).contains(&process));
    }

    #[test]
    fn names_may_hold_anything() {
        let rest = "S 5 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 999 1 2";
        assert_eq!(parse_stat(&format!("12 (a) b (c) {rest}")), Some((5, 999)));
        assert_eq!(parse_stat(&format!("12 (sh) {}", rest.replace('S', "Z"))), None);
        assert_eq!(parse_stat("12 (sh"), None);
        assert_eq!(parse_stat(""), None);
    }
}
