//! A gateway, its queue and our workers, for one test.

use crate::{
    rabbit::Rabbit,
    support::{Gateway, PATIENCE, is_end, processes_with, signal, status, submit, until, wait_for},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The service, its task and its table.
pub(crate) const SERVICE: &str = "stub";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Dropped, workers end before their gateway.
pub(crate) struct Place {
    pub(crate) broker: Rabbit,
    /// The tasks' queue.
    pub(crate) queue: String,
    pub(crate) gateway: Gateway,
}

impl Place {
    /// A gateway at the node of all, with one service that runs a shell script; `more` are further keys of its
    /// `[worker]`. The queue is the place's own.
    pub(crate) fn new(name: &str, script: &str, more: &str) -> Self {
        Self::at(Rabbit::shared(), name, &shell(script), more, "")
    }

    /// The same at that node with any command (TOML); `toml` is added to the configuration.
    pub(crate) fn at(broker: Rabbit, name: &str, command: &str, more: &str, toml: &str) -> Self {
        Self::with(broker, name, "", command, more, toml)
    }

    /// The same with further keys of the service itself.
    pub(crate) fn with(broker: Rabbit, name: &str, service: &str, command: &str, more: &str, toml: &str) -> Self {
        let queue = format!("ours-{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = broker.url();
        let configuration = format!(
            "[broker]\nurl = \"{url}\"\nreply_queue = \"{queue}.replies\"\n[auth]\nmode = \"none\"\n\
             [telemetry]\nlog = \"debug,lapin=off,hyper_util=off,reqwest=off\"\n{toml}\n\
             [services.{SERVICE}]\nqueue = \"{queue}\"\nversion = \"1.2.3\"\nrequires_document = false\n{service}\n\
             [services.{SERVICE}.worker]\ncommand = {command}\n{more}\n"
        );
        let gateway = Gateway::start(&configuration);
        wait_for("the queue is declared", || broker.queue(&queue).is_some());
        fs::create_dir(gateway.directory().join("tmp")).unwrap();
        Self { broker, queue, gateway }
    }

    /// A worker of ours, consuming.
    pub(crate) fn worker(&self) -> Ours {
        self.worker_of(SERVICE)
    }

    /// A worker of ours for this service, consuming.
    pub(crate) fn worker_of(&self, service: &str) -> Ours {
        self.consuming(service, |_| {})
    }

    /// As [`Place::worker`], with a word about the process: its environment, say.
    pub(crate) fn worker_with(&self, adjust: impl FnOnce(&mut Command)) -> Ours {
        self.consuming(SERVICE, adjust)
    }

    fn consuming(&self, service: &str, adjust: impl FnOnce(&mut Command)) -> Ours {
        let worker = self.spawn_with(service, adjust);
        wait_for("the worker consumes", || {
            let log = worker.log();
            assert!(worker.is_running(), "the worker ended and said\n{log}");
            log.contains("consuming")
        });
        worker
    }

    /// A worker of ours that may not find its broker.
    pub(crate) fn spawn(&self) -> Ours {
        self.spawn_with(SERVICE, |_| {})
    }

    fn spawn_with(&self, service: &str, adjust: impl FnOnce(&mut Command)) -> Ours {
        let directory = self.gateway.directory();
        let name = format!("w{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let log = directory.join(format!("{name}.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_service-gateway"));
        command
            .args(["worker", "--config", "gateway.toml", "--name", &name, service])
            .env("TMPDIR", directory.join("tmp"))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join(format!("{name}.out"))).unwrap())
            .stderr(File::create(&log).unwrap());
        adjust(&mut command);
        Ours { name, child: command.spawn().unwrap(), log }
    }

    /// A file of this name in the gateway's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.gateway.directory().join(name)
    }

    /// The lines of a file, as far as they are whole; none if it is not there.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Makes an empty file.
    pub(crate) fn touch(&self, name: &str) {
        fs::write(self.file(name), "").unwrap();
    }

    #[track_caller]
    pub(crate) fn submit(&self, form: &[(&str, &str)]) -> String {
        submit(&self.gateway, SERVICE, form)
    }

    #[track_caller]
    pub(crate) fn status(&self, uuid: &str) -> Value {
        status(&self.gateway, SERVICE, uuid)
    }

    /// Follows a task until it is in this state; gives its status.
    #[track_caller]
    pub(crate) fn until(&self, uuid: &str, state: &str) -> Value {
        until(PATIENCE, &format!("{uuid} is in {state}"), || {
            let status = self.status(uuid);
            let there = status["status"] == state;
            assert!(there || !is_end(&status), "{status}");
            there.then_some(status)
        })
    }

    #[track_caller]
    pub(crate) fn end(&self, uuid: &str) -> Value {
        until(PATIENCE, &format!("the end of {uuid}"), || Some(self.status(uuid)).filter(is_end))
    }

    /// Waits until the queue holds so many messages, those that a worker has included.
    #[track_caller]
    pub(crate) fn holds(&self, messages: u64) {
        wait_for(&format!("{messages} messages are in {}", self.queue), || {
            self.broker.messages(&self.queue) == messages
        });
    }
}

/// A shell script as a command in TOML.
pub(crate) fn shell(script: &str) -> String {
    assert!(!script.contains("'''"), "the script stands in a TOML literal");
    format!("[\"sh\", \"-c\", '''{script}''', \"{{uuid}}\", \"{{output}}\"]")
}

/// The processes of a task: guard, program and whatever that started.
pub(crate) fn processes_of(uuid: &str) -> Vec<u32> {
    processes_with(&format!("SERVICE_GATEWAY_TASK={uuid}"))
}

/// `service-gateway worker`. Dropped, it is killed; its guards end what it ran.
pub(crate) struct Ours {
    /// The first part of its name.
    pub(crate) name: String,
    child: Child,
    log: PathBuf,
}

impl Ours {
    /// What it logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// What it printed.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        crate::support::alive(self.child.id())
    }

    pub(crate) fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until(PATIENCE, "the worker ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)] // to the person who reads the failure
            {
                eprintln!("--- {}\n{}", self.log.display(), self.log());
            }
        }
    }
}

/// Any other worker's process. Dropped, it is killed.
pub(crate) struct Running(Ours);

impl Running {
    /// Starts it; its log is in this directory.
    pub(crate) fn start(command: &mut Command, directory: &std::path::Path) -> Self {
        let log = directory.join("worker.log");
        let child = command.stdin(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self(Ours { name: String::new(), child, log })
    }

    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    pub(crate) fn terminate(&self) {
        self.0.terminate();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.0.wait()
    }
}
