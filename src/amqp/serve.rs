//! The worker's end: takes tasks, reports on them, hears commands.
//!
//! Three connections, as the gateway's [`Client`](crate::Client) has them and for the same reason: one publishes results,
//! one consumes tasks and commands, one tells events and answers. Each is dialled again for ever.
//!
//! A task is acknowledged by its [`TaskReceipt`], which its holder keeps until the result is confirmed: so a worker that
//! dies loses nothing. Tasks that are to wait go to queues of ours ([`WorkerClient::delay`]), not into memory.

mod delay;
mod incoming;
mod receiver;
mod speaker;
mod tasks;

pub use incoming::{IncomingTask, TaskReceipt};

use crate::link::supervise;
use crate::publication::{Fate, Job, Outcomes, Publication, Settled};
use crate::publisher::{Publisher, WINDOW};
use crate::settings::{Address, QueueSpec, Settings};
use crate::state::{Board, State};
use crate::topology::Queues;
use crate::window::LANES;
use bytes::Bytes;
use delay::Delays;
use gateway_celery::Message;
use receiver::Receiver;
use speaker::Speaker;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Results that may be without an outcome.
const PENDING: usize = LANES * WINDOW;
/// Events and answers that may wait to be sent; beyond, new ones are dropped: they are hints.
const SAYINGS: usize = 1024;
/// Commands that may wait for their reader; beyond, they wait with the broker.
const HEARD: usize = 64;

/// Everything a [`WorkerClient`] is told.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Where the broker is, and who we are.
    pub address: Address,
    /// The worker's name: `name@host`. No two workers may have the same.
    pub node: String,
    /// The queues that tasks come from. Declared as configured; one that differs is used as it is.
    pub queues: Vec<QueueSpec>,
    /// How long a result may stay without an answer until its fate is unknown (default 5 s).
    pub publish_timeout: Duration,
}

impl WorkerSettings {
    /// These, everything else at its default.
    pub fn new(address: Address, node: impl Into<String>, queues: Vec<QueueSpec>) -> Self {
        Self { address, node: node.into(), queues, publish_timeout: Duration::from_secs(5) }
    }
}

/// What comes from the broker. Whoever holds it must read it.
#[derive(Debug)]
pub struct WorkerInbox {
    /// Tasks: of each queue no more at once than [`WorkerClient::prefetch`] says.
    pub tasks: mpsc::Receiver<IncomingTask>,
    /// Commands and what neighbours answer, in the order in which they came.
    pub heard: mpsc::Receiver<Heard>,
}

/// What others say to a worker. Bodies as they came: nothing in them is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A command, or a question: see `gateway_celery::serve::Command`.
    Command(Bytes),
    /// What a neighbour knows, asked at each connect before the first task is taken: see
    /// `gateway_celery::serve::Neighbour`.
    Neighbour(Bytes),
}

/// A handle to a worker's connections. Cheap to clone; when the last one is dropped the connections are closed at once.
#[derive(Clone)]
pub struct WorkerClient(Arc<Inner>);

struct Inner {
    settings: Arc<WorkerSettings>,
    board: Board,
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    waiting: Arc<Waiting>,
    sayings: mpsc::Sender<Message>,
    prefetch: Vec<watch::Sender<u16>>,
    delays: Delays,
    stop: CancellationToken,
    finish: CancellationToken,
    until: watch::Sender<Instant>,
    publishing: TaskTracker,
    others: TaskTracker,
    _guards: [DropGuard; 2],
}

/// Who waits for the fate of which publication.
#[derive(Default)]
struct Waiting(Mutex<HashMap<Uuid, oneshot::Sender<Fate>>>);

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, oneshot::Sender<Fate>>> {
        // Whole even if a holder panicked: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerClient {
    /// Begins to connect, and keeps on for ever. No queue is consumed before [`WorkerClient::prefetch`] says so. Must be
    /// called in a tokio runtime with I/O and time, in which the supervisors then run.
    pub fn start(settings: WorkerSettings) -> (Self, WorkerInbox) {
        let settings = Arc::new(settings);
        let wire = Arc::new(wire_settings(&settings));
        let board = Board::new();
        let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
        let (until, deadline) = watch::channel(Instant::now());
        let (jobs, jobs_in) = mpsc::channel(PENDING);
        let (outcomes, outcomes_in) = mpsc::channel::<Settled>(PENDING);
        let (tasks, tasks_in) = mpsc::channel(settings.queues.len().max(1));
        let (heard, heard_in) = mpsc::channel(HEARD);
        let (sayings, sayings_in) = mpsc::channel(SAYINGS);
        let (prefetch, wanted) = settings.queues.iter().map(|_| watch::channel(0)).unzip();
        let (delays, delaying) = delay::delays();

        let places = (wire.clone(), Queues::new(wire.queues.clone()));
        let publisher = Publisher::new(places, board.clone(), jobs_in, outcomes, stop.clone(), deadline.clone());
        let receiver =
            Receiver { settings: settings.clone(), board: board.clone(), tasks, heard, wanted, finish: finish.clone() };
        let speaker = Speaker::new(board.clone(), sayings_in, delaying, finish.clone(), deadline);
        let (publishing, others) = (TaskTracker::new(), TaskTracker::new());
        publishing.spawn(supervise(wire.clone(), board.clone(), stop.clone(), publisher));
        let waiting = Arc::<Waiting>::default();
        publishing.spawn(hand_out(Outcomes(outcomes_in), waiting.clone()));
        others.spawn(supervise(wire.clone(), board.clone(), finish.clone(), receiver));
        others.spawn(supervise(wire, board.clone(), finish.clone(), speaker));
        publishing.close();
        others.close();

        let permits = Arc::new(Semaphore::new(PENDING));
        let _guards = [stop.clone().drop_guard(), finish.clone().drop_guard()];
        let inner = Inner {
            settings,
            board,
            jobs,
            permits,
            waiting,
            sayings,
            prefetch,
            delays,
            stop,
            finish,
            until,
            publishing,
            others,
            _guards,
        };
        (Self(Arc::new(inner)), WorkerInbox { tasks: tasks_in, heard: heard_in })
    }

    /// Publishes a message, mandatory, and waits for its fate: within the publish timeout, once there is room. If the
    /// future is dropped, the message may be sent all the same.
    pub async fn publish(&self, message: Message) -> Fate {
        let inner = &self.0;
        let unsent = |why: &str| Fate::Unsent(why.to_owned());
        if inner.stop.is_cancelled() {
            return unsent("the client is closed");
        }
        if let Err(why) = inner.board.publishing() {
            return Fate::Unsent(why);
        }
        let room = timeout(inner.settings.publish_timeout, inner.permits.clone().acquire_owned());
        let Ok(Ok(permit)) = room.await else { return unsent("too many messages without an outcome") };
        // Named anew each time: reports of one task may be under way together, and each has its own fate.
        let id = Uuid::now_v7();
        let (sender, fate) = oneshot::channel();
        inner.waiting.lock().insert(id, sender);
        let job = Job { publication: Publication { id, attempt: 1, message }, since: Instant::now(), permit };
        if inner.jobs.try_send(job).is_err() {
            inner.waiting.lock().remove(&id);
            return unsent("the client is closed");
        }
        fate.await.unwrap_or_else(|_| Fate::Unknown("the client was closed".to_owned()))
    }

    /// Publishes a message to one of the settings' queues, so that it arrives there after a while: `wait`, or the largest
    /// power of two seconds below it (at least one second, at most about an hour). Whoever takes it looks at its `eta`.
    ///
    /// Meanwhile it lies in the queue `<queue>.delayed.<seconds>`, which the broker removes when it is not used.
    pub async fn delay(&self, queue: usize, message: Message, wait: Duration) -> Fate {
        let Some(spec) = self.0.settings.queues.get(queue) else {
            return Fate::Refused("there is no such queue".to_owned());
        };
        match self.0.delays.prepare(spec, wait).await {
            Ok(delayed) => self.publish(Message { exchange: String::new(), routing_key: delayed, ..message }).await,
            Err(why) => Fate::Unsent(why),
        }
    }

    /// Sends an event or an answer, if there is a connection; nobody learns what became of it.
    pub fn tell(&self, message: Message) {
        if self.0.sayings.try_send(message).is_err() {
            tracing::debug!("an event or answer is dropped: the broker does not take them fast enough");
        }
    }

    /// How many tasks of a queue (its index in the settings) may be without a receipt at once; 0 takes no more.
    pub fn prefetch(&self, queue: usize, count: u16) {
        if let Some(wanted) = self.0.prefetch.get(queue) {
            wanted.send_if_modified(|known| std::mem::replace(known, count) != count);
        }
    }

    /// How the connections are doing, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.board.watch()
    }

    /// Closes for all clones: takes no more tasks, waits up to `grace` for what is still to be confirmed or told, then
    /// closes the connections. What has no receipt by then goes back to the broker.
    pub async fn close(&self, grace: Duration) {
        (0..self.0.prefetch.len()).for_each(|queue| self.prefetch(queue, 0));
        self.0.until.send_replace(Instant::now() + grace);
        self.0.stop.cancel();
        self.0.publishing.wait().await;
        self.0.finish.cancel();
        self.0.others.wait().await;
    }
}

impl std::fmt::Debug for WorkerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerClient").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// In the words of the publisher and the supervisor: no queue of results.
fn wire_settings(settings: &WorkerSettings) -> Settings {
    let publish_timeout = settings.publish_timeout;
    Settings { publish_timeout, ..Settings::new(settings.address.clone(), settings.node.clone(), "") }
}

async fn hand_out(mut outcomes: Outcomes, waiting: Arc<Waiting>) {
    while let Some(outcome) = outcomes.recv().await {
        if let Some(sender) = waiting.lock().remove(&outcome.id) {
            // Whoever asked may have given up.
            let _ = sender.send(outcome.fate);
        }
    }
}
