//! Celery workers (`celery_worker.py`) as processes, and what no worker should send (`garbage.py`).

use crate::{
    rabbit::{Rabbit, rig, run, support},
    support::{PATIENCE, signal, until},
};
use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long a worker may take to be ready, beside others on a busy machine.
const READY: Duration = Duration::from_secs(150);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What a worker runs.
pub(crate) struct Program {
    /// The variable of the rig that names Celery's command.
    pub(crate) celery: &'static str,
    /// The module with the tasks.
    pub(crate) app: &'static str,
    /// What else the module is told.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Default for Program {
    /// Celery 5, with results by rpc.
    fn default() -> Self {
        Self { celery: "SG_TEST_CELERY", app: "celery_worker", environment: Vec::new() }
    }
}

/// A prefork worker of one task at a time. Dropped, it is killed with its pool.
pub(crate) struct Worker {
    /// Its name, without the host.
    name: String,
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker on a queue and waits until it is ready. Its log is in `directory`; `arguments` go to
    /// `celery worker` (`-E`, `--concurrency=2`, a setting as `result.persistent=0`).
    pub(crate) fn start(broker: &Rabbit, queue: &str, directory: &Path, arguments: &[&str]) -> Self {
        Self::start_as(Program::default(), broker, queue, directory, arguments)
    }

    /// As [`Worker::start`], of another program.
    pub(crate) fn start_as(
        program: Program,
        broker: &Rabbit,
        queue: &str,
        directory: &Path,
        arguments: &[&str],
    ) -> Self {
        let mut worker = Self::spawn(program, broker.url(), queue, directory, arguments);
        until(READY, "the worker is ready", || {
            assert!(!worker.has_ended(), "the worker ended and said\n{}", worker.log());
            worker.is_ready().then_some(())
        });
        worker
    }

    /// As [`Worker::start`]; it is not ready before its neighbours have told it that these tasks were revoked.
    pub(crate) fn start_after_hearing(broker: &Rabbit, queue: &str, directory: &Path, revoked: &[String]) -> Self {
        let environment = vec![("MINGLE_UNTIL", revoked.join(","))];
        Self::start_as(Program { environment, ..Program::default() }, broker, queue, directory, &["--concurrency=1"])
    }

    /// It has connected and takes tasks.
    pub(crate) fn is_ready(&self) -> bool {
        self.log().contains(" ready.")
    }

    /// It has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Starts a worker at the broker of this URL, and does not wait for it.
    pub(crate) fn spawn(program: Program, broker: &str, queue: &str, directory: &Path, arguments: &[&str]) -> Self {
        let name = format!("w{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).unwrap();
        let child = Command::new(rig(program.celery))
            .args(["-A", program.app, "worker", "-l", "info", "-P", "prefork", "--concurrency=1", "-Q", queue])
            .args(["-n", &format!("{name}@%h")])
            .args(arguments)
            .env("CELERY_BROKER_URL", broker)
            .env("PYTHONPATH", support())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(program.environment)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { name, child, log }
    }

    /// What it is called, up to the `@`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Kills it with its pool (SIGKILL).
    pub(crate) fn kill9(self) {}

    /// Stops it as an operator does: it finishes what it runs, and hands the rest back to the broker.
    pub(crate) fn stop(mut self) {
        signal(self.child.id(), "TERM");
        let end = until(PATIENCE, "the worker ends", || self.child.try_wait().unwrap());
        assert!(end.success() || end.signal().is_some(), "{end}: {}", self.log());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        // Stopped first, so that it starts no new process for its pool while we look.
        signal(self.child.id(), "STOP");
        let pool = children(self.child.id());
        signal(self.child.id(), "KILL");
        pool.into_iter().for_each(|pid| signal(pid, "KILL"));
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)] // to the person who reads the failure
            {
                eprintln!("--- {}\n{}", self.log.display(), self.log());
            }
        }
    }
}

/// The processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent_of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // "PID (NAME) STATE PARENT …": a name may hold spaces and brackets.
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()
    };
    processes.filter(|pid| parent_of(pid) == Some(parent)).collect()
}

/// The kinds of `garbage.py` that need nothing more.
pub(crate) fn garbage_kinds() -> Vec<String> {
    let output =
        run(Command::new(rig("SG_TEST_PYTHON")).arg(support().join("garbage.py")).args(["--kind", "list"]), PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kinds = String::from_utf8(output.stdout).unwrap();
    kinds.lines().filter(|kind| *kind != "raw").map(str::to_owned).collect()
}

/// Sends one message to a reply queue, and returns when the broker has it.
pub(crate) fn garbage(broker: &Rabbit, replies: &str, uuid: &str, kind: &str) {
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.arg(support().join("garbage.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["--url", broker.url(), "--queue", replies, "--correlation-id", uuid, "--kind", kind]);
    let output = run(&mut command, PATIENCE);
    assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
}
