//! The gateway's process: the real engine, driven as `src/engine/mod.rs` drives it.

use crate::{
    publisher::Publisher,
    revoker::Revoker,
    scenario::{Fault, Plant},
    slots::Slots,
    words::{describe, short},
    world::{Event, World},
};
use gateway_life::{
    Accept, Answer, CommitFault, Effect, Engine, Fact, Fate, Heard, Input, Millis, Publish, Waiting, Write, Written,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// This request, with the uuid that this attempt would get.
    Submit(usize, Uuid),
    Cancel(usize),
    /// The slots of this service.
    Slot(usize),
}

/// Where a receipt leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// A reply, by connection and number.
    Reply(u32, u64),
    Slot,
}

#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) id: Uuid,
    pub(crate) fact: Fact,
    pub(crate) from: From,
}

struct Commit {
    now: Millis,
    writes: Vec<Write>,
    result: Option<Result<Vec<Written>, CommitFault>>,
}

pub(crate) struct Gateway {
    pub(crate) life: u32,
    engine: Engine<Asker, u64>,
    inbox: VecDeque<Input<Asker, u64>>,
    planned: bool,
    tick: (Option<Millis>, u64),
    commit: Option<Commit>,
    /// The engine said stop.
    pub(crate) stopped: bool,
    receipts: BTreeMap<u64, Receipt>,
    /// Those that were out when a commit failed.
    delayed: BTreeSet<u64>,
    next_receipt: u64,
    /// Found in the store at start: they may go beyond the outbox' depth.
    restored: usize,
    /// Asked to be published, and neither landed nor settled yet.
    flying: BTreeSet<Uuid>,
    /// The engine was told that these have ended.
    told_ends: BTreeSet<Uuid>,
    pub(crate) publications: VecDeque<Publish>,
    pub(crate) publisher: Publisher,
    pub(crate) revoker: Revoker,
    pub(crate) slots: Slots,
    /// Its consumer's connection.
    pub(crate) consumer: Option<u32>,
}

impl World {
    /// A process begins: takes up what the last one left, then serves.
    pub(crate) fn start(&mut self) {
        if self.gateway.is_some() {
            return;
        }
        self.life += 1;
        let (life, limits) = (self.life, self.scenario.limits());
        let ended = self.store.tasks.values().filter(|task| task.state.is_end()).map(|task| task.id);
        self.gateway = Some(Gateway {
            life,
            engine: Engine::new(limits),
            inbox: VecDeque::new(),
            planned: false,
            tick: (None, 0),
            commit: None,
            stopped: false,
            receipts: BTreeMap::new(),
            delayed: BTreeSet::new(),
            next_receipt: 0,
            restored: 0,
            flying: BTreeSet::new(),
            told_ends: ended.collect(),
            publications: VecDeque::new(),
            publisher: Publisher::default(),
            revoker: Revoker::default(),
            slots: Slots::new(),
            consumer: None,
        });
        self.troubled = self.time;
        self.note(|| format!("gateway {life} starts"));
        if self.scenario.embedded {
            self.hand_back_orphans();
            self.open_slots();
        } else {
            self.restore();
            self.remember_revoked();
            self.soon(1, 50, Event::Connect(life));
            self.soon(1, 50, Event::Consume(life));
        }
        self.soon(100, 1000, Event::Sweep(life));
    }

    fn restore(&mut self) {
        if self.scenario.plant == Some(Plant::NotRestored) {
            return;
        }
        for waiting in self.store.waiting() {
            self.count("restored");
            if let Some(gateway) = &mut self.gateway {
                gateway.restored += 1;
            }
            // It may have been published just before the last process ended.
            let attempts = waiting.attempts.max(1);
            self.tell(Input::Restored(Waiting { attempts, ..waiting }));
        }
    }

    /// The process is gone, with all that only it knew.
    pub(crate) fn die(&mut self, why: &'static str) {
        let Some(gateway) = self.gateway.take() else { return };
        self.troubled = self.time;
        self.note(|| format!("gateway {} dies: {why}", gateway.life));
        self.count("process died");
        if let Some(Commit { now, writes, result: None }) = gateway.commit
            && !self.disk_full
            && self.rng.chance(500)
        {
            // Nobody was told, yet it is durable.
            self.count("durable, and nobody was told");
            self.store.execute(now, writes);
            self.observe();
        }
        self.store.process_died();
        self.publisher_died(gateway.publisher.epoch);
        self.consumer_lost();
        self.check.running.clear();
        self.soon(50, 3_000, Event::Start);
    }

    /// To the process that runs now.
    pub(crate) fn tell(&mut self, input: Input<Asker, u64>) {
        let Some(gateway) = &mut self.gateway else { return };
        if let Input::Landed(id, _) = &input {
            gateway.flying.remove(id);
        }
        gateway.inbox.push_back(input);
        if !std::mem::replace(&mut gateway.planned, true) {
            let life = gateway.life;
            self.soon(0, 2, Event::Run(life));
        }
    }

    /// Something is heard that somebody wants to have written.
    pub(crate) fn hear(&mut self, id: Uuid, fact: Fact, from: Option<From>) {
        let Some(gateway) = &mut self.gateway else { return };
        let receipt = from.map(|from| {
            gateway.next_receipt += 1;
            gateway.receipts.insert(gateway.next_receipt, Receipt { id, fact: fact.clone(), from });
            gateway.next_receipt
        });
        self.tell(Input::Heard(Heard { id, fact, receipt }));
        if let (Some(Plant::AckFirst), Some(number)) = (self.scenario.plant, receipt) {
            self.ack(number);
        }
    }

    pub(crate) fn step(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        gateway.planned = false;
        let inputs: Vec<_> = gateway.inbox.drain(..).collect();
        for input in &inputs {
            self.plant_on_input(input);
        }
        self.drive(inputs);
    }

    fn drive(&mut self, inputs: Vec<Input<Asker, u64>>) {
        let (now, mut effects) = (self.now(), Vec::new());
        let Some(gateway) = &mut self.gateway else { return };
        let (life, bound) = (gateway.life, self.scenario.depth + gateway.restored);
        let stopped = gateway.stopped;
        for input in inputs {
            let waits = match &input {
                Input::Submit(..) | Input::Cancel(..) | Input::Claim(..) => true,
                Input::Heard(heard) => heard.receipt.is_some(),
                _ => false,
            };
            let before = effects.len();
            gateway.engine.step(now, input, &mut effects);
            let told = effects.len() > before;
            self.check.that(!stopped || !waits || told, || "somebody waits for an engine that has stopped".into());
        }
        gateway.engine.flush(now, &mut effects);
        let in_outbox = gateway.engine.outbox_len();
        self.check.that(in_outbox <= bound, || format!("the outbox holds {in_outbox}, more than {bound}"));
        for effect in effects {
            if self.strikes("died between two effects") {
                return;
            }
            self.perform(effect);
            if !self.is_running(life) {
                return;
            }
        }
        self.plan_tick();
    }

    /// The driver's timer is monotonic, and looks again after a minute at the latest.
    fn plan_tick(&mut self) {
        let (now, time) = (self.now(), self.time);
        let Some(gateway) = &mut self.gateway else { return };
        let at = gateway.engine.next_tick().map(|at| time + (at - now).clamp(0, 60_000));
        if at.is_some_and(|at| gateway.tick.0.is_none_or(|planned| at < planned || planned < time)) {
            gateway.tick = (at, gateway.tick.1 + 1);
            let (life, number) = (gateway.life, gateway.tick.1);
            self.after(at.unwrap_or(time) - time, Event::Tick(life, number));
        }
    }

    pub(crate) fn tick(&mut self, number: u64) {
        let Some(gateway) = &mut self.gateway else { return };
        if gateway.tick.1 == number {
            gateway.tick.0 = None;
            self.drive(vec![Input::Tick]);
        }
    }

    fn perform(&mut self, effect: Effect<Asker, u64>) {
        self.note(|| describe(&effect));
        match effect {
            Effect::Commit(writes) => self.begin_commit(writes),
            Effect::Publish(publish) => self.publish(publish),
            // One gateway that never loses its lease: asked for, it would be a mistake.
            Effect::Reload => self.check.that(false, || "a comparison with a store that is not shared".into()),
            Effect::Due(service, at) => self.due(crate::world::number(&service), at),
            Effect::Ack(receipt) => self.ack(receipt),
            Effect::Stray(id) => {
                let known = self.store.tasks.contains_key(&id);
                self.check.that(!known, || format!("{id} is known, and was taken for a stray"));
            }
            Effect::Return(receipt) => {
                // Its process ends: whoever told it tells the next one.
                if let Some(gateway) = &mut self.gateway {
                    gateway.receipts.remove(&receipt);
                }
            }
            Effect::Revoke(id, _) => match self.scenario.embedded {
                true => self.stop_run(id),
                false => self.revoke(id),
            },
            Effect::Answer(asker, answer) => self.answer(asker, answer),
            Effect::Stop(_) => {
                self.count("stopped by an unknown commit");
                if let Some(gateway) = &mut self.gateway {
                    gateway.stopped = true;
                }
                let life = self.life;
                self.soon(1, 500, Event::Exit(life));
            }
        }
    }

    fn begin_commit(&mut self, writes: Vec<Write>) {
        let now = self.now();
        let Some(gateway) = &mut self.gateway else { return };
        let second = gateway.commit.is_some() || gateway.stopped;
        gateway.commit = Some(Commit { now, writes, result: None });
        let life = gateway.life;
        self.check.that(!second, || "a commit while another is under way, or after a stop".into());
        self.soon(1, 12, Event::CommitDone(life));
    }

    /// The store has done what it can.
    pub(crate) fn commit_done(&mut self) {
        if self.hit(Fault::ClockJump, 10) {
            self.jump_clock();
        }
        let unknown = self.hit(Fault::StoreUnknown, 15);
        let durable = !unknown || self.rng.chance(500);
        let Some(Commit { now, writes, .. }) = self.gateway.as_mut().and_then(|gateway| gateway.commit.take()) else {
            return;
        };
        let result = if self.disk_full {
            self.count("disk full");
            Err(CommitFault::NotWritten("database or disk is full".into()))
        } else {
            let written = if durable { self.store.execute(now, writes) } else { Vec::new() };
            self.observe();
            match (unknown, self.scenario.plant) {
                (false, _) => Ok(written),
                (true, Some(Plant::UnknownMeansRolledBack)) => Err(CommitFault::NotWritten("fsync failed".into())),
                (true, _) => Err(CommitFault::Unknown("fsync failed".into())),
            }
        };
        let Some(gateway) = &mut self.gateway else { return };
        let life = gateway.life;
        gateway.commit = Some(Commit { now, writes: Vec::new(), result: Some(result) });
        if !self.strikes("durable, and the process died") {
            self.soon(0, 3, Event::CommitTold(life));
        }
    }

    pub(crate) fn commit_told(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let Some(result) = gateway.commit.take().and_then(|commit| commit.result) else { return };
        if let Err(CommitFault::NotWritten(_)) = &result {
            gateway.delayed = gateway.receipts.keys().copied().collect();
        }
        for written in result.iter().flatten() {
            let Written::Applied(task, change) = written else { continue };
            if change.settled {
                gateway.flying.remove(&task.id);
            }
            if task.state.is_end() {
                gateway.told_ends.insert(task.id);
            }
        }
        self.store.catch_up();
        self.drive(vec![Input::Committed(result)]);
    }

    fn publish(&mut self, publish: Publish) {
        let (id, attempt) = (publish.message.id, publish.attempt);
        let Some(gateway) = &mut self.gateway else { return };
        gateway.flying.insert(id);
        let (flying, ended) = (gateway.flying.len(), gateway.told_ends.contains(&id));
        gateway.publications.push_back(publish);
        let (life, window) = (gateway.life, self.scenario.window);
        self.check.that(!ended, || format!("{id} has ended, yet it is published (attempt {attempt})"));
        self.check.that(flying <= window, || format!("{flying} publications in flight, more than {window}"));
        self.soon(0, 3, Event::Send(life));
    }

    fn ack(&mut self, number: u64) {
        let Some(Receipt { id, fact, from }) =
            self.gateway.as_mut().and_then(|gateway| gateway.receipts.remove(&number))
        else {
            return;
        };
        if self.gateway.as_mut().is_some_and(|gateway| gateway.delayed.remove(&number)) {
            self.count("written after a failed commit");
        }
        self.check_ack(id, &fact);
        match from {
            From::Reply(epoch, reply) => self.soon(0, 5, Event::AckArrives(epoch, reply)),
            From::Slot => self.slot_is_told(id),
        }
    }

    fn plant_on_input(&mut self, input: &Input<Asker, u64>) {
        let Input::Submit(asker, accept) = input else { return };
        let Accept { task, body, .. } = &**accept;
        match self.scenario.plant {
            Some(Plant::AnswerFirst) => self.answer(*asker, Answer::Accepted(task.id)),
            Some(Plant::PublishFirst) if !self.scenario.embedded => {
                let (id, service, run_limit) = (task.id, task.service.clone(), task.run_limit);
                let trace = task.trace.clone();
                let message = Waiting { id, service, attempts: 0, run_limit, trace, body: Some(body.clone()) };
                let life = self.life;
                if let Some(gateway) = &mut self.gateway {
                    gateway.publications.push_back(Publish { message, attempt: 1, term: 0 });
                }
                self.soon(0, 3, Event::Send(life));
            }
            _ => {}
        }
    }

    /// Without trouble for a while, everything is with the broker.
    pub(crate) fn check_rest(&mut self) {
        let waits = self.gateway.as_ref().map_or(0, |gateway| gateway.engine.outbox_len());
        self.check.that(waits == 0, || format!("{waits} messages still wait to be sent"));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| {
            gateway.engine.outbox_len() == 0 && gateway.engine.queued() == 0 && gateway.commit.is_none()
        })
    }

    pub(crate) fn landed(&mut self, id: Uuid, fate: Fate) {
        self.note(|| format!("landed {} {fate:?}", short(id)));
        self.tell(Input::Landed(id, fate));
    }
}
