//! What a worker tells everybody: of itself at once, of tasks in bundles.

use gateway_amqp::WorkerClient;
use gateway_celery::serve::{Teller, task_events, worker_event};
use serde_json::Value;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// Events that may wait; beyond, new ones are dropped: they are hints.
const WAITING: usize = 4096;
/// Events in one message.
const BUNDLE: usize = 64;

/// How long what is to be told is waited for at the end.
const FLUSH: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);

/// Milliseconds since 1970 (UTC).
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Seconds since 1970 (UTC).
pub(crate) fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Makes events.
pub(crate) struct Events {
    teller: Teller,
    clock: AtomicU64,
    /// Whether events of tasks are wanted.
    wanted: AtomicBool,
    sender: mpsc::Sender<Value>,
    receiver: Mutex<Option<mpsc::Receiver<Value>>>,
}

impl Events {
    pub(crate) fn new(node: &str) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let teller = Teller { hostname: node.to_owned(), pid: std::process::id() };
        let (clock, wanted) = (AtomicU64::new(0), AtomicBool::new(true));
        Self { teller, clock, wanted, sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// Sends bundles on, for ever. To be called once.
    pub(crate) fn pump(&self, client: WorkerClient) -> impl Future<Output = ()> + Send + use<> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let teller = self.teller.clone();
        async move {
            let Some(mut receiver) = receiver else { return };
            let mut bundle = Vec::new();
            while receiver.recv_many(&mut bundle, BUNDLE).await > 0 {
                client.tell(task_events(&teller, std::mem::take(&mut bundle)));
            }
        }
    }

    /// Waits until everything is sent on, a second at most.
    pub(crate) async fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        while self.sender.capacity() < self.sender.max_capacity() && Instant::now() < deadline {
            sleep(TICK).await;
        }
    }

    /// The logical clock, one further.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn clock(&self) -> u64 {
        self.clock.load(Relaxed)
    }

    /// Switches events of tasks on or off; gives what was before.
    pub(crate) fn want(&self, wanted: bool) -> bool {
        self.wanted.swap(wanted, Relaxed)
    }

    /// Something happened to a task.
    pub(crate) fn task(&self, kind: &str, id: &str, mut fields: Value) {
        if !self.wanted.load(Relaxed) {
            return;
        }
        fields["uuid"] = id.into();
        if self.sender.try_send(self.teller.event(kind, self.tick(), seconds(), fields)).is_err() {
            tracing::debug!("an event is dropped: they come faster than the broker takes them");
        }
    }

    /// Something about the worker itself.
    pub(crate) fn worker(&self, client: &WorkerClient, kind: &str, fields: Value) {
        client.tell(worker_event(&self.teller, &self.teller.event(kind, self.tick(), seconds(), fields)));
    }
}
