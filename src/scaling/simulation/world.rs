//! Queue and workers in virtual time, and the policy that is asked every `interval`.

use super::{Task, random::Random};
use crate::{Arrivals, Load, Policy, Rules, Steady, Times};
use std::collections::VecDeque;

/// How a queue scaler holds back before it takes workers away, in seconds (Kubernetes' default).
const PATIENT: f64 = 300.0;

/// What the policy is told, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The operator's.
    pub rules: Rules,
    /// Seconds between two looks.
    pub interval: f64,
    /// Tasks at once for each worker.
    pub slots: u32,
    /// For what is left to chance.
    pub seed: u64,
}

impl Setting {
    /// How long a worker that is not needed is kept: as long as one takes to start, and at least two looks.
    pub fn window(&self) -> f64 {
        self.rules.start_time.max(2.0 * self.interval)
    }
}

/// One moment, for the plot.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: f64,
    /// Workers, those that start included.
    pub workers: u32,
    /// Tasks that waited.
    pub waiting: u64,
    /// Slots' worth of work that came in this interval, each second.
    pub load: f64,
}

/// How it went.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The share of tasks that started within the target.
    pub in_time: f64,
    /// The longest wait.
    pub longest: f64,
    /// Worker-seconds, from the order to start to the end.
    pub worker_seconds: f64,
    /// How often an hour the number of workers wanted turned from up to down or back.
    pub turns: f64,
    /// Workers that were stopped while they worked; their tasks began again.
    pub killed: u32,
    /// The most workers at once.
    pub most: u32,
    /// Moment by moment.
    pub samples: Vec<Sample>,
}

struct Worker {
    since: f64,
    ready: f64,
    /// Task and end, for each slot at work.
    runs: Vec<(usize, f64)>,
    /// It takes nothing more.
    leaving: bool,
}

struct World<'a> {
    tasks: &'a [Task],
    setting: &'a Setting,
    /// Whoever picks the workers to be stopped looks at which are idle.
    looks: bool,
    workers: Vec<Worker>,
    queue: VecDeque<usize>,
    started: Vec<Option<f64>>,
    times: Times,
    random: Random,
    paid: f64,
    killed: u32,
    ended: usize,
}

/// Runs one policy against one load. Ours is carried out as our engines do it: idle workers are stopped, busy ones finish.
/// The others as they are elsewhere: whichever worker it hits.
pub fn run(policy: Policy, tasks: &[Task], setting: &Setting) -> Outcome {
    let looks = policy == Policy::Load;
    let window = match policy {
        Policy::Load => setting.window(),
        Policy::Backlog => PATIENT,
        Policy::Original => 0.0,
    };
    let first = Worker { since: 0.0, ready: 0.0, runs: Vec::new(), leaving: false };
    let mut world = World {
        tasks,
        setting,
        looks,
        workers: std::iter::repeat_with(|| Worker { runs: Vec::new(), ..first })
            .take(setting.rules.min_idle_workers as usize)
            .collect(),
        queue: VecDeque::new(),
        started: vec![None; tasks.len()],
        times: Times::default(),
        random: Random::new(setting.seed ^ 0x5ca1_ab1e),
        paid: 0.0,
        killed: 0,
        ended: 0,
    };
    let last = tasks.last().map_or(0.0, |task| task.arrival);
    let (mut arrivals, mut steady) = (Arrivals::default(), Steady::new(window));
    let (mut next, mut at, mut samples, mut wanted) = (0, 0.0, Vec::new(), Vec::new());
    // Long enough for everything to end; what does not is not in time.
    while world.ended < tasks.len() && at < last + 48.0 * 3600.0 {
        let before = next;
        while next < tasks.len() && tasks[next].arrival <= at {
            world.pass(tasks[next].arrival);
            world.queue.push_back(next);
            world.serve(tasks[next].arrival);
            next += 1;
        }
        world.pass(at);
        world.serve(at);
        arrivals.observe(at, next as u64);
        let load = world.load(at, &arrivals);
        let desired = steady.settle(at, policy.advise(&load, &setting.rules).desired, world.present());
        world.scale(at, desired);
        if at <= last {
            wanted.push(desired);
        }
        let work: f64 = tasks[before..next].iter().map(|task| task.service).sum();
        let waiting = world.queue.len() as u64;
        samples.push(Sample { at, workers: world.workers.len() as u32, waiting, load: work / setting.interval });
        at += setting.interval;
    }
    world.outcome(at, last, samples, &wanted)
}

impl World<'_> {
    /// Lets time pass until `to`: tasks end, and free slots take the next.
    fn pass(&mut self, to: f64) {
        loop {
            let ends = self.workers.iter().flat_map(|worker| worker.runs.iter().map(|(_, end)| *end));
            let ready = self.workers.iter().map(|worker| worker.ready).filter(|_| !self.queue.is_empty());
            let ready = ready.filter(|ready| *ready > to - self.setting.interval && *ready <= to);
            let Some(now) = ends.chain(ready).filter(|end| *end <= to).min_by(f64::total_cmp) else { return };
            let mut progress = false;
            for worker in &mut self.workers {
                let tasks = self.tasks;
                let (times, ended) = (&mut self.times, &mut self.ended);
                worker.runs.retain(|(task, end)| {
                    let over = *end <= now;
                    if over {
                        times.observe(tasks[*task].service);
                        *ended += 1;
                        progress = true;
                    }
                    !over
                });
            }
            self.leave(now);
            progress |= self.serve(now);
            if !progress {
                return;
            }
        }
    }

    /// Those that were told to go and have nothing left to do are gone.
    fn leave(&mut self, now: f64) {
        let paid = &mut self.paid;
        self.workers.retain(|worker| {
            let gone = worker.leaving && worker.runs.is_empty();
            if gone {
                *paid += now - worker.since;
            }
            !gone
        });
    }

    /// Free slots take what waits. `true`: one did.
    fn serve(&mut self, now: f64) -> bool {
        let slots = self.setting.slots.max(1) as usize;
        let mut taken = false;
        for worker in &mut self.workers {
            while worker.ready <= now && !worker.leaving && worker.runs.len() < slots {
                let Some(task) = self.queue.pop_front() else { return taken };
                self.started[task].get_or_insert(now);
                worker.runs.push((task, now + self.tasks[task].service));
                taken = true;
            }
        }
        taken
    }

    fn present(&self) -> u32 {
        self.workers.iter().filter(|worker| !worker.leaving).count() as u32
    }

    fn load(&self, at: f64, arrivals: &Arrivals) -> Load {
        let here = || self.workers.iter().filter(|worker| !worker.leaving);
        let waiting = self.queue.len() as u64;
        Load {
            waiting,
            ages: arrivals.ages(waiting),
            running: here().map(|worker| worker.runs.len() as u64).sum(),
            workers: here().filter(|worker| worker.ready <= at).count() as u32,
            booting: here().map(|worker| worker.ready - at).filter(|left| *left > 0.0).collect(),
            slots: self.setting.slots,
            arrival_rate: arrivals.rate(),
            service: self.times.service(),
        }
    }

    fn scale(&mut self, at: f64, desired: u32) {
        let present = self.present();
        for _ in present..desired {
            let ready = at + self.setting.rules.start_time;
            self.workers.push(Worker { since: at, ready, runs: Vec::new(), leaving: false });
        }
        for _ in desired..present {
            let staying: Vec<_> = (0..self.workers.len()).filter(|it| !self.workers[*it].leaving).collect();
            let idle = staying.iter().copied().filter(|it| self.workers[*it].runs.is_empty());
            let victim = if self.looks {
                // The one that is ready last: it may not even have started.
                idle.max_by(|one, other| self.workers[*one].ready.total_cmp(&self.workers[*other].ready))
            } else {
                Some(staying[self.random.below(staying.len())])
            };
            // Busy workers stay.
            let Some(victim) = victim else { break };
            let worker = &mut self.workers[victim];
            worker.leaving = true;
            self.killed += u32::from(!worker.runs.is_empty());
            for (task, _) in worker.runs.drain(..) {
                self.queue.push_front(task);
            }
        }
        self.leave(at);
    }

    fn outcome(mut self, at: f64, last: f64, samples: Vec<Sample>, wanted: &[u32]) -> Outcome {
        self.paid += self.workers.iter().map(|worker| at - worker.since).sum::<f64>();
        let waits = self.tasks.iter().zip(&self.started).map(|(task, started)| match started {
            Some(started) => started - task.arrival,
            None => f64::INFINITY,
        });
        let in_time = waits.clone().filter(|wait| *wait <= self.setting.rules.target_wait).count();
        let mut turns = 0_u32;
        let mut direction = std::cmp::Ordering::Equal;
        for pair in wanted.windows(2) {
            let step = pair[1].cmp(&pair[0]);
            if step.is_ne() {
                turns += u32::from(direction.is_ne() && step != direction);
                direction = step;
            }
        }
        Outcome {
            in_time: in_time as f64 / self.tasks.len().max(1) as f64,
            longest: waits.fold(0.0, f64::max),
            worker_seconds: self.paid,
            turns: f64::from(turns) / (last / 3600.0).max(1.0),
            killed: self.killed,
            most: samples.iter().map(|sample| sample.workers).max().unwrap_or(0),
            samples,
        }
    }
}
