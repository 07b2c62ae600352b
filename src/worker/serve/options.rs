//! What a worker is told.

use crate::{DynHandler, Ending, Event, Job, Program, Runner, RunnerFault, RunnerSettings};
use gateway_amqp::{Address, QueueSpec};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The longest name of a queue, in bytes: those in which its tasks wait have longer ones, and AMQP takes 255.
const LONGEST: usize = 240;

/// What becomes of a task whose worker died under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLost {
    /// It is run again.
    #[default]
    Retry,
    /// It fails: `WorkerLostError`. Every task that the broker delivers again counts as lost, since nobody can know
    /// whether it was begun.
    Fail,
}

/// What does a service's tasks.
#[derive(Debug, Clone)]
pub enum Work {
    /// A program.
    Program(Program),
    /// Rust code.
    Handler {
        /// Which.
        handler: DynHandler,
        /// How long a run may take.
        timeout: Duration,
    },
}

impl Work {
    /// How long a run may take.
    pub(crate) fn timeout(&self) -> Duration {
        match self {
            Self::Program(program) => program.timeout,
            Self::Handler { timeout, .. } => *timeout,
        }
    }

    /// Does a job, in at most `limit`.
    pub(crate) async fn run(
        &self,
        runner: &Runner,
        job: Job,
        limit: Duration,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) -> Ending {
        match self {
            Self::Program(program) => {
                let program = Program { timeout: limit, ..program.clone() };
                runner.run(job, &program, events, cancel).await
            }
            Self::Handler { handler, .. } => runner.call(job, handler, limit, events, cancel).await,
        }
    }
}

/// A service that a worker does.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, for logs and run directories.
    pub name: String,
    /// The queue that its tasks come from. Services may share one if they give it the same arguments.
    pub queue: QueueSpec,
    /// The application in the task's name, `<app>.<task>`.
    pub app: String,
    /// The task's name without the application; also the `type` that progress tells.
    pub task: String,
    /// The version that progress tells.
    pub version: String,
    /// How many tasks at once: 1 and up.
    pub concurrency: u16,
    /// How often a failure is tried again.
    pub retries: u32,
    /// What becomes of a task whose worker died under it.
    pub on_lost: OnLost,
    /// How many of its runs may be lost under a worker that lives on; the last one fails it. The broker counts how often
    /// a worker itself died, where its queue has a delivery limit.
    pub losses: u32,
    /// What does its tasks.
    pub work: Work,
}

impl Service {
    /// A service whose table, task and queue have the same name; one task at a time, the application `worker`, no
    /// version, no retries.
    pub fn new(name: impl Into<String>, work: Work) -> Self {
        let name = name.into();
        Self {
            queue: QueueSpec { name: name.clone(), kind: Default::default(), arguments: Vec::new() },
            app: "worker".to_owned(),
            task: name.clone(),
            name,
            version: String::new(),
            concurrency: 1,
            retries: 0,
            on_lost: OnLost::default(),
            losses: 10,
            work,
        }
    }

    /// As [`Service::new`], done by Rust code in at most an hour each.
    pub fn handled(name: impl Into<String>, handler: impl crate::Handler) -> Self {
        Self::new(name, Work::Handler { handler: DynHandler::new(handler), timeout: Duration::from_secs(3600) })
    }

    /// The task's name on the wire.
    pub(crate) fn full_task(&self) -> String {
        format!("{}.{}", self.app, self.task)
    }
}

/// Everything a worker is told.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The broker.
    pub address: Address,
    /// The first part of the worker's name, `<name>@<host>`. No two workers on a host may have the same.
    pub name: String,
    /// What it does.
    pub services: Vec<Service>,
    /// Where and how programs are run, and which URLs may be used. (Its `shutdown` is replaced by [`Stop`]'s.)
    pub runner: RunnerSettings,
    /// How long running tasks may go on when the worker is asked to stop (default 30 s).
    pub grace: Duration,
    /// How long the broker may take to confirm a result until it is sent again (default 5 s).
    pub publish_timeout: Duration,
}

impl WorkerOptions {
    /// These, everything else at its default; the name is made of the process's number.
    pub fn new(address: Address, services: Vec<Service>, runner: RunnerSettings) -> Self {
        let name = format!("service-gateway-{}", std::process::id());
        let (grace, publish_timeout) = (Duration::from_secs(30), Duration::from_secs(5));
        Self { address, name, services, runner, grace, publish_timeout }
    }

    pub(crate) fn check(&self) -> Result<(), WorkerFault> {
        if self.services.is_empty() {
            return Err(WorkerFault::Nothing);
        }
        for (at, service) in self.services.iter().enumerate() {
            let named = service.name.as_str();
            let twice = |other: &Service| other.full_task() == service.full_task();
            if self.services[..at].iter().any(twice) {
                return Err(WorkerFault::Service(named.to_owned(), "another service has the same task".to_owned()));
            }
            if service.queue.name.is_empty() || service.queue.name.len() > LONGEST {
                let why = format!("its queue's name is not 1 to {LONGEST} bytes long");
                return Err(WorkerFault::Service(named.to_owned(), why));
            }
            if service.concurrency == 0 {
                return Err(WorkerFault::Service(named.to_owned(), "concurrency is 0".to_owned()));
            }
            if let Work::Program(program) = &service.work
                && let Some(fault) = program.fault()
            {
                return Err(WorkerFault::Service(named.to_owned(), fault));
            }
        }
        Ok(())
    }

    /// Each queue once, in the order of the services.
    pub(crate) fn queues(&self) -> Vec<QueueSpec> {
        let mut queues: Vec<QueueSpec> = Vec::new();
        for service in &self.services {
            if queues.iter().all(|queue| queue.name != service.queue.name) {
                queues.push(service.queue.clone());
            }
        }
        queues
    }
}

/// Tells a worker to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Takes no new tasks, and ends when what runs has ended, or its grace is over.
    pub warm: CancellationToken,
    /// Stops what runs at once; its tasks go to other workers. Needs `warm`, too.
    pub cold: CancellationToken,
}

impl Stop {
    /// Warm the first time, cold the second.
    pub fn again(&self) {
        if self.warm.is_cancelled() {
            self.cold.cancel();
        }
        self.warm.cancel();
    }

    /// Cold at once.
    pub fn now(&self) {
        self.warm.cancel();
        self.cold.cancel();
    }
}

/// Why a worker does not begin.
#[derive(Debug, Error)]
pub enum WorkerFault {
    /// It has no services.
    #[error("a worker needs at least one service")]
    Nothing,
    /// A service cannot be done as it is told.
    #[error("the service {0}: {1}")]
    Service(String, String),
    /// There is no place for runs.
    #[error(transparent)]
    Runner(#[from] RunnerFault),
}
