//! The demo: one process, one real task, and lines that a person can paste.

use crate::support::*;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

#[test]
fn once_shows_a_task_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let temporary = directory.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let began = Instant::now();
    let output = cli_with(directory.path(), &["demo", "--once", "--listen", "127.0.0.1:0"], |command| {
        command.env("TMPDIR", &temporary);
    });
    assert_eq!(output.code, 0, "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    for part in ["Service Gateway at http://127.0.0.1:", "submitted: ", "\"SUCCESS\"", "\"result\"", "TOKEN=", "curl "]
    {
        assert!(output.stdout.contains(part), "{part} in {}", output.stdout);
    }
    assert!(!output.stdout.contains(":0/") && !output.stderr.contains("panic"), "{output:?}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "it leaves no file");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nor where it was called");
}

/// A running demo; killed when dropped.
struct Demo {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_service-gateway"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// What it prints up to a line.
    fn until_line(&self, last: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            let left = deadline.saturating_duration_since(Instant::now());
            lines.push(self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {last:?} after {lines:#?}")));
        }
        lines
    }
}

/// The lines are run by a shell as a person would paste them, with the real curl.
#[test]
fn the_printed_lines_work() {
    let mut demo = Demo::start();
    let lines = demo.until_line("Serving until Ctrl-C.");
    let first = lines.iter().position(|line| line.trim_start().starts_with("TOKEN=")).expect("a token is printed");
    let commands: Vec<_> = lines[first..].iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    assert_eq!(commands.len(), 4, "a token and three requests: {commands:#?}");
    assert!(commands[1..].iter().all(|line| line.starts_with("curl ")), "{commands:#?}");

    let curl = |line: &str| {
        let script =
            format!("curl() {{ command curl -sS --noproxy '*' --max-time 30 \"$@\"; }}\n{}\n{line}\n", commands[0]);
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "needs curl: {line}: {text} {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| panic!("{line}: {text}"))
    };
    let uuid = curl(commands[1])["uuid"].as_str().expect("a uuid").to_owned();
    let status = curl(commands[2]);
    assert_eq!(status["status"], "SUCCESS", "{status}");
    let info = curl(commands[3]);
    assert_eq!(info["name"], "Speech", "{info}");
    let again = commands[2].replace(status["uuid"].as_str().unwrap(), &uuid);
    let end = until(PATIENCE, "the end of the second task", || Some(curl(&again)).filter(is_end));
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &status["result"]), "the same recording");

    signal(demo.child.id(), "INT");
    let code = until(PATIENCE, "it ends", || demo.child.try_wait().unwrap());
    assert_eq!(code.code(), Some(0));
}
