//! What everything that a worker does has in common: its services, its connections, its table; reporting and putting back.

use super::{
    OnLost, Service, Stop, Work, WorkerOptions, copies,
    events::{Events, now},
    table::{Held, Stage, Table},
};
use crate::{Health, Runner, Verdict};
use gateway_amqp::{Fate, Kind, QueueSpec, WorkerClient};
use gateway_celery::{
    Message,
    serve::{Request, iso, raised, reply},
};
use serde_json::{json, value::RawValue};
use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    select,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The wait before something is published again; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long, once everything is to stop at once, results are still tried to be published.
const LAST_TRIES: Duration = Duration::from_secs(5);
/// RabbitMQ's default `consumer_timeout`: it closes the channel of whoever holds a task for longer.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A service, and its free slots.
pub(crate) struct Served {
    pub(crate) service: Service,
    /// Its task's name on the wire.
    pub(crate) task: String,
    pub(crate) slots: Arc<Semaphore>,
}

/// A queue, and how many tasks of it may be here.
struct Queue {
    spec: QueueSpec,
    capacity: u16,
    health: Mutex<Health>,
}

impl Queue {
    fn health(&self) -> MutexGuard<'_, Health> {
        // Plain numbers: there is nothing that a panic could leave half done.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a message that had to be published.
pub(crate) enum Handed {
    /// The broker has it, or nobody wants it any more.
    Over,
    /// It can never be published as it is.
    Refused(String),
    /// The worker stops, and the broker does not take it.
    Not,
}

pub(crate) struct Desk {
    pub(crate) client: WorkerClient,
    pub(crate) runner: Runner,
    pub(crate) table: Table,
    pub(crate) events: Events,
    pub(crate) node: String,
    pub(crate) stop: Stop,
    /// Everything that is attended to.
    pub(crate) tracker: TaskTracker,
    pub(crate) since: Instant,
    services: HashMap<String, Arc<Served>>,
    queues: Vec<Queue>,
    disk: Disk,
}

/// Documents need room.
struct Disk {
    /// Below so many free bytes nothing new is taken; `None` where no service fetches documents.
    least: Option<u64>,
    low: AtomicBool,
}

impl Desk {
    pub(crate) fn new(
        options: &WorkerOptions,
        queues: Vec<QueueSpec>,
        node: String,
        client: WorkerClient,
        runner: Runner,
        stop: Stop,
    ) -> Self {
        let capacity = |queue: &QueueSpec| {
            let its = options.services.iter().filter(|service| service.queue.name == queue.name);
            its.map(|service| service.concurrency).fold(0, u16::saturating_add)
        };
        let queues = queues.into_iter().map(|spec| Queue { capacity: capacity(&spec), spec, health: Mutex::default() });
        let services = options.services.iter().map(|service| {
            warn_of_long_tasks(service);
            let slots = Arc::new(Semaphore::new(service.concurrency.into()));
            let served = Served { service: service.clone(), task: service.full_task(), slots };
            (served.task.clone(), Arc::new(served))
        });
        let spaces = options.services.iter().filter_map(|service| match &service.work {
            Work::Program(program) => program.least_space(),
            Work::Handler { .. } => None,
        });
        let least = spaces.max();
        Self {
            client,
            runner,
            table: Table::default(),
            events: Events::new(&node),
            node,
            stop,
            tracker: TaskTracker::new(),
            since: Instant::now(),
            services: services.collect(),
            queues: queues.collect(),
            disk: Disk { least, low: AtomicBool::new(false) },
        }
    }

    /// The service with that task, by its name on the wire.
    pub(crate) fn service(&self, task: &str) -> Option<&Arc<Served>> {
        self.services.get(task)
    }

    /// The names of all tasks, sorted.
    pub(crate) fn tasks(&self) -> Vec<&str> {
        let mut tasks: Vec<_> = self.services.keys().map(String::as_str).collect();
        tasks.sort_unstable();
        tasks
    }

    /// Each queue, and how many of its tasks run at once.
    pub(crate) fn queues(&self) -> impl Iterator<Item = (&QueueSpec, u16)> {
        self.queues.iter().map(|queue| (&queue.spec, queue.capacity))
    }

    /// The queues that are left alone: each with the reason, and how long until one of its tasks is tried.
    pub(crate) fn left_alone(&self) -> Vec<(&str, String, Duration)> {
        let left = self.queues.iter().filter_map(|queue| {
            let health = queue.health();
            Some((&*queue.spec.name, health.fault()?.to_owned(), health.wait()))
        });
        left.collect()
    }

    /// Takes as many tasks as may be taken now.
    pub(crate) fn set_prefetch(&self) {
        let closed = self.stop.warm.is_cancelled() || self.disk.low.load(Relaxed);
        for (index, queue) in self.queues.iter().enumerate() {
            let room = match closed {
                true => 0,
                false => queue.health().room(queue.capacity, || self.running(queue)),
            };
            self.client.prefetch(index, room);
        }
    }

    /// How many tasks of a queue run here.
    fn running(&self, queue: &Queue) -> u16 {
        let its = |task: &str| self.service(task).is_some_and(|served| served.service.queue.name == queue.spec.name);
        let running = self.table.at(Stage::Active).iter().filter(|shown| its(&shown.task)).count();
        u16::try_from(running).unwrap_or(u16::MAX)
    }

    /// What is to be looked at as time passes: the disk, and queues that were left alone.
    pub(crate) fn look_after(&self) {
        if let (Some(least), Ok(free)) = (self.disk.least, self.runner.free_space()) {
            let low = free < least;
            if self.disk.low.swap(low, Relaxed) != low {
                match low {
                    true => tracing::warn!(free, least, "too little disk space for documents: no new tasks are taken"),
                    false => tracing::info!(free, "there is disk space again"),
                }
            }
        }
        for queue in &self.queues {
            if queue.health().look() {
                tracing::info!(queue = queue.spec.name, "trying one task");
            }
        }
        self.set_prefetch();
    }

    /// A command could not be started.
    pub(crate) fn unstarted(&self, queue: usize, why: &str) -> Verdict {
        let Some(queue) = self.queues.get(queue) else { return Verdict::Fails };
        let (verdict, wait) = {
            let mut health = queue.health();
            (health.unstarted(why), health.wait())
        };
        if verdict != Verdict::Fails {
            let queue = queue.spec.name.as_str();
            tracing::error!(queue, why, next = ?wait, "the service cannot be done here: its queue is left alone");
            self.set_prefetch();
        }
        verdict
    }

    /// A command was started.
    pub(crate) fn started(&self, queue: usize) {
        if let Some(queue) = self.queues.get(queue)
            && queue.health().started()
        {
            tracing::info!(queue = queue.spec.name, "the service can be done again");
            self.set_prefetch();
        }
    }

    /// Reports once: a state on the way, which is no loss if the broker is away.
    pub(crate) async fn report(&self, request: &Request, state: &str, result: &RawValue) {
        if let Some(message) = reply(request, state, result, None) {
            match self.client.publish(message).await {
                Fate::Sent => {}
                fate => tracing::debug!(uuid = request.id, state, ?fate, "a state was not reported"),
            }
        }
    }

    /// Reports an end until the broker has it. An end that is too large becomes a failure that says so.
    pub(crate) async fn report_end(&self, request: &Request, state: &str, result: &RawValue) -> bool {
        let date_done = iso(now());
        let Some(message) = reply(request, state, result, Some(&date_done)) else { return true };
        let why = match self.hand_over(message).await {
            Handed::Over => return true,
            Handed::Not => return false,
            Handed::Refused(why) => format!("the result cannot be sent: {why}"),
        };
        tracing::warn!(uuid = request.id, why);
        let failure = reply(request, "FAILURE", &raised("ValueError", &why), Some(&date_done));
        let Some(failure) = failure else { return true };
        matches!(self.hand_over(failure).await, Handed::Over | Handed::Refused(_))
    }

    /// Publishes until the broker has it.
    pub(crate) async fn hand_over(&self, message: Message) -> Handed {
        self.until_taken(message, None).await
    }

    /// Puts a task where it waits until `due` (milliseconds since 1970), until the broker has it.
    pub(crate) async fn delay(&self, queue: usize, message: Message, due: i64) -> Handed {
        self.until_taken(message, Some((queue, due))).await
    }

    async fn until_taken(&self, message: Message, round: Option<(usize, i64)>) -> Handed {
        let mut pause = FIRST_PAUSE;
        let mut stopped: Option<Instant> = None;
        loop {
            let fate = match round {
                None => self.client.publish(message.clone()).await,
                Some((queue, due)) => self.send_round(queue, message.clone(), due).await,
            };
            let why = match fate {
                Fate::Sent => return Handed::Over,
                Fate::Refused(why) => return Handed::Refused(why),
                Fate::Unroutable(why) if round.is_none() => {
                    tracing::warn!(why, "nobody takes a result: the queue of its sender is gone");
                    return Handed::Over;
                }
                // A queue for waiting tasks that vanished meanwhile is made again.
                Fate::Unroutable(why) | Fate::Unknown(why) | Fate::Unsent(why) => why,
            };
            tracing::info!(why, ?pause, "the broker did not take a message: sent again");
            if self.stop.cold.is_cancelled() && stopped.get_or_insert_with(Instant::now).elapsed() >= LAST_TRIES {
                return Handed::Not;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One that is due meanwhile goes straight to its queue.
    async fn send_round(&self, queue: usize, message: Message, due: i64) -> Fate {
        let wait = Duration::from_millis(u64::try_from(due - now()).unwrap_or(0));
        match self.queues.get(queue) {
            Some(queue) if wait.is_zero() => {
                let routing_key = queue.spec.name.clone();
                self.client.publish(Message { routing_key, ..message }).await
            }
            _ => self.client.delay(queue, message, wait).await,
        }
    }

    /// Nothing is left to do for a task: the broker may forget it.
    pub(crate) async fn settle(&self, held: &Held) {
        self.table.stage(held, Stage::Done);
        self.acknowledge(held).await;
    }

    /// Gives all receipts of a task back; it may be delivered once more while we speak. If the broker may not have heard
    /// the last, it may come once more after that, too.
    pub(crate) async fn acknowledge(&self, held: &Held) {
        let mut heard = true;
        while let Some(receipt) = self.table.receipt(held) {
            heard = receipt.ack().await;
        }
        if !heard {
            self.table.deal_with(held);
        }
    }

    /// The task was not done: it goes to another worker, or comes again to us. Where one that comes again counts against
    /// it, it goes as a fresh copy.
    pub(crate) async fn put_back(&self, held: &Held, queue: usize, request: &Request, message: &Message) {
        if self.is_counted(queue, request) {
            // Before the copy can come.
            self.table.stage(held, Stage::Leaving);
            if self.send_copy(queue, request, message).await {
                return self.acknowledge(held).await;
            }
        }
        while let Some(receipt) = self.table.receipt(held) {
            receipt.requeue().await;
        }
    }

    /// Does it count how often the task was delivered? As lost, or towards the limit of a quorum queue, which drops it.
    fn is_counted(&self, queue: usize, request: &Request) -> bool {
        let fails = self.service(&request.task).is_some_and(|served| served.service.on_lost == OnLost::Fail);
        fails || self.queues.get(queue).is_some_and(|queue| queue.spec.kind == Kind::Quorum)
    }

    /// Publishes a copy of the task as it is; `true` if the broker has it.
    async fn send_copy(&self, queue: usize, request: &Request, message: &Message) -> bool {
        let Some(queue) = self.queues.get(queue) else { return false };
        let Ok(copy) = copies::copy(message, request.retries, copies::losses(message), request.eta) else {
            return false;
        };
        let routing_key = queue.spec.name.clone();
        matches!(self.client.publish(Message { routing_key, ..copy }).await, Fate::Sent)
    }

    /// Tells everybody about this worker.
    pub(crate) fn tell_self(&self, kind: &str) {
        let fields = json!({
            "freq": super::HEARTBEAT.as_secs_f64(), "active": self.table.active(), "processed": self.table.processed(),
            "loadavg": load(), "sw_ident": "service-gateway", "sw_ver": env!("CARGO_PKG_VERSION"), "sw_sys": "Linux",
        });
        self.events.worker(&self.client, kind, fields);
    }

    /// Waits for a while, or until `cancel` is, or the worker stops.
    pub(crate) async fn pause(&self, wait: Duration, cancel: &CancellationToken) {
        select! {
            () = sleep(wait) => {}
            () = cancel.cancelled() => {}
            () = self.stop.warm.cancelled() => {}
        }
    }
}

/// The load of this machine over 1, 5 and 15 minutes.
fn load() -> [f64; 3] {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split(' ').map(|number| number.parse().unwrap_or(0.0));
    [(); 3].map(|()| numbers.next().unwrap_or(0.0))
}

fn warn_of_long_tasks(service: &Service) {
    let timeout = service.work.timeout();
    if timeout >= CONSUMER_TIMEOUT {
        tracing::warn!(
            service = service.name,
            ?timeout,
            "a task may run for longer than RabbitMQ lets a worker hold one by default: unless consumer_timeout is \
             longer than that in its configuration, it gives such a task to another worker after 30 minutes"
        );
    }
}
