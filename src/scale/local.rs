//! Workers as processes of this machine: `service-gateway worker`. They outlive the daemon (under systemd with
//! `KillMode=process`), and the next one knows them by number and start.

use super::crew::{Crew, Process};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// What a worker gets beside its program's own limit to end what it does.
const BESIDE: Duration = Duration::from_secs(60);

pub(super) struct Local {
    service: String,
    /// How long a worker that is told to end may go on with its task.
    grace: Duration,
    file: Option<PathBuf>,
    /// Those that this daemon started: somebody has to hear of their end.
    children: Vec<Child>,
}

impl Local {
    pub(super) fn new(service: &str, timeout: Duration, file: Option<PathBuf>) -> Self {
        Self { service: service.to_owned(), grace: timeout + BESIDE, file, children: Vec::new() }
    }

    pub(super) fn spawn(&mut self, name: &str) -> Result<Process, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").args(["--name", name]);
        if let Some(file) = &self.file {
            command.arg("--config").arg(file);
        }
        // A busy worker is not cut short: it may go on for as long as a run may take.
        command.env("GATEWAY_SERVER__SHUTDOWN_GRACE", format!("{}s", self.grace.as_secs()));
        // Out of our group: what is typed at the daemon's terminal is not for them.
        let child = command.arg(&self.service).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| error.to_string())?;
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        self.children.push(child);
        let start = start(pid).ok_or("it ended at once")?;
        Ok(Process { pid, start })
    }

    /// SIGTERM: a worker then takes no more tasks, and ends when it has none.
    pub(super) fn stop(name: &str, crew: &Crew) -> Result<(), String> {
        let process = crew.members.iter().find(|member| member.name == name).and_then(|member| member.process);
        let process = process.ok_or("it is not known where it runs")?;
        if !lives(process) {
            return Ok(());
        }
        let pid = Pid::from_raw(process.pid).ok_or("no such process")?;
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())
    }

    pub(super) fn list(&mut self, crew: &Crew) -> Vec<String> {
        // Whoever has ended is heard of now; what cannot be asked is not ours.
        self.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let alive = crew.members.iter().filter(|member| member.process.is_some_and(lives));
        alive.map(|member| member.name.clone()).collect()
    }
}

fn lives(process: Process) -> bool {
    start(process.pid) == Some(process.start)
}

/// When a process began; `None` if there is none of that number, or it has ended and nobody has heard of it.
fn start(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let pid = std::process::id() as i32;
        let me = Process { pid, start: start(pid).unwrap() };
        assert!(lives(me));
        assert!(!lives(Process { start: me.start + 1, ..me }), "another has got its number");
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        assert_eq!(start(pid), None);
    }
}
