//! No server at all: tasks wait in the store and are run by programs that this process starts.
//!
//! A task is claimed (written: one attempt more, not due), run, and leaves the outbox with its end. A process that is
//! killed leaves claimed tasks behind; the next one finds them at start and runs or fails them as `on_lost` says.

mod disk;
mod ending;
mod healths;
mod services;
mod told;

use super::{Broker, Queued, Receipt, Reload};
use crate::{
    engine::{Mailbox, Stopped, now},
    plan::{Plan, ServicePlan},
    setup::StartError,
    store::{Orphan, Store, StoreError},
};
use arc_swap::ArcSwap;
use disk::Disk;
use gateway_contract::{BoxFuture, Part, TraceContext};
use gateway_life::{Cause, DUE_MOST, Fact, Millis, Publish, Raised, Task};
use gateway_worker::{DynHandler, Ending, Event, Job, Program, Runner, RunnerFault, RunnerSettings, recover};
use healths::Healths;
use serde_json::Value;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use told::{processing, report};
use uuid::Uuid;

/// How soon the store is asked again that could not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long guards may take to stop their programs: those of the last process, and ours at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The embedded broker.
pub struct Embedded {
    shared: Arc<Shared>,
}

/// By service, of every service that has, or had, a worker of ours.
type Alarms = HashMap<Arc<str>, Arc<Alarm>>;

/// When a task of one service becomes due next. Once it is, all that are due are claimed, and the store is asked for the
/// next one.
#[derive(Default)]
struct Alarm {
    next: Mutex<Option<Millis>>,
    told: Notify,
}

impl Alarm {
    fn next(&self) -> std::sync::MutexGuard<'_, Option<Millis>> {
        // Whole even if a holder panicked: one value.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Millis) {
        let mut next = self.next();
        *next = Some(next.map_or(at, |other| other.min(at)));
        self.told.notify_one();
    }

    /// Waits until something is due.
    async fn due(&self) {
        loop {
            let next = *self.next();
            // One that lies far ahead was set before the clock was set back.
            if next.is_some_and(|at| at <= now() || at > now() + DUE_MOST) {
                *self.next() = None;
                return;
            }
            tokio::select! {
                () = self.told.notified() => {}
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }
}

struct Shared {
    mailbox: Mailbox,
    plan: Arc<ArcSwap<Plan>>,
    store: Arc<dyn Store>,
    runner: ArcSwap<Runner>,
    settings: RunnerSettings,
    /// Runs the chains of the workflow service.
    chains: ArcSwap<DynHandler>,
    alarms: ArcSwap<Alarms>,
    /// The number of reloads: slots look whether they are still as many as configured.
    reloads: watch::Sender<u64>,
    runs: PathBuf,
    /// What runs, and how to stop it.
    running: Mutex<HashMap<Uuid, CancellationToken>>,
    healths: Healths,
    disk: Disk,
    closing: CancellationToken,
    tracker: TaskTracker,
}

impl Embedded {
    /// A broker whose runs have their directories in `runs`. Nothing runs before [`Broker::begin`].
    pub fn new(
        plan: Arc<ArcSwap<Plan>>,
        store: Arc<dyn Store>,
        mailbox: Mailbox,
        mut runner: RunnerSettings,
        chains: DynHandler,
    ) -> Result<Self, RunnerFault> {
        let closing = CancellationToken::new();
        runner.shutdown = closing.clone();
        let runs = runner.directory.clone();
        let settings = runner.clone();
        let runner = ArcSwap::from_pointee(Runner::new(runner)?);
        let shared = Shared {
            mailbox,
            plan,
            store,
            runner,
            settings,
            chains: ArcSwap::from_pointee(chains),
            alarms: ArcSwap::default(),
            reloads: watch::Sender::new(0),
            runs,
            running: Mutex::default(),
            healths: Healths::default(),
            disk: Disk::default(),
            closing,
            tracker: TaskTracker::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Broker for Embedded {
    /// Stops what a killed process left running, hands its tasks back, and starts the slots of every service that has
    /// a worker.
    fn begin(&self) -> BoxFuture<Result<(), StoreError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            if let Err(error) = recover(&shared.runs, PATIENCE).await {
                tracing::warn!(%error, "runs of the last process could not be looked for");
            }
            for orphan in shared.store.orphans().await? {
                if shared.hand_back(orphan).await.is_err() {
                    return Ok(());
                }
            }
            services::begin(&shared).await
        })
    }

    fn publish(&self, _: Publish) {
        // The store is the queue: the engine never asks for this.
    }

    fn due(&self, service: &Arc<str>, at: Millis) {
        if let Some(alarm) = self.shared.alarms.load().get(service) {
            alarm.set(at);
        }
    }

    fn revoke(&self, id: Uuid, _: &Arc<str>) {
        if let Some(running) = self.shared.running().get(&id) {
            running.cancel();
        }
    }

    fn queued(&self, service: &str) -> BoxFuture<Option<Queued>> {
        let workers = self.workers(service);
        Box::pin(async move { workers.await.map(|workers| Queued { messages: 0, workers, slots: 1, others: false }) })
    }

    fn workers(&self, service: &str) -> BoxFuture<Option<u32>> {
        let slots = self
            .shared
            .plan
            .load()
            .service(service)
            .and_then(|service| service.config.worker.as_ref())
            .map(|worker| worker.concurrency);
        Box::pin(async move { Some(slots.map_or(0, u32::from)) })
    }

    fn hopeless(&self, task: &Task) -> BoxFuture<Option<String>> {
        let served = self.shared.alarms.load().contains_key(&task.service);
        Box::pin(async move { (!served).then(|| "no worker is configured for its service".to_owned()) })
    }

    fn prepare(&self, reload: Reload) -> Result<BoxFuture<()>, StartError> {
        services::prepare(self.shared.clone(), reload)
    }

    fn parts(&self) -> Vec<Part> {
        let broker = Part { name: "broker", fault: None, essential: true };
        std::iter::once(broker).chain(self.shared.healths.part()).chain(self.shared.disk.part()).collect()
    }

    fn close(&self) -> BoxFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared.closing.cancel();
            shared.tracker.close();
            if timeout(PATIENCE, shared.tracker.wait()).await.is_err() {
                // Its guards stop its programs as soon as the process is gone.
                tracing::error!("what runs was not handed back in time; it is run again after a restart");
            }
        })
    }
}

impl Shared {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, CancellationToken>> {
        // The map is whole even if a holder panicked: nothing is done under the lock but insert, get and remove.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock may have been set back since an alarm was set: then it came too early, and no other would come.
    async fn rearm(&self, service: &Arc<str>, alarm: &Alarm) {
        match self.store.next_due(service).await {
            Ok(next) => next.into_iter().for_each(|at| alarm.set(at)),
            Err(error) => {
                tracing::warn!(%error, service = &**service, "what is due next is not known; it is looked for again");
                alarm.set(now() + AGAIN.as_millis() as Millis);
            }
        }
    }

    /// A task that was running when the last process ended.
    async fn hand_back(&self, orphan: Orphan) -> Result<(), Stopped> {
        let fact = ending::orphaned(self.plan.load().service(&orphan.service).map(|service| &**service), &orphan);
        self.mailbox.heard(orphan.id, fact, None).await
    }

    /// Tells the engine, and waits until it is durable: hours of work may hang on it.
    async fn tell(&self, id: Uuid, fact: Fact) -> Result<(), Stopped> {
        let (sender, written) = oneshot::channel();
        self.mailbox.heard(id, fact, Some(Receipt::Slot(sender))).await?;
        written.await.map_err(|_| Stopped)
    }
}

async fn sleep_until(at: Option<Millis>) {
    let wait = at.map_or(0, |at| at - now()).max(0);
    tokio::time::sleep(Duration::from_millis(wait as u64)).await;
}

/// Runs one task in one slot, and tells its end.
async fn work(
    shared: Arc<Shared>,
    service: Arc<ServicePlan>,
    task: Task,
    body: bytes::Bytes,
    _slot: OwnedSemaphorePermit,
) {
    let id = task.id;
    let cancel = CancellationToken::new();
    shared.running().insert(id, cancel.clone());
    let (events, mut progress) = mpsc::channel(16);
    let run = run(&shared, &service, &task, &body, events, cancel);
    let tell = async {
        let mut known = None;
        while let Some(event) = progress.recv().await {
            let fact = Fact::Heard(report(&service, event, &mut known));
            if shared.mailbox.heard(id, fact, None).await.is_err() {
                break;
            }
        }
    };
    let (ending, ()) = tokio::join!(run, tell);
    shared.running().remove(&id);
    let back = shared.healths.heard(&service.name(), &ending);
    let end = match ending {
        Ending::Unstarted { message } if back => {
            let why = Raised::new(Ending::SUBPROCESS, message);
            // It was never begun.
            Fact::Requeued { due: now(), why, cause: Cause::Stopped }
        }
        ending => ending::end_of(&service, &task, ending),
    };
    let status = match &end {
        Fact::Heard(report) => Some(report.state.name().to_owned()),
        _ => None, // it is run again
    };
    if shared.tell(id, end).await.is_err() {
        tracing::error!(uuid = %id, "the end of a task could not be kept; it is run again after a restart");
    } else if let (Some(status), Some(argument)) = (status, argument(&body)) {
        let trace = task.trace.as_deref().and_then(TraceContext::of_text);
        let runner = shared.runner.load_full();
        if service.program.is_none() {
            runner.forget(id);
        }
        shared.tracker.spawn(async move { runner.call_back(id, trace, &argument, &status).await });
    }
}

async fn run(
    shared: &Shared,
    service: &ServicePlan,
    task: &Task,
    body: &[u8],
    events: mpsc::Sender<Event>,
    cancel: CancellationToken,
) -> Ending {
    let Some(worker) = &service.config.worker else {
        return Ending::Failure { class: "NotRegistered".into(), message: "the service has no worker any more".into() };
    };
    let limit = limit(worker.timeout, task);
    let Some(argument) = argument(body) else {
        return Ending::Failure { class: "ValueError".into(), message: "the stored message cannot be read".into() };
    };
    let span = processing(service, task);
    let mut job = Job::new(task.id, &*service.layer.name, task.attempts, argument).versioned(&*service.config.version);
    (job.trace, job.last) = (span.context().cloned(), task.retries >= worker.retries);
    let runner = shared.runner.load_full();
    let ending = match &service.program {
        Some(program) => {
            let program = Program { timeout: limit, ..program.clone() };
            runner.run(job, &program, events, cancel).await
        }
        // The one service that has a worker and no program is the workflow service.
        None => runner.call(job, &shared.chains.load_full(), limit, events, cancel).await,
    };
    if let Some(why) = ending.fault() {
        span.fail(&why);
    }
    ending
}

/// How long a run may take: as configured, or by the task's own limit, where that is the shorter one.
fn limit(configured: Duration, task: &Task) -> Duration {
    let own = task.run_limit.and_then(|limit| u64::try_from(limit).ok()).map(Duration::from_millis);
    own.map_or(configured, |own| own.min(configured))
}

/// The one positional argument in a message's body: `[[argument], {}, {…}]`.
fn argument(body: &[u8]) -> Option<Value> {
    let (mut positional, _, _): (Vec<Value>, Value, Value) = serde_json::from_slice(body).ok()?;
    (positional.len() == 1).then(|| positional.pop()).flatten()
}
