//! What is counted beside requests: tasks, messages, commits; and what is looked up now and then.
//!
//! Counting takes no lock but that of a map of services, which nobody else holds for longer than a look. Services come
//! from the configuration, states and fates are enums: labels are bounded.

mod histogram;
mod look;
mod process;

pub use look::keep_looking;

use gateway_contract::Part;
use gateway_life::{Millis, State, Task, Written};
use gateway_metrics::{Family, Labels, Points};
use histogram::Histogram;
use look::Looked;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// From a moment to a day.
const TASK_TIMES: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0];
/// From what memory takes to what nobody waits for. As OpenTelemetry advises for messaging, with finer ones below.
const SHORT_TIMES: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const GROUPS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

/// Terminal states, as the label `state`; anything else that a worker may call an end is `other`.
const ENDS: [&str; 5] = ["SUCCESS", "FAILURE", "REVOKED", "EXPIRED", "other"];

/// What became of a publication, as the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// Confirmed.
    Sent,
    /// No queue takes it.
    Unroutable,
    /// The broker refuses it for ever.
    Refused,
    /// Nobody knows.
    Unknown,
    /// It never left us.
    Unsent,
}

impl Landed {
    const ALL: [(Landed, &str); 5] = [
        (Landed::Sent, "sent"),
        (Landed::Unroutable, "unroutable"),
        (Landed::Refused, "refused"),
        (Landed::Unknown, "unknown"),
        (Landed::Unsent, "unsent"),
    ];
}

/// One service's numbers.
#[derive(Debug)]
struct OfService {
    accepted: AtomicU64,
    ended: [AtomicU64; ENDS.len()],
    presumed: AtomicU64,
    retries: AtomicU64,
    republished: AtomicU64,
    wait: Histogram,
    run: Histogram,
}

impl Default for OfService {
    fn default() -> Self {
        Self {
            accepted: AtomicU64::default(),
            ended: Default::default(),
            presumed: AtomicU64::default(),
            retries: AtomicU64::default(),
            republished: AtomicU64::default(),
            wait: Histogram::new(TASK_TIMES),
            run: Histogram::new(TASK_TIMES),
        }
    }
}

#[derive(Debug)]
struct Table {
    services: Mutex<BTreeMap<Arc<str>, Arc<OfService>>>,
    published: [Histogram; Landed::ALL.len()],
    settled: Histogram,
    commits: Histogram,
    groups: Histogram,
    commit_faults: AtomicU64,
    strays: AtomicU64,
    outbox: AtomicU64,
    looked: Mutex<Looked>,
}

/// The numbers. Clones count into the same table.
#[derive(Debug, Clone)]
pub struct Meters(Arc<Table>);

impl Meters {
    /// Nothing counted yet, for these services and whichever may come.
    pub fn new(services: impl IntoIterator<Item = Arc<str>>) -> Self {
        let services = services.into_iter().map(|name| (name, Arc::default())).collect();
        Self(Arc::new(Table {
            services: Mutex::new(services),
            published: std::array::from_fn(|_| Histogram::new(SHORT_TIMES)),
            settled: Histogram::new(SHORT_TIMES),
            commits: Histogram::new(SHORT_TIMES),
            groups: Histogram::new(GROUPS),
            commit_faults: AtomicU64::default(),
            strays: AtomicU64::default(),
            outbox: AtomicU64::default(),
            looked: Mutex::default(),
        }))
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<OfService>>> {
        // Whole even if a holder panicked: each change is one insert.
        self.0.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, service: &Arc<str>) -> Arc<OfService> {
        let mut services = self.services();
        match services.get(service) {
            Some(known) => known.clone(),
            None => services.entry(service.clone()).or_default().clone(),
        }
    }

    /// A batch was committed, in so long.
    pub fn committed(&self, written: &[Written], took: Duration) {
        self.0.commits.record(took.as_secs_f64());
        self.0.groups.record(written.len() as f64);
        for written in written {
            match written {
                Written::Accepted(task) => drop(self.of(&task.service).accepted.fetch_add(1, Relaxed)),
                Written::Applied(task, change) => {
                    if change.started {
                        let wait = seconds(task.submitted, task.started);
                        self.of(&task.service).wait.record(wait);
                    }
                    if change.ended {
                        self.ended(task);
                    } else if change.changed && task.state == State::Retry {
                        self.of(&task.service).retries.fetch_add(1, Relaxed);
                    }
                }
                _ => {}
            }
        }
    }

    fn ended(&self, task: &Task) {
        let service = self.of(&task.service);
        let name = task.state.name();
        let at = ENDS.iter().position(|end| *end == name).unwrap_or(ENDS.len() - 1);
        service.ended[at].fetch_add(1, Relaxed);
        if task.presumed {
            service.presumed.fetch_add(1, Relaxed);
        }
        if let Some(started) = task.started {
            service.run.record(seconds(started, task.ended));
        }
    }

    /// A batch was not committed.
    pub fn not_committed(&self) {
        self.0.commit_faults.fetch_add(1, Relaxed);
    }

    /// Something was heard of a task that nobody knows.
    pub fn stray(&self) {
        self.0.strays.fetch_add(1, Relaxed);
    }

    /// So many accepted tasks are not known to be with the broker.
    pub fn outbox(&self, messages: usize) {
        self.0.outbox.store(messages as u64, Relaxed);
    }

    /// A message is published once more.
    pub fn published_again(&self, service: &Arc<str>) {
        self.of(service).republished.fetch_add(1, Relaxed);
    }

    /// What became of a publication, and how long that took.
    pub fn landed(&self, fate: Landed, took: Duration) {
        self.0.published[fate as usize].record(took.as_secs_f64());
    }

    /// A result was acknowledged so long after it came.
    pub fn settled(&self, took: Duration) {
        self.0.settled.record(took.as_secs_f64());
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.0.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, with what works and what does not.
    pub fn families(&self, parts: &[Part], at: Millis) -> Vec<Family> {
        let mut families = self.of_tasks();
        families.extend(self.of_messages());
        families.extend(self.of_store());
        families.extend(self.looked().families(at));
        families.push(Family {
            name: "service_gateway.part.up",
            unit: "1",
            help: "Does this part of the gateway work (1) or not (0)? As /readyz says.",
            points: Points::Gauge(
                parts.iter().map(|p| (vec![("part", p.name.into())], f64::from(u8::from(p.fault.is_none())))).collect(),
            ),
        });
        families.extend(process::families());
        families
    }

    fn of_tasks(&self) -> Vec<Family> {
        let services: Vec<_> = self.services().iter().map(|(name, of)| (name.clone(), of.clone())).collect();
        let counter = |name, help, number: fn(&OfService) -> &AtomicU64| Family {
            name,
            unit: "{task}",
            help,
            points: Points::Counter(
                services.iter().map(|(name, of)| (service(name), number(of).load(Relaxed) as f64)).collect(),
            ),
        };
        let times = |name, help, histogram: fn(&OfService) -> &Histogram| Family {
            name,
            unit: "s",
            help,
            points: Points::Histogram(
                services.iter().map(|(name, of)| (service(name), histogram(of).distribution())).collect(),
            ),
        };
        let ends = services.iter().flat_map(|(name, of)| {
            let of_state = |(at, state): (usize, &&'static str)| {
                let mut labels = service(name);
                labels.push(("state", (*state).into()));
                (labels, of.ended[at].load(Relaxed) as f64)
            };
            ENDS.iter().enumerate().map(of_state).collect::<Vec<_>>()
        });
        vec![
            counter("service_gateway.tasks.accepted", "Tasks that were accepted by this process.", |of| &of.accepted),
            Family {
                name: "service_gateway.tasks.ended",
                unit: "{task}",
                help: "Ends that this process wrote down, presumed ones included.",
                points: Points::Counter(ends.collect()),
            },
            counter(
                "service_gateway.tasks.presumed_ended",
                "Ends that no worker told: time limits, dead letters, silence.",
                |of| &of.presumed,
            ),
            counter("service_gateway.task.retries", "Runs that failed or were lost and are tried again.", |of| {
                &of.retries
            }),
            counter(
                "service_gateway.messages.republished",
                "Messages published more than once because nobody knew what became of the first.",
                |of| &of.republished,
            ),
            times("service_gateway.task.wait.duration", "From acceptance to the first sign of a run.", |of| &of.wait),
            times("service_gateway.task.run.duration", "From the first sign of a run to the end.", |of| &of.run),
        ]
    }

    fn of_messages(&self) -> Vec<Family> {
        let labels = |operation: &'static str, outcome: &'static str| -> Labels {
            let system = "rabbitmq".into();
            let operation = operation.into();
            vec![("messaging.system", system), ("messaging.operation.name", operation), ("outcome", outcome.into())]
        };
        let published = Landed::ALL.iter().zip(&self.0.published);
        let mut points: Vec<_> =
            published.map(|((_, outcome), histogram)| (labels("publish", outcome), histogram.distribution())).collect();
        points.push((labels("settle", "written"), self.0.settled.distribution()));
        vec![
            Family {
                name: "messaging.client.operation.duration",
                unit: "s",
                help: "publish: until the broker's confirm; settle: from a result's arrival to its acknowledgement.",
                points: Points::Histogram(points),
            },
            Family::count(
                "service_gateway.results.stray",
                "{message}",
                "Results of tasks that nobody knows.",
                self.0.strays.load(Relaxed),
            ),
            Family::gauge(
                "service_gateway.outbox.messages",
                "{message}",
                "Accepted tasks that the broker is not known to have.",
                self.0.outbox.load(Relaxed) as f64,
            ),
        ]
    }

    fn of_store(&self) -> Vec<Family> {
        let histogram = |name, unit, help, histogram: &Histogram| Family {
            name,
            unit,
            help,
            points: Points::Histogram(vec![(Labels::new(), histogram.distribution())]),
        };
        let Table { commits, groups, commit_faults, .. } = &*self.0;
        vec![
            histogram("service_gateway.store.commit.duration", "s", "How long a durable commit takes.", commits),
            histogram("service_gateway.store.commit.writes", "{write}", "Writes that share one commit.", groups),
            Family::count(
                "service_gateway.store.commit.faults",
                "{commit}",
                "Commits that failed.",
                commit_faults.load(Relaxed),
            ),
        ]
    }
}

fn service(name: &Arc<str>) -> Labels {
    vec![("service", (**name).into())]
}

fn seconds(from: Millis, to: Option<Millis>) -> f64 {
    to.map_or(0.0, |to| (to - from).max(0) as f64 / 1000.0)
}
