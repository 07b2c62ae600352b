//! The face of it all.

use crate::bindings::Bindings;
use crate::consumer::{self, Delivery, Receiver};
use crate::control::{Control, ControlError, QueueState, control};
use crate::dead::{self, DeadLetter};
use crate::link::supervise;
use crate::publication::{Declined, Job, Outcomes, Publication, Reason};
use crate::publisher::{Publisher, WINDOW};
use crate::settings::{QueueSpec, Settings};
use crate::state::{Board, State};
use crate::topology::Queues;
use crate::window::LANES;
use gateway_celery::{Event, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How many publications may be without a read outcome: both windows twice, so that the wire never waits for us.
pub const MAX_PENDING: usize = 2 * LANES * WINDOW;

/// What comes from the broker. Whoever holds it must read it: a full `deliveries` stops the flow of results.
#[derive(Debug)]
pub struct Inbox {
    /// What became of publications: at most [`MAX_PENDING`] wait here.
    pub outcomes: Outcomes,
    /// Results, in the queue's order; at most `prefetch` wait here.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Messages on which the broker gave up; a few of each queue wait here.
    pub dead_letters: mpsc::Receiver<DeadLetter>,
    /// What workers tell. Bounded, and dropped when nobody reads: hints, no facts.
    pub events: mpsc::Receiver<Event>,
}

/// A handle to the supervised connections. Cheap to clone; when the last one is dropped the connections are closed at once.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    queues: Queues,
    board: Board,
    jobs: mpsc::Sender<Job>,
    permits: Arc<Semaphore>,
    bindings: Bindings,
    control: Control,
    stop: CancellationToken,
    finish: CancellationToken,
    until: watch::Sender<Instant>,
    publishing: TaskTracker,
    others: TaskTracker,
    _guards: [DropGuard; 2],
}

impl Client {
    /// Begins to connect, and keeps on for ever; see [`Client::state`]. Must be called in a tokio runtime with I/O and
    /// time, in which the supervisors then run.
    pub fn start(settings: Settings) -> (Self, Inbox) {
        let settings = Arc::new(settings);
        let board = Board::new();
        let (stop, finish) = (CancellationToken::new(), CancellationToken::new());
        let (until, deadline) = watch::channel(Instant::now());
        let (jobs, jobs_in) = mpsc::channel(MAX_PENDING);
        let (outcomes, outcomes_in) = mpsc::channel(MAX_PENDING);
        let (deliveries, deliveries_in) = mpsc::channel(usize::from(settings.prefetch.max(1)));
        let (dead_letters, dead_letters_in) = mpsc::channel(usize::from(dead::PREFETCH));
        let (events, events_in) = mpsc::channel(consumer::EVENTS);
        let (control, keeper) = control(board.clone(), finish.clone());
        let (publishing, others) = (TaskTracker::new(), TaskTracker::new());

        let queues = Queues::new(settings.queues.clone());
        let places = (settings.clone(), queues.clone());
        let publisher = Publisher::new(places, board.clone(), jobs_in, outcomes, stop.clone(), deadline.clone());
        // While there is no connection to close gracefully, `stop` ends the publisher at once; in one, it drains.
        publishing.spawn(supervise(settings.clone(), board.clone(), stop.clone(), publisher));
        let receiver = Receiver {
            settings: settings.clone(),
            board: board.clone(),
            deliveries,
            dead_letters,
            events,
            stop: stop.clone(),
            finish: finish.clone(),
            until: deadline,
        };
        others.spawn(supervise(settings.clone(), board.clone(), stop.clone(), receiver));
        others.spawn(supervise(settings.clone(), board.clone(), finish.clone(), keeper));
        publishing.close();
        others.close();

        let inner = Inner {
            bindings: Bindings::new(settings.clone(), board.clone(), control.slot()),
            settings,
            queues,
            board,
            jobs,
            permits: Arc::new(Semaphore::new(MAX_PENDING)),
            control,
            _guards: [stop.clone().drop_guard(), finish.clone().drop_guard()],
            stop,
            finish,
            until,
            publishing,
            others,
        };
        let inbox = Inbox {
            outcomes: Outcomes(outcomes_in),
            deliveries: deliveries_in,
            dead_letters: dead_letters_in,
            events: events_in,
        };
        (Self(Arc::new(inner)), inbox)
    }

    /// Accepts a publication, waiting for room for up to `publish_timeout`. Sent persistent as the message says, always
    /// mandatory; its outcome comes to [`Inbox::outcomes`]. May be dropped while it waits: then nothing was accepted.
    ///
    /// # Errors
    /// [`Declined`], with the publication: without a connection at once, since what waits here would be lost with the
    /// process; whoever has it written down sends it later.
    pub async fn publish(&self, publication: Publication) -> Result<(), Declined> {
        if let Err(reason) = self.open() {
            return Err(decline(publication, reason));
        }
        let room = self.0.permits.clone().acquire_owned();
        match timeout(self.0.settings.publish_timeout, room).await {
            Ok(Ok(permit)) => self.hand_over(publication, permit),
            Ok(Err(_)) => Err(decline(publication, Reason::Closed)),
            Err(_) => Err(decline(publication, Reason::Busy)),
        }
    }

    fn open(&self) -> Result<(), Reason> {
        if self.0.stop.is_cancelled() {
            return Err(Reason::Closed);
        }
        self.0.board.publishing().map_err(Reason::NotConnected)
    }

    fn hand_over(&self, publication: Publication, permit: OwnedSemaphorePermit) -> Result<(), Declined> {
        // The queue has room for every permit: it can only be closed.
        let job = Job { publication, since: Instant::now(), permit };
        self.0.jobs.try_send(job).map_err(|refused| decline(refused.into_inner().publication, Reason::Closed))
    }

    /// Sends a command to all workers (`gateway_celery::command`): to the message's exchange, which is declared as Celery
    /// declares it (fanout, not durable). `Ok` means that the broker has passed it on to the workers that listen now.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most.
    pub async fn broadcast(&self, message: &Message) -> Result<(), ControlError> {
        self.0.control.send(message, true).await
    }

    /// Answers a question of a worker's (`gateway_celery::Hello`), to the exchange that it named.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most.
    pub async fn answer(&self, message: &Message) -> Result<(), ControlError> {
        self.0.control.send(message, false).await
    }

    /// Asks about a queue without changing it.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most.
    pub async fn queue(&self, name: &str) -> Result<QueueState, ControlError> {
        self.0.control.queue(name).await
    }

    /// Declares a service's queue now, and at each connect from now on; in the place of one of the same name. A queue
    /// that exists with other arguments is told in [`Client::state`], and used as it is.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most: then it will be declared at the next connect.
    pub async fn declare(&self, queue: QueueSpec) -> Result<(), ControlError> {
        self.0.queues.put(queue.clone());
        self.0.control.declare(&queue, &self.0.board).await
    }

    /// Binds the reply queue to an exchange of workers' results under a key, for good; the exchange is declared as Celery
    /// declares it (direct, durable). `Ok` means that what is sent there from now on comes to us. Up to 64 at once share a
    /// channel.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most: then the binding may or may not be there.
    pub async fn bind(&self, exchange: &str, key: &str) -> Result<(), ControlError> {
        self.0.bindings.bind(exchange, key).await
    }

    /// Undoes [`Client::bind`], and deletes the queue that workers made under the key, unless somebody reads it. What is
    /// not there (any more) is no error.
    ///
    /// # Errors
    /// [`ControlError`], after 10 s at most; `Refused` if somebody reads that queue.
    pub async fn release(&self, exchange: &str, key: &str) -> Result<(), ControlError> {
        self.0.bindings.release(exchange, key).await
    }

    /// How the connections are doing, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.board.watch()
    }

    /// Closes for all clones: accepts nothing more, takes no more deliveries, waits up to `grace` for the confirms still
    /// out, then closes the connections (a few seconds more at most). Receipts are taken until then. Every accepted
    /// publication has had its outcome afterwards.
    pub async fn close(&self, grace: Duration) {
        self.0.until.send_replace(Instant::now() + grace);
        self.0.stop.cancel();
        self.0.publishing.wait().await;
        self.0.finish.cancel();
        self.0.others.wait().await;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

fn decline(publication: Publication, reason: Reason) -> Declined {
    Declined { publication: Box::new(publication), reason }
}
