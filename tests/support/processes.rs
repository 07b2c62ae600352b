//! Other processes: who is alive, who carries a mark.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;

/// Sends `TERM`, `KILL`, `INT`, `HUP`, `STOP` or `CONT`. A process that is gone is no error.
pub(crate) fn signal(pid: u32, name: &str) {
    let signal = match name {
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => panic!("no signal {name:?}"),
    };
    let _ = kill_process(number(pid), signal);
}

/// Does a process of this number exist, and is more than a zombie?
pub(crate) fn alive(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = state.rsplit(") ").next().unwrap_or_default().chars().next();
    test_kill_process(number(pid)).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

/// The living processes whose environment has a variable that begins with `mark` (`NAME=value`).
pub(crate) fn processes_with(mark: &str) -> Vec<u32> {
    let carries = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(carries).collect()
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("the system's numbers are smaller")).expect("no process is 0")
}
