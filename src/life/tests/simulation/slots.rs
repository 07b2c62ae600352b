//! The embedded broker, as `src/broker/embedded.rs` works: slots claim what is due, run it, and tell its end.

use crate::{
    gateway::{Asker, From},
    scenario::{Fault, Plant, SERVICES},
    store::is_due,
    words::short,
    workers::{Step, outcome, script, terminated},
    world::{Event, World, service},
};
use gateway_life::{Answer, Cause, Fact, Input, Millis, Raised, Report, Run, Source, State, Task};
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// The slots of one service.
#[derive(Debug, Default)]
struct Lane {
    /// When something becomes due next.
    alarm: Option<Millis>,
    /// There may be more: claim without waiting for an alarm.
    look: bool,
    claiming: bool,
    busy: usize,
}

#[derive(Debug)]
struct Job {
    service: usize,
    attempt: u32,
    steps: VecDeque<Step>,
    pace: (Millis, Millis),
    run: Run,
    cancelled: bool,
    /// The end that is told until it is durable.
    ending: bool,
}

#[derive(Debug)]
pub(crate) struct Slots {
    lanes: [Lane; 2],
    jobs: BTreeMap<Uuid, Job>,
}

const CONCURRENCY: usize = 2;
const RETRIES: u32 = 2;
const TELL_AGAIN: Millis = 1_000;

impl Slots {
    pub(crate) fn new() -> Self {
        Self { lanes: Default::default(), jobs: BTreeMap::new() }
    }
}

impl World {
    /// What a killed process left running.
    pub(crate) fn hand_back_orphans(&mut self) {
        if self.scenario.plant == Some(Plant::OrphansLeft) {
            return;
        }
        let orphans: Vec<_> =
            self.store.outbox.iter().filter(|(_, row)| row.due.is_none()).map(|(id, _)| *id).collect();
        for id in orphans {
            self.count("orphan handed back");
            let lost = self.lost();
            self.hear(id, lost, None);
        }
    }

    /// `on_lost`: half of the installations retry, half fail.
    fn lost(&self) -> Fact {
        let why = Raised::new("WorkerLostError", "the gateway stopped while the task ran");
        match self.scenario.seed.is_multiple_of(2) {
            true => Fact::Requeued { due: self.now(), why, cause: Cause::Lost },
            false => failure(why),
        }
    }

    pub(crate) fn open_slots(&mut self) {
        let due: Vec<_> = self.store.outbox.values().filter_map(|row| Some((row.service.clone(), row.due?))).collect();
        for (service, at) in due {
            self.due(crate::world::number(&service), at);
        }
    }

    fn lane(&mut self, service: usize) -> Option<&mut Lane> {
        self.gateway.as_mut().map(|gateway| &mut gateway.slots.lanes[service])
    }

    pub(crate) fn due(&mut self, service: usize, at: Millis) {
        if let Some(lane) = self.lane(service) {
            lane.alarm = Some(lane.alarm.map_or(at, |other| other.min(at)));
        }
        self.alarm(service);
    }

    /// Claims if a slot is free and something may be due; else waits for the next alarm.
    pub(crate) fn alarm(&mut self, service_number: usize) {
        let (now, life) = (self.now(), self.life);
        let Some(lane) = self.lane(service_number) else { return };
        if lane.claiming || lane.busy >= CONCURRENCY {
            return;
        }
        if !lane.look {
            let Some(next) = lane.alarm else { return };
            if !is_due(next, now) {
                return self.after(next - now, Event::Alarm(life, service_number));
            }
            lane.alarm = None;
        }
        (lane.claiming, lane.look) = (true, true);
        self.tell(Input::Claim(Asker::Slot(service_number), service(service_number)));
    }

    pub(crate) fn claim_answered(&mut self, service: usize, answer: Answer) {
        let life = self.life;
        let Some(lane) = self.lane(service) else { return };
        match answer {
            Answer::Claimed(task, _) => {
                lane.claiming = false;
                lane.busy += 1;
                self.begin(service, &task);
            }
            Answer::NothingDue => {
                (lane.claiming, lane.look) = (false, false);
                return self.rearm(service);
            }
            _ => return self.after(TELL_AGAIN, Event::ClaimAgain(life, service)),
        }
        self.alarm(service);
    }

    /// The clock may have been set back since an alarm was set: it came too early then, and no other would come.
    fn rearm(&mut self, service: usize) {
        let mine = |row: &&crate::store::Row| crate::world::number(&row.service) == service;
        let next = self.store.outbox.values().filter(mine).filter_map(|row| row.due).min();
        match next.filter(|_| self.scenario.plant != Some(Plant::AlarmOnce)) {
            Some(at) => self.due(service, at),
            None => self.alarm(service),
        }
    }

    pub(crate) fn claim_again(&mut self, service: usize) {
        if let Some(lane) = self.lane(service) {
            lane.claiming = false;
        }
        self.alarm(service);
    }

    fn begin(&mut self, service: usize, task: &Task) {
        let (mut steps, pace) = script(self, task.id, false);
        steps.push_front(Step::Started);
        let start = self.broker.next_number();
        let run = Run { host: SERVICES[service].into(), start: start.to_string().into() };
        self.note(|| format!("a slot runs {} attempt {}", short(task.id), task.attempts));
        self.begins(task.id, true);
        self.begins_alone(task);
        let job = Job { service, attempt: task.attempts, steps, pace, run, cancelled: false, ending: false };
        if let Some(gateway) = &mut self.gateway {
            gateway.slots.jobs.insert(task.id, job);
        }
        let life = self.life;
        self.soon(1, 20, Event::Slot(life, task.id));
    }

    /// The next thing that a running program does.
    pub(crate) fn slot(&mut self, id: Uuid) {
        let died = self.hit(Fault::WorkerCrash, 40);
        let lost = self.lost();
        let life = self.life;
        let now = self.now();
        let Some(job) = self.gateway.as_mut().and_then(|gateway| gateway.slots.jobs.get_mut(&id)) else { return };
        if job.ending {
            return;
        }
        let (low, high) = job.pace;
        let step = if job.cancelled { None } else { job.steps.pop_front() };
        let fact = match step {
            _ if died => lost,
            Some(Step::Started) => Fact::Heard(Report::new(State::Started, Source::Slot)),
            Some(Step::Progress(done)) => {
                let (run, current) = (Some(job.run.clone()), Some(f64::from(done)));
                let result = Some(format!("{{\"current\":{done}}}").into());
                Fact::Heard(Report { run, current, result, ..Report::new(State::Progress, Source::Slot) })
            }
            Some(Step::End(State::Failure)) if job.attempt <= RETRIES => {
                let why = Raised::new("ValueError", "it failed");
                Fact::Requeued { due: now + 1_000, why, cause: Cause::Failed }
            }
            Some(Step::End(state)) => {
                let result = Some(outcome(&state, &job.run));
                Fact::Heard(Report { result, ..Report::new(state, Source::Slot) })
            }
            Some(Step::Ack) | None => {
                Fact::Heard(Report { result: Some(terminated()), ..Report::new(State::Revoked, Source::Slot) })
            }
        };
        let goes_on = matches!(&fact, Fact::Heard(report) if !report.state.is_end());
        if goes_on {
            self.hear(id, fact, None);
            return self.soon(low, high, Event::Slot(life, id));
        }
        job.ending = true;
        self.check.running.remove(&id);
        self.hear(id, fact, Some(From::Slot));
    }

    /// What a slot told last is durable.
    pub(crate) fn slot_is_told(&mut self, id: Uuid) {
        let Some(job) = self.gateway.as_mut().and_then(|gateway| gateway.slots.jobs.remove(&id)) else { return };
        if let Some(lane) = self.lane(job.service) {
            lane.busy = lane.busy.saturating_sub(1);
        }
        self.alarm(job.service);
    }

    pub(crate) fn stop_run(&mut self, id: Uuid) {
        let life = self.life;
        let job = self.gateway.as_mut().and_then(|gateway| gateway.slots.jobs.get_mut(&id));
        if let Some(job) = job
            && !std::mem::replace(&mut job.cancelled, true)
        {
            self.count("a running task was stopped");
            self.soon(1, 50, Event::Slot(life, id));
        }
    }

    pub(crate) fn slots_are_idle(&self) -> bool {
        self.gateway.as_ref().is_none_or(|gateway| gateway.slots.jobs.is_empty())
    }
}

fn failure(why: Raised) -> Fact {
    Fact::Heard(Report { result: Some(why.to_json()), ..Report::new(State::Failure, Source::Slot) })
}
