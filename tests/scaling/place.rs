//! A gateway on RabbitMQ and the daemon that scales its workers.

use crate::{
    rabbit::Rabbit,
    support::{Gateway, PATIENCE, get, signal, until, wait_for},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Dropped, every worker that the daemons have started is ended, then the gateway.
pub(crate) struct Place {
    pub(crate) broker: Rabbit,
    pub(crate) queue: String,
    pub(crate) gateway: Gateway,
}

impl Place {
    /// With one service, `stub`, whose worker runs a shell script; `scaling` are keys of its `[scaling]`, `toml` stands at
    /// the top of the configuration.
    pub(crate) fn new(broker: Rabbit, script: &str, scaling: &str, toml: &str) -> Self {
        let queue = format!("scaling-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = broker.url();
        let gateway = Gateway::start(&format!(
            "{toml}\n[broker]\nurl = \"{url}\"\nreply_queue = \"{queue}.replies\"\npublish_timeout = \"60s\"\n\
             [auth]\nmode = \"none\"\n[telemetry]\nlog = \"debug,lapin=off,hyper_util=off,reqwest=off\"\n\
             [services.stub]\nqueue = \"{queue}\"\nrequires_document = false\n\
             [services.stub.worker]\ncommand = [\"sh\", \"-c\", '''{script}''', \"{{uuid}}\"]\n\
             [services.stub.scaling]\n{scaling}\n"
        ));
        wait_for("the queue is declared, and the broker can be asked", || {
            broker.queue(&queue).is_some() && get(&format!("{}/stub/needs", gateway.url())).status == 200
        });
        Self { broker, queue, gateway }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.gateway.directory().join(name)
    }

    /// Waits until the needs are so. (A broker that a busy machine lets answer late is asked again.)
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        until(2 * PATIENCE, what, || {
            let answer = get(&format!("{}/stub/needs", self.gateway.url()));
            (answer.status == 200).then(|| answer.json()).filter(|needs| is_so(needs))
        })
    }

    pub(crate) fn consumers(&self) -> u32 {
        self.broker.queue(&self.queue).map_or(0, |queue| queue.consumers)
    }

    /// `service-gateway scale` in the gateway's directory.
    pub(crate) fn daemon(&self, name: &str) -> Daemon {
        let log = self.file(&format!("{name}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_service-gateway"))
            .args(["scale", "--config", "gateway.toml", "--url", &self.gateway.url()])
            .env("TMPDIR", self.gateway.directory())
            .env("GATEWAY_SCALING__STATE", format!("{name}.json"))
            .current_dir(self.gateway.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Daemon { child, log }
    }

    /// The workers in a daemon's state file: name and process.
    pub(crate) fn workers(&self, daemon: &str) -> Vec<(String, u32)> {
        let state = fs::read(self.file(&format!("{daemon}.json"))).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        let members = state["services"]["stub"]["members"].as_array().cloned().unwrap_or_default();
        let worker = |member: &Value| {
            (member["name"].as_str().unwrap().to_owned(), member["process"]["pid"].as_u64().unwrap_or_default() as u32)
        };
        members.iter().map(worker).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let files = fs::read_dir(self.gateway.directory()).unwrap().flatten();
        let names = files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
        let workers: Vec<_> = names.flat_map(|name| self.workers(&name)).map(|(_, pid)| pid).collect();
        for pid in workers.into_iter().filter(|pid| *pid > 0) {
            signal(pid, "KILL");
        }
    }
}

/// A daemon. Dropped, it is killed; its workers go on.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    pub(crate) fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        until(PATIENCE, "the daemon ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)] // to the person who reads the failure
            {
                eprintln!("--- {}\n{}", self.log.display(), self.log());
            }
        }
    }
}
