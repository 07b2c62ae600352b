//! From what is observed to how many workers there should be.

use crate::{Service, erlang::Work};
use std::fmt;

/// The share of tasks that may wait longer than the target.
const LATE: f64 = 0.05;
/// The backlog is planned to be gone after this share of the target: service times are no clockwork.
const AIM: f64 = 0.95;

/// The largest squared coefficient of variation that is believed.
const WILDEST: f64 = 4.0;

/// What is known of a service at this moment. Times in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// Tasks that wait.
    pub waiting: u64,
    /// How long they have waited, the oldest first: (at most so long, so many). May be empty: then they came just now.
    pub ages: Vec<(f64, u64)>,
    /// Tasks that workers have.
    pub running: u64,
    /// Workers that are there.
    pub workers: u32,
    /// In how many seconds each worker that starts now is expected to be ready.
    pub booting: Vec<f64>,
    /// Tasks that one worker runs at once.
    pub slots: u32,
    /// Arrivals a second.
    pub arrival_rate: Option<f64>,
    /// How long tasks take.
    pub service: Option<Service>,
}

impl Load {
    fn slots(&self) -> u32 {
        self.slots.max(1)
    }

    /// What the slots are up against; `None` where rate or times are unknown.
    pub fn work(&self) -> Option<Work> {
        let (rate, service) = (self.arrival_rate?, self.service?);
        // A few hundred tasks do not tell a larger variation from an outlier.
        let variation = service.variation.min(WILDEST);
        Some(Work { load: rate * service.mean, service: service.mean, variation })
    }

    /// Workers that the running tasks take: never fewer.
    pub fn busy(&self) -> u32 {
        workers(self.running as f64, self.slots())
            .min(self.workers.max(1))
            .min(self.running.try_into().unwrap_or(u32::MAX))
    }

    /// Slots that are free now.
    pub fn idle_slots(&self) -> u64 {
        (u64::from(self.workers) * u64::from(self.slots())).saturating_sub(self.running)
    }

    /// The share of the slots that is at work; `None` without slots.
    pub fn utilisation(&self) -> Option<f64> {
        let slots = f64::from(self.workers) * f64::from(self.slots());
        (slots > 0.0).then(|| (self.running as f64 / slots).min(1.0))
    }

    /// How long it takes until nothing waits, with the workers there are; `None` if that never comes or is unknown.
    pub fn drain_time(&self) -> Option<f64> {
        if self.waiting == 0 {
            return Some(0.0);
        }
        let (slots, service) = (f64::from(self.workers) * f64::from(self.slots()), self.service?);
        let spare = slots / service.mean - self.arrival_rate.unwrap_or(0.0);
        (spare > 0.0).then(|| self.waiting as f64 / spare)
    }

    /// How long a task that comes now will wait: behind the backlog, or for the next free slot; `None` if unknown.
    pub fn predicted_wait(&self) -> Option<f64> {
        if self.waiting < self.idle_slots() {
            return Some(0.0);
        }
        let (slots, service) = (self.workers.checked_mul(self.slots())?, self.service?);
        (slots > 0).then(|| {
            let behind = self.waiting.saturating_sub(self.idle_slots()) + 1;
            behind as f64 * service.mean / f64::from(slots)
        })
    }
}

/// What the operator allows and wants. Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How long a task may wait.
    pub target_wait: f64,
    /// How long a new worker takes to be ready.
    pub start_time: f64,
    /// The most workers.
    pub max_workers: u32,
    /// The fewest when there is nothing to do.
    pub min_idle_workers: u32,
    /// Workers for each waiting task.
    pub spawn_ratio: f64,
    /// Waiting tasks that make a backlog.
    pub backlog_threshold: u32,
}

/// How the need is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// By load and deadline: Erlang's formula for what arrives, the target for what waits.
    Load,
    /// So many workers for each task in the system, as queue scalers have it.
    Backlog,
    /// The original gateway's: more workers at a backlog, down to the idle ones when nothing waits.
    Original,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Load, Self::Backlog, Self::Original];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Backlog => "backlog",
            Self::Original => "original",
        }
    }

    /// How many workers there should be, by this moment alone.
    pub fn advise(self, load: &Load, rules: &Rules) -> Advice {
        let (desired, reason) = match self {
            Self::Load => by_load(load, rules),
            Self::Backlog => by_ratio((load.waiting + load.running) as f64, rules),
            Self::Original => original(load, rules),
        };
        let least = load.busy().max(rules.min_idle_workers);
        let (desired, reason) = if desired >= least {
            (desired, reason)
        } else if load.busy() >= rules.min_idle_workers {
            (least, Reason::Busy(load.running))
        } else {
            (least, Reason::Floor)
        };
        let most = rules.max_workers.max(load.busy());
        if desired > most {
            return Advice { desired: most, reason: Reason::Most(rules.max_workers, desired) };
        }
        Advice { desired, reason }
    }
}

/// How many workers, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// How many there should be.
    pub desired: u32,
    /// Why.
    pub reason: Reason,
}

/// Why so many: one sentence when shown.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the sentences below say what each number is
pub enum Reason {
    Floor,
    Busy(u64),
    Rate { per_minute: f64, service: f64, load: f64, late: f64, target: f64 },
    Backlog { waiting: u64, within: f64, service: f64 },
    Overdue { waiting: u64, oldest: f64, target: f64 },
    Ratio { tasks: f64, ratio: f64 },
    Unmeasured { waiting: u64, ratio: f64 },
    Hold(u32),
    Quiet(u32),
    Most(u32, u32),
    Shared { total: u32, wanted: u32 },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor => f.write_str("nothing calls for more than the workers that are kept for the next task"),
            Self::Busy(running) => write!(f, "{running} tasks run, and no busy worker is taken away"),
            Self::Rate { per_minute, service, load, late, target } => write!(
                f,
                "{per_minute:.2} tasks a minute of {service:.1} s keep {load:.2} slots busy, and with these {:.1} % wait \
                 longer than {target:.0} s",
                late * 100.0
            ),
            Self::Backlog { waiting, within, service } => {
                write!(f, "{waiting} tasks of {service:.1} s wait, and the last is to start within {within:.0} s")
            }
            Self::Overdue { waiting, oldest, target } => write!(
                f,
                "{waiting} tasks wait, the oldest for {oldest:.0} s where {target:.0} s are the target: as soon as can be"
            ),
            Self::Ratio { tasks, ratio } => write!(f, "{tasks:.0} tasks at {ratio} workers each"),
            Self::Unmeasured { waiting, ratio } => write!(
                f,
                "it is not known yet how long tasks take (do the workers tell when they begin?): {waiting} wait, at \
                 {ratio} workers each"
            ),
            Self::Hold(threshold) => write!(f, "no more than {threshold} tasks wait: the workers stay as they are"),
            Self::Quiet(idle) => write!(f, "nothing waits: busy workers and {idle} idle ones stay"),
            Self::Most(most, wanted) => write!(f, "{wanted} would be needed, and {most} is the most allowed"),
            Self::Shared { total, wanted } => {
                write!(f, "{wanted} would be needed, and all services share {total} workers")
            }
        }
    }
}

/// Workers for so many slots.
fn workers(slots: f64, each: u32) -> u32 {
    (slots / f64::from(each.max(1))).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

fn by_ratio(tasks: f64, rules: &Rules) -> (u32, Reason) {
    (workers(tasks * rules.spawn_ratio, 1), Reason::Ratio { tasks, ratio: rules.spawn_ratio })
}

fn original(load: &Load, rules: &Rules) -> (u32, Reason) {
    let there = load.workers + load.booting.len() as u32;
    if load.waiting > u64::from(rules.backlog_threshold) {
        let (more, reason) = by_ratio(load.waiting as f64, rules);
        return (there.max(load.busy().saturating_add(more)), reason);
    }
    if load.waiting == 0 {
        let least = load.busy().saturating_add(rules.min_idle_workers);
        return (there.min(least).max(rules.min_idle_workers), Reason::Quiet(rules.min_idle_workers));
    }
    (there, Reason::Hold(rules.backlog_threshold))
}

fn by_load(load: &Load, rules: &Rules) -> (u32, Reason) {
    let Some(service) = load.service else {
        let (some, _) = by_ratio(load.waiting as f64, rules);
        let least = u32::from(load.waiting > 0);
        let reason = Reason::Unmeasured { waiting: load.waiting, ratio: rules.spawn_ratio };
        return (load.busy().saturating_add(some).max(least), reason);
    };
    let (arriving, why) = for_arrivals(load, rules);
    let (drain, because) = for_backlog(load, rules, service);
    // What waits has to be started, whatever the estimates say.
    let drain = drain.max(u32::from(load.waiting > 0));
    if drain > arriving { (drain, because) } else { (arriving, why) }
}

/// Enough slots for what arrives.
fn for_arrivals(load: &Load, rules: &Rules) -> (u32, Reason) {
    let Some(work) = load.work() else { return (0, Reason::Floor) };
    let most = rules.max_workers.saturating_mul(load.slots()).saturating_add(load.slots());
    let slots = work.slots(rules.target_wait, LATE, most);
    let wanted = workers(f64::from(slots), load.slots());
    let reason = Reason::Rate {
        per_minute: load.arrival_rate.unwrap_or_default() * 60.0,
        service: work.service,
        load: work.load,
        late: work.late(wanted.saturating_mul(load.slots()), rules.target_wait),
        target: rules.target_wait,
    };
    (wanted, reason)
}

/// Enough workers to start all that waits in time.
fn for_backlog(load: &Load, rules: &Rules, service: Service) -> (u32, Reason) {
    let slots = f64::from(load.slots());
    let mean = service.mean;
    // Tasks that a slot starts within `time`: a busy one as often as it becomes free, a free one at once and then so.
    let busy = |time: f64| (time / mean).max(0.0);
    let free = |time: f64| if time > 0.0 { (time / mean + 0.5).max(1.0) } else { 0.0 };
    let there = |time: f64| {
        let idle = load.idle_slots() as f64;
        let now = load.running as f64 * busy(time) + idle * free(time);
        now + load.booting.iter().map(|ready| slots * free(time - ready)).sum::<f64>()
    };
    let present = f64::from(load.workers) + load.booting.len() as f64;
    // What a new worker can do nothing about is still wanted soon after it is ready.
    let slack = (rules.target_wait / 4.0).max(mean.min(rules.target_wait) / 2.0);
    let soonest = rules.start_time + slack;
    let oldest = load.ages.first().map_or(0.0, |(age, _)| *age);
    let all_now = [(0.0, load.waiting)];
    let groups: &[(f64, u64)] = if load.ages.is_empty() { &all_now } else { &load.ages };
    // What new ones must begin, and which part of the present ones is needed if they will do.
    let (mut need, mut share, mut before) = ((0.0_f64, 0.0), 0.0_f64, 0_u64);
    for (age, number) in groups {
        before += number;
        let left = (rules.target_wait * AIM - age).max(soonest);
        let lacking = before as f64 - there(left);
        share = share.max(before as f64 / there(left));
        if lacking > 0.0 {
            let more = lacking / (slots * free(left - rules.start_time)).max(f64::MIN_POSITIVE);
            if more > need.0 {
                need = (more, left);
            }
        }
    }
    let (more, within) = need;
    if more <= 0.0 {
        let reason = Reason::Backlog { waiting: load.waiting, within: rules.target_wait, service: mean };
        return ((present * share).ceil() as u32, reason);
    }
    let wanted = (present + more).ceil().min(f64::from(u32::MAX)) as u32;
    let reason = if oldest > rules.target_wait {
        Reason::Overdue { waiting: load.waiting, oldest, target: rules.target_wait }
    } else {
        Reason::Backlog { waiting: load.waiting, within, service: mean }
    };
    (wanted, reason)
}

#[cfg(test)]
mod tests;
