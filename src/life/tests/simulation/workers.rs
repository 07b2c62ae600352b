//! Celery workers: early or late acknowledgement, reports, retries, deaths, and revokes known only in memory.

use crate::{
    broker::{Message, Origin, Reply},
    check::known_cancelled,
    scenario::Fault,
    words::{short, words},
    world::{Event, World},
};
use gateway_life::{Fact, Millis, Raised, Report, Run, Source, State};
use std::collections::{BTreeSet, VecDeque};
use uuid::Uuid;

#[derive(Debug)]
pub(crate) struct Worker {
    up: bool,
    /// Grows with each start.
    epoch: u32,
    service: usize,
    acks_late: bool,
    sends_events: bool,
    tracks_started: bool,
    /// `result_persistent`, and results are published with confirms.
    persistent: bool,
    /// Its progress tells host and start.
    tells_run: bool,
    revoked: BTreeSet<Uuid>,
    exec: Option<Exec>,
    outgoing: VecDeque<Reply>,
}

#[derive(Debug)]
struct Exec {
    message: Message,
    /// Acknowledged, or not to be any more: the connection it came through is gone.
    acked: bool,
    steps: VecDeque<Step>,
    pace: (Millis, Millis),
    run: Run,
    /// When it first said that it runs.
    reported: Option<Millis>,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Started,
    Progress(u32),
    End(State),
    Ack,
}

impl Worker {
    /// Its number, if it listens to commands.
    pub(crate) fn listens(&self) -> Option<u32> {
        self.up.then_some(self.epoch)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.exec.is_none() && self.outgoing.is_empty()
    }
}

/// What a run does, and how fast: most are short, some go on for long.
pub(crate) fn script(world: &mut World, id: Uuid, may_retry: bool) -> (VecDeque<Step>, (Millis, Millis)) {
    // What was cancelled and is begun all the same takes long: time enough to be stopped.
    let long = world.rng.chance(if known_cancelled(&world.check, id) { 800 } else { 150 });
    let count = if long { 10 } else { world.rng.below(4) as u32 };
    let mut steps: VecDeque<_> = (1..=count).map(|n| Step::Progress(n * 10)).collect();
    let end = match world.rng.below(10) {
        0 if may_retry => State::Retry,
        0..=2 => State::Failure,
        _ => State::Success,
    };
    steps.push_back(Step::End(end));
    (steps, if long { (1_500, 3_000) } else { (1, 250) })
}

/// A result that no other run has: so that a second end cannot pass for the first.
pub(crate) fn outcome(state: &State, run: &Run) -> bytes::Bytes {
    match state.is_raised() {
        true => Raised::new("ValueError", format!("{run:?}")).to_json(),
        false => format!("{{\"by\":\"{}\",\"at\":\"{}\"}}", run.host, run.start).into(),
    }
}

impl World {
    pub(crate) fn people(&mut self) {
        for n in 0..if self.scenario.embedded { 0 } else { self.scenario.workers } {
            let fleeting = self.scenario.has(Fault::Fleeting) && self.rng.chance(400);
            let worker = Worker {
                up: true,
                epoch: 1,
                service: n % 2,
                acks_late: self.rng.chance(500),
                sends_events: self.rng.chance(500),
                tracks_started: self.rng.chance(700),
                persistent: !fleeting,
                tells_run: self.rng.chance(700),
                revoked: BTreeSet::new(),
                exec: None,
                outgoing: VecDeque::new(),
            };
            self.workers.push(worker);
        }
        self.clients_arrive();
    }

    pub(crate) fn wake_workers(&mut self, service: usize) {
        for worker in 0..self.workers.len() {
            if self.workers[worker].service == service && self.workers[worker].exec.is_none() {
                self.soon(1, 30, Event::Fetch(worker));
            }
        }
    }

    pub(crate) fn fetch(&mut self, number: usize) {
        let worker = &self.workers[number];
        let service = worker.service;
        if !worker.up || worker.exec.is_some() || !self.broker.up {
            return;
        }
        let Some(message) = self.broker.queues[service].waiting.pop_front() else { return };
        let id = message.id;
        if worker.revoked.contains(&id) {
            self.note(|| format!("worker {number} discards {}", short(id)));
            let report = Report { result: Some(terminated()), ..Report::new(State::Revoked, Source::Queue) };
            self.report(number, id, Fact::Heard(report));
            return self.soon(1, 10, Event::Fetch(number));
        }
        let may_retry = self.scenario.has(Fault::WorkerRetry) && !self.calm();
        let (mut steps, pace) = script(self, id, may_retry);
        let worker = &self.workers[number];
        if worker.tracks_started {
            steps.push_front(Step::Started);
        }
        if worker.acks_late {
            steps.push_back(Step::Ack);
        }
        let (epoch, acked, events) = (worker.epoch, !worker.acks_late, worker.sends_events);
        let start = self.broker.next_number();
        let run = Run { host: format!("worker-{number}").into(), start: start.to_string().into() };
        self.note(|| format!("worker {number} takes {} copy {}", short(id), message.number));
        self.begins(id, message.origin == Origin::Gateway && !message.redelivered);
        self.workers[number].exec = Some(Exec { message, acked, steps, pace, run, reported: None });
        if events {
            self.hear(id, Fact::Heard(Report::new(State::Received, Source::Event)), None);
        }
        self.soon(1, 20, Event::Work(number, epoch));
    }

    /// The next thing that a running task does.
    pub(crate) fn work(&mut self, number: usize, epoch: u32) {
        if self.workers[number].epoch != epoch {
            return;
        }
        if self.hit(Fault::WorkerCrash, 25) {
            return self.worker_dies(number);
        }
        if self.workers[number].persistent && !self.workers[number].outgoing.is_empty() {
            // It waits for the broker's confirm of what it sent last.
            return self.after(20, Event::Work(number, epoch));
        }
        let Some(exec) = &mut self.workers[number].exec else { return };
        let (id, (low, high)) = (exec.message.id, exec.pace);
        let Some(step) = exec.steps.pop_front() else {
            self.workers[number].exec = None;
            return self.soon(1, 10, Event::Fetch(number));
        };
        match step {
            Step::Started => self.tell_started(number, id),
            Step::Progress(done) => self.tell_progress(number, id, done),
            Step::End(state) => self.tell_end(number, id, state),
            Step::Ack => exec.acked = true,
        }
        self.soon(low, high, Event::Work(number, epoch));
    }

    fn tell_started(&mut self, number: usize, id: Uuid) {
        let host = self.workers[number].exec.as_ref().map(|exec| exec.run.start.clone()).unwrap_or_default();
        let result = Some(format!("{{\"pid\":{host},\"hostname\":\"worker-{number}\"}}").into());
        if self.workers[number].sends_events {
            self.hear(id, Fact::Heard(Report::new(State::Started, Source::Event)), None);
        }
        self.says_it_runs(number);
        self.report(number, id, Fact::Heard(Report { result, ..Report::new(State::Started, Source::Queue) }));
    }

    fn tell_progress(&mut self, number: usize, id: Uuid, done: u32) {
        let worker = &self.workers[number];
        let run = worker.exec.as_ref().filter(|_| worker.tells_run).map(|exec| exec.run.clone());
        let result = Some(format!("{{\"current\":{done}}}").into());
        let current = Some(f64::from(done));
        self.says_it_runs(number);
        let report = Report { result, run, current, ..Report::new(State::Progress, Source::Queue) };
        self.report(number, id, Fact::Heard(report));
    }

    fn says_it_runs(&mut self, number: usize) {
        let time = self.time;
        if let Some(exec) = &mut self.workers[number].exec {
            exec.reported.get_or_insert(time);
        }
    }

    fn tell_end(&mut self, number: usize, id: Uuid, state: State) {
        let Some(exec) = &self.workers[number].exec else { return };
        let (message, result) = (exec.message.clone(), Some(outcome(&state, &exec.run)));
        self.should_have_been_told(id, exec.reported);
        if state == State::Retry {
            let copy = self.broker.next_number();
            let again = Message {
                number: copy,
                attempt: 1,
                origin: Origin::Worker,
                redelivered: false,
                confirmed: true,
                ..message
            };
            self.soon(100, 3_000, Event::Requeue(again));
        }
        let garbled = self.hit(Fault::Garbled, 60);
        let done = self.broker.next_number();
        let dates = self.workers[number].tells_run && state != State::Retry;
        let run = dates.then(|| Run { host: "".into(), start: format!("{done:09}").into() });
        self.report(
            number,
            id,
            match garbled {
                true => Fact::Garbled("it is not JSON".into()),
                false => Fact::Heard(Report { result, run, ..Report::new(state, Source::Queue) }),
            },
        );
    }

    fn report(&mut self, number: usize, id: Uuid, fact: Fact) {
        self.note(|| format!("worker {number} says {} {}", short(id), words(&fact)));
        let persistent = self.workers[number].persistent;
        self.workers[number].outgoing.push_back(Reply { id, fact, persistent });
        self.soon(1, 30, Event::Reply(number));
    }

    /// A worker's report reaches the broker, or is lost with it.
    pub(crate) fn reply(&mut self, number: usize) {
        let Some(reply) = self.workers[number].outgoing.pop_front() else { return };
        if self.broker.up {
            self.put_reply(reply);
        } else if reply.persistent {
            self.workers[number].outgoing.push_front(reply);
            self.after(300, Event::Reply(number));
        } else {
            self.count("result lost with the broker");
        }
    }

    fn worker_dies(&mut self, number: usize) {
        self.troubled = self.time;
        self.note(|| format!("worker {number} dies"));
        self.count("worker died");
        let keeps = self.rng.chance(500);
        let worker = &mut self.workers[number];
        (worker.up, worker.epoch) = (false, worker.epoch + 1);
        worker.revoked.clear();
        if !keeps {
            worker.outgoing.clear();
        }
        if let Some(Exec { message, acked: false, .. }) = worker.exec.take() {
            self.hand_back(message);
        }
        self.soon(100, 3_000, Event::WorkerUp(number));
    }

    pub(crate) fn worker_up(&mut self, number: usize) {
        self.workers[number].up = true;
        self.troubled = self.time;
        let life = self.life;
        self.after(1, Event::Online(life));
        self.soon(1, 3_000, Event::Fetch(number));
    }

    /// Their unacknowledged messages are delivered again while they go on.
    pub(crate) fn workers_lose_broker(&mut self) {
        for number in 0..self.workers.len() {
            if let Some(exec) = &mut self.workers[number].exec
                && !std::mem::replace(&mut exec.acked, true)
            {
                let message = exec.message.clone();
                self.hand_back(message);
            }
        }
    }

    pub(crate) fn revoke_arrives(&mut self, number: usize, epoch: u32, id: Uuid) {
        let worker = &mut self.workers[number];
        if worker.listens() != Some(epoch) {
            return;
        }
        worker.revoked.insert(id);
        if worker.exec.as_ref().is_none_or(|exec| exec.message.id != id) {
            return;
        }
        worker.exec = None;
        // What was planned for the stopped run must not meet the next.
        worker.epoch += 1;
        self.count("a running task was stopped");
        let report = Report { result: Some(terminated()), ..Report::new(State::Revoked, Source::Queue) };
        self.report(number, id, Fact::Heard(report));
        self.soon(1, 10, Event::Fetch(number));
    }
}

pub(crate) fn terminated() -> bytes::Bytes {
    Raised::new("TaskRevokedError", "terminated").to_json()
}
