//! Workers as processes, of Celery and of ours, that do nothing.

use super::program::Fallible;
use gateway_worker::{
    Address, Client, Failure, GuardCommand, HandlerProgress, HandlerTask, Limits, Policy, QueueSpec, RunnerSettings,
    Service, Stop, Value, WorkerOptions, work,
};
use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Tasks at once.
pub(crate) const SLOTS: u16 = 2;
/// Tells this program that it is to be the worker in Rust: the queue.
const HANDLER: &str = "SG_BENCH_HANDLER";

/// Who does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CeleryRecommended,
    CeleryDefaults,
    Handler,
    Program,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::CeleryRecommended, Self::CeleryDefaults, Self::Handler, Self::Program];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CeleryRecommended => "Celery prefork, as the README sets it",
            Self::CeleryDefaults => "Celery prefork, as it comes",
            Self::Handler => "ours, a Rust function",
            Self::Program => "ours, the program `true`",
        }
    }

    /// Starts a worker on this queue; `directory` has the gateway's configuration.
    pub(crate) fn start(self, broker: &str, queue: &str, directory: &Path) -> Fallible<Worker> {
        let mut command = match self {
            Self::CeleryRecommended | Self::CeleryDefaults => celery(self == Self::CeleryRecommended, queue)?,
            Self::Handler => {
                let mut command = Command::new(std::env::current_exe()?);
                command.env(HANDLER, queue);
                command
            }
            Self::Program => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_service-gateway"));
                command.args(["worker", "--config", "gateway.toml", "noop"]);
                command
            }
        };
        let log = File::create(directory.join("worker.log"))?;
        command.env("CELERY_BROKER_URL", broker).env("TMPDIR", directory).current_dir(directory);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Worker(command.spawn()?))
    }
}

fn celery(recommended: bool, queue: &str) -> Fallible<Command> {
    let celery = std::env::var("SG_TEST_CELERY").map_err(|_| "needs Celery: see the command in this file")?;
    let mut command = Command::new(celery);
    command
        .args(["-A", "noop_worker", "worker", "-P", "prefork", "-l", "warning", "-Q", queue])
        .args(["--concurrency", &SLOTS.to_string(), "-n", &format!("{queue}@%h")])
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if recommended {
        command.env("BENCH_SETTINGS", "recommended");
    }
    Ok(command)
}

/// Is this process to be the worker in Rust? Then it is, until it is killed.
pub(crate) fn be_the_handler() -> Fallible<bool> {
    let Ok(queue) = std::env::var(HANDLER) else { return Ok(false) };
    let client = Client::new(Policy::default(), Limits::default())?;
    let runs = std::env::temp_dir().join("handler.runs");
    let runner = RunnerSettings::new(runs, GuardCommand::this_binary(), client);
    let queue = QueueSpec { name: queue, kind: Default::default(), arguments: Vec::new() };
    let service = Service { queue, concurrency: SLOTS, ..Service::handled("noop", noop) };
    let address = Address::parse(&std::env::var("CELERY_BROKER_URL")?)?;
    let options = WorkerOptions::new(address, vec![service], runner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(options, Stop::default()))?;
    Ok(true)
}

async fn noop(_: HandlerTask, _: HandlerProgress) -> Result<Value, Failure> {
    Ok(Value::Null)
}

/// A worker's process. Dropped, it is killed with its children.
pub(crate) struct Worker(Child);

impl Worker {
    /// Its memory and that of its children, in MiB; what several share counts once (`Pss`, proc(5)).
    pub(crate) fn memory(&self) -> Fallible<f64> {
        let mut kib = 0.0;
        for pid in std::iter::once(self.0.id()).chain(children(self.0.id())) {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
            kib += line.split_whitespace().next().ok_or("no number")?.parse::<f64>()?;
        }
        Ok(kib / 1024.0)
    }

    pub(crate) fn has_ended(&mut self) -> Fallible<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

/// Children of its only thread that starts any.
fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

impl Drop for Worker {
    fn drop(&mut self) {
        let pool = children(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        for pid in pool {
            // The pool's processes end by themselves when their parent is gone, but not at once.
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}
