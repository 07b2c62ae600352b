//! Who brings tasks to workers, as the engine sees it.
//!
//! Two implementations: [`embedded`], where the store itself is the queue and workers run in this process, and
//! [`amqp`], where RabbitMQ is the queue and Celery workers run anywhere. To add one, implement [`Broker`], tell the
//! engine what you hear through its [`Mailbox`], and choose it in [`start`].

pub mod amqp;
pub mod embedded;

use crate::{
    engine::{Cache, Mailbox},
    files::{ProgramFiles, Shelf},
    meters::Meters,
    plan::Plan,
    setup::StartError,
    store::{Store, StoreError},
    workflow,
};
use amqp::Amqp;
use arc_swap::ArcSwap;
use embedded::Embedded;
use gateway_config::{BrokerUrl, Config, StoreUrl};
use gateway_contract::{BoxFuture, Part};
use gateway_life::{Millis, Publish, Task};
use gateway_outside::{Client, Limits, Policy};
use gateway_worker::{GuardCommand, RunnerSettings};
use std::{path::PathBuf, sync::Arc, time::Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

/// Why a task that a worker has is given up.
pub const SILENT: &str = "no sign of life from a worker";

/// A broker. None of these may block: the engine's thread calls them.
pub trait Broker: Send + Sync + 'static {
    /// Takes up what the last process left. Called once, when the engine runs.
    fn begin(&self) -> BoxFuture<Result<(), StoreError>>;
    /// Publishes a message, and tells its fate through the mailbox: exactly once for each call.
    fn publish(&self, publish: Publish);
    /// A task of this service becomes due in the store at that time.
    fn due(&self, service: &Arc<str>, at: Millis);
    /// Tells the workers to drop or stop a task.
    fn revoke(&self, id: Uuid, service: &Arc<str>);
    /// A change was written that leaves this task ended: ended just now, replaced by a worker's own end, or forgotten.
    fn ended(&self, _: &Task) {}
    /// How many workers serve it; `None` when nobody can be asked.
    fn workers(&self, service: &str) -> BoxFuture<Option<u32>>;
    /// What waits there and who works; `None` when nobody can be asked.
    fn queued(&self, service: &str) -> BoxFuture<Option<Queued>>;
    /// Why nothing can be hoped for, for a task that gave no sign of life for too long and that no worker is known to work
    /// on. `None`: it waits its turn in a queue that exists, or it was sent to one and nobody can be asked.
    fn hopeless(&self, task: &Task) -> BoxFuture<Option<String>>;
    /// Makes ready for another configuration whose plan is in use by the time the future is awaited: queues are declared,
    /// slots started, before it resolves if that is possible. Must be called, and awaited, where a tokio runtime is.
    fn prepare(&self, reload: Reload) -> Result<BoxFuture<()>, StartError>;
    /// Resolves when it was reached, or the first try has failed.
    fn tried(&self) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }
    /// What works and what does not.
    fn parts(&self) -> Vec<Part>;
    /// Stops taking and running tasks; what runs is handed back to the store.
    fn close(&self) -> BoxFuture<()>;
}

/// What a broker knows of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Messages that wait, those in the store's outbox not included.
    pub messages: u64,
    /// Workers.
    pub workers: u32,
    /// Tasks that each of them runs at once.
    pub slots: u32,
    /// Others start workers: those that were asked for may be on their way.
    pub others: bool,
}

/// What a reload brings.
#[derive(Debug, Clone)]
pub struct Reload {
    /// The checked configuration.
    pub config: Config,
    /// Which documents may be fetched.
    pub policy: Policy,
    /// Where the steps of a workflow may be submitted.
    pub steps: Policy,
}

/// Told when what was heard is durable. Dropped, it will never be written by this process: unacknowledged messages come
/// back when that ends, and a slot's task is run again.
#[derive(Debug)]
pub enum Receipt {
    /// A message from RabbitMQ: acknowledged once its fact is written.
    Delivery(Box<Delivered>),
    /// A state that is kept where it was read, and its share of what may be on its way into the store.
    Kept(OwnedSemaphorePermit),
    /// A slot of the embedded broker.
    Slot(oneshot::Sender<()>),
}

/// A message to be acknowledged, and since when it is here.
#[derive(Debug)]
pub struct Delivered {
    receipt: gateway_amqp::Receipt,
    meters: Meters,
    since: Instant,
}

impl Receipt {
    fn delivery(receipt: gateway_amqp::Receipt, meters: &Meters) -> Self {
        Self::Delivery(Box::new(Delivered { receipt, meters: meters.clone(), since: Instant::now() }))
    }

    /// It is durable.
    pub fn written(self) {
        match self {
            Receipt::Delivery(delivered) => {
                delivered.receipt.ack();
                delivered.meters.settled(delivered.since.elapsed());
            }
            Receipt::Kept(share) => drop(share),
            // The slot may have ended with the process.
            Receipt::Slot(sender) => drop(sender.send(())),
        }
    }
}

/// What a broker is made of.
pub struct StartBroker {
    /// The checked configuration.
    pub config: Config,
    /// The services.
    pub plan: Arc<ArcSwap<Plan>>,
    /// Which documents may be fetched.
    pub policy: Policy,
    /// Where a workflow's steps may be submitted.
    pub steps: Policy,
    /// How to start the guard of a program.
    pub guard: GuardCommand,
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// What was committed lately.
    pub cache: Arc<Cache>,
    /// The engine.
    pub mailbox: Mailbox,
    /// Temporary files.
    pub shelf: Shelf,
    /// What is counted.
    pub meters: Meters,
}

/// Makes the broker that `broker.url` names, on the current runtime. It is idle until [`Broker::begin`].
pub fn start(start: StartBroker) -> Result<Arc<dyn Broker>, StartError> {
    match start.config.broker.url.clone() {
        BrokerUrl::Embedded => {
            let StartBroker { config, plan, policy, steps, guard, store, mailbox, shelf, .. } = start;
            let runs = runs(&config.store.url, &*store);
            let workers = |error: &dyn std::fmt::Display| StartError::Workers(error.to_string());
            let client = Client::new(policy, Limits::default()).map_err(|error| workers(&error))?;
            let mut settings = RunnerSettings::new(runs, guard, client);
            settings.files = Some(Arc::new(ProgramFiles::new(&config, shelf)));
            let chains = workflow::handler(steps).map_err(|error| workers(&error))?;
            Ok(Arc::new(Embedded::new(plan, store, mailbox, settings, chains).map_err(|error| workers(&error))?))
        }
        BrokerUrl::Amqp(url) => Ok(Arc::new(Amqp::new(start, url.expose())?)),
    }
}

/// Beside the store's file, because the runs in it belong to the tasks in the store.
fn runs(store: &StoreUrl, opened: &dyn Store) -> PathBuf {
    match store {
        StoreUrl::Sqlite(file) => {
            let mut runs = file.as_os_str().to_owned();
            runs.push(".runs");
            runs.into()
        }
        _ => std::env::temp_dir().join(format!("service-gateway-{}.runs", opened.installation())),
    }
}
