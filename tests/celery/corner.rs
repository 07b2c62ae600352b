//! A gateway, its queue and its workers, for one test.

use crate::{
    celery::Worker,
    rabbit::Rabbit,
    support::{Answer, Gateway, get, is_end, status, submit, until},
};
use serde_json::Value;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// For what happens only after others' time limits and pauses.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// For `[broker]`: confirms are waited for longer than a busy machine lets them wait, so nothing is sent again for it.
pub(crate) const PATIENT: &str = "publish_timeout = \"60s\"\n";

/// The tasks of `celery_worker.py`, each a service of the same name, and one that no worker knows.
const SERVICES: [&str; 9] =
    ["echo", "add_progress", "fail", "retry", "sleep", "custom_state", "huge", "nan", "not_there"];

/// Dropped, workers end before their gateway.
pub(crate) struct Corner {
    pub(crate) broker: Rabbit,
    /// The tasks' queue.
    pub(crate) queue: String,
    /// The results' queue.
    pub(crate) replies: String,
    pub(crate) gateway: Gateway,
}

impl Corner {
    /// A gateway at the node of all, connected: its queues are there.
    pub(crate) fn new(name: &str) -> Self {
        let corner = Self::with(name, Rabbit::shared(), "");
        corner.connected();
        corner
    }

    /// A gateway at this node; `toml` is added to its configuration. Queues are the corner's own.
    pub(crate) fn with(name: &str, broker: Rabbit, toml: &str) -> Self {
        let url = broker.url().to_owned();
        Self::at(name, broker, &url, PATIENT, toml)
    }

    /// A gateway that reaches the node by this URL; `keys` are further ones of `[broker]`, `toml` as in `with`.
    pub(crate) fn at(name: &str, broker: Rabbit, url: &str, keys: &str, toml: &str) -> Self {
        let (queue, replies) = names(name);
        let gateway = Gateway::start(&configuration(url, &queue, &replies, keys, toml));
        Self { broker, queue, replies, gateway }
    }

    /// A worker on the tasks' queue, ready.
    pub(crate) fn worker(&self, arguments: &[&str]) -> Worker {
        Worker::start(&self.broker, &self.queue, self.gateway.directory(), arguments)
    }

    /// A file of this name in the gateway's directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.gateway.directory().join(name)
    }

    #[track_caller]
    pub(crate) fn submit(&self, service: &str, form: &[(&str, &str)]) -> String {
        submit(&self.gateway, service, form)
    }

    #[track_caller]
    pub(crate) fn status(&self, service: &str, uuid: &str) -> Value {
        status(&self.gateway, service, uuid)
    }

    /// Waits until the broker has confirmed the task.
    #[track_caller]
    pub(crate) fn sent(&self, service: &str, uuid: &str) {
        until(LONG, "the broker has the task", || self.status(service, uuid)["sent"].is_string().then_some(()));
    }

    /// Follows a task to its end, however long; gives its last status.
    #[track_caller]
    pub(crate) fn end(&self, service: &str, uuid: &str) -> Value {
        let what = format!("the end of {service} {uuid}");
        until(LONG, &what, || Some(self.status(service, uuid)).filter(is_end))
    }

    /// Waits for a state.
    #[track_caller]
    pub(crate) fn state(&self, service: &str, uuid: &str, state: &str) -> Value {
        let what = format!("{service} {uuid} is {state}");
        until(LONG, &what, || Some(self.status(service, uuid)).filter(|status| status["status"] == state))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.gateway.url()))
    }

    /// `/readyz`: its status, and what it says of its parts.
    pub(crate) fn ready(&self) -> (u16, Value) {
        let answer = self.get("/readyz");
        (answer.status, answer.json()["parts"].clone())
    }

    /// Waits until the gateway has noticed that it cannot send: before that it sends into a connection that is gone.
    pub(crate) fn cannot_publish(&self) {
        until(LONG, "its absence is told", || self.ready().1["broker"].as_str()?.contains("publish: ").then_some(()));
    }

    /// Waits until the broker can be used.
    pub(crate) fn connected(&self) {
        until(LONG, "the broker is back", || (self.ready().0 == 200).then_some(()));
    }
}

/// Names of queues that nobody else uses.
pub(crate) fn names(name: &str) -> (String, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let unique = format!("sg-test.{name}.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    (format!("{unique}.tasks"), format!("{unique}.replies"))
}

fn configuration(url: &str, queue: &str, replies: &str, keys: &str, toml: &str) -> String {
    let mut text = format!(
        "[broker]\nurl = \"{url}\"\nreply_queue = \"{replies}\"\n{keys}\
         [auth]\nmode = \"none\"\n\
         [documents]\nallow_hosts = [\"127.0.0.1\"]\nupload_url = \"http://127.0.0.1:9/add\"\n\
         [annotations]\npost_url = \"http://127.0.0.1:9/document/{{ann_doc_id}}/annotations\"\n"
    );
    for service in SERVICES {
        text += &format!("[services.{service}]\nqueue = \"{queue}\"\nrequires_document = false\n");
    }
    // "@QUEUE@" in the addition is the tasks' queue.
    text + &toml.replace("@QUEUE@", queue)
}

/// A gateway with one worker of two processes, for all tests that leave both as they were.
pub(crate) struct Common {
    /// Dropped first.
    _worker: Worker,
    pub(crate) corner: Corner,
}

impl std::ops::Deref for Common {
    type Target = Corner;

    fn deref(&self) -> &Corner {
        &self.corner
    }
}

/// Started by the first test that asks, ended by the last that has it.
pub(crate) fn common() -> Arc<Common> {
    static COMMON: Mutex<Weak<Common>> = Mutex::new(Weak::new());
    // Poisoned: it could not be started; whoever asks next tries again.
    let mut known = COMMON.lock().unwrap_or_else(PoisonError::into_inner);
    known.upgrade().unwrap_or_else(|| {
        let more = "[services.fail.errors]\nModelNotLoaded = 650\nHiddenError = 651\n\
                    [services.versioned]\ntask = \"add_progress\"\nqueue = \"@QUEUE@\"\nrequires_document = false\n\
                    version = \"9.9.9\"\n";
        let (broker, (queue, _)) = (Rabbit::shared(), names("common"));
        // The one gateway here that names its reply queue itself.
        let gateway = Gateway::start(&configuration(broker.url(), &queue, "", PATIENT, more));
        let line = until(LONG, "the reply queue is told", || {
            gateway.log().lines().find(|line| line.contains("consuming")).map(str::to_owned)
        });
        let replies = line.split('"').nth(1).unwrap_or_else(|| panic!("no queue: {line}")).to_owned();
        let corner = Corner { broker, queue, replies, gateway };
        let common = Arc::new(Common { _worker: corner.worker(&["--concurrency=2"]), corner });
        *known = Arc::downgrade(&common);
        common
    })
}
