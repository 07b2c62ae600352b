//! A broker, a store, a queue, a worker and a gateway, each of which can be killed.

use crate::{
    celery::{Program, Worker},
    support::{Gateway, get, is_end, request, status, until},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// Longer than everything that follows a fault: leases, back-off, a node's start on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// Where workers keep their record and their logs, and the queue that they take tasks from.
pub(crate) struct Workshop {
    directory: TempDir,
    pub(crate) queue: String,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let queue = format!("sg-test.faults.{}", uuid::Uuid::now_v7());
        Self { directory: TempDir::with_prefix("sg-test-faults-").unwrap(), queue }
    }

    /// For files that gates and gateways need.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A worker that is ready.
    pub(crate) fn worker(&self, broker: &str) -> Worker {
        let mut worker = self.begin(broker, &[]);
        until(LONG, "the worker is ready", || {
            assert!(!worker.has_ended(), "the worker ended and said\n{}", worker.log());
            worker.is_ready().then_some(())
        });
        worker
    }

    /// A worker that may not be ready for long, or ever; `environment` is added to its own.
    pub(crate) fn begin(&self, broker: &str, environment: &[(&'static str, &str)]) -> Worker {
        let mut variables = vec![("RECORD", self.path("record").to_str().unwrap().to_owned())];
        variables.extend(environment.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let program = Program { app: "recording_worker", environment: variables, ..Program::default() };
        Worker::spawn(program, broker, &self.queue, self.directory(), &["--concurrency=2"])
    }

    /// How often each task was begun, as the workers themselves have written it down.
    pub(crate) fn begun(&self) -> HashMap<String, usize> {
        self.recorded("begin ")
    }

    /// How often each task was done.
    pub(crate) fn done(&self) -> HashMap<String, usize> {
        self.recorded("end ")
    }

    fn recorded(&self, what: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for line in fs::read_to_string(self.path("record")).unwrap_or_default().lines() {
            if let Some(uuid) = line.strip_prefix(what) {
                *counts.entry(uuid.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// The configuration of a gateway without authentication whose service `record` is this queue's. It waits for
    /// confirms for longer than a busy machine lets it wait: what is sent again has another reason.
    pub(crate) fn configuration(&self, broker: &str, store: &str) -> String {
        format!(
            "[broker]\nurl = \"{broker}\"\nreply_queue = \"{queue}.replies\"\npublish_timeout = \"60s\"\n\
             [store]\nurl = \"{store}\"\n[auth]\nmode = \"none\"\n[services.record]\nqueue = \"{queue}\"\n\
             requires_document = false\n",
            queue = self.queue
        )
    }
}

/// Whom the kill tests kill.
pub(crate) const SQLITE: &str = "sqlite:gateway.db";

/// Submits one task, once; gives its uuid.
#[track_caller]
pub(crate) fn submit(gateway: &Gateway, form: &[(&str, &str)]) -> String {
    crate::support::submit(gateway, "record", form)
}

/// Submits one task under a key, once.
pub(crate) fn try_submit(url: &str, key: &str, form: &[(&str, &str)]) -> Result<String, String> {
    let request = request("POST", &format!("{url}/record/annotate")).header("Idempotency-Key", key).form(form);
    let answer = request.try_send()?;
    let uuid = (answer.status == 200).then(|| answer.json()["uuid"].as_str().map(str::to_owned)).flatten();
    uuid.ok_or_else(|| format!("{}: {}", answer.status, answer.text()))
}

/// Follows a task to its end, holds it to be SUCCESS with its own result, and gives its last status.
#[track_caller]
pub(crate) fn succeeds(gateway: &Gateway, uuid: &str) -> Value {
    let end = end(gateway, uuid);
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &uuid.into()), "{end}");
    end
}

/// Follows a task to its end.
#[track_caller]
pub(crate) fn end(gateway: &Gateway, uuid: &str) -> Value {
    until(LONG, &format!("the end of {uuid}"), || Some(status(gateway, "record", uuid)).filter(is_end))
}

/// Waits for a state.
#[track_caller]
pub(crate) fn state(gateway: &Gateway, uuid: &str, state: &str) {
    let what = format!("{uuid} is {state}");
    until(LONG, &what, || (status(gateway, "record", uuid)["status"] == state).then_some(()));
}

/// Waits until the broker is known to have the task.
#[track_caller]
pub(crate) fn sent(gateway: &Gateway, uuid: &str) -> Value {
    let what = format!("the broker has {uuid}");
    until(LONG, &what, || Some(status(gateway, "record", uuid)).filter(|status| status["sent"].is_string()))
}

/// Waits until a gateway can use everything.
#[track_caller]
pub(crate) fn ready(gateway: &Gateway) {
    until(LONG, "the gateway is ready", || (get(&format!("{}/readyz", gateway.url())).status == 200).then_some(()));
}
