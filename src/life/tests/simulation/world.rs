//! The world of one run: a clock, a heap of events, and everything that acts.

use crate::{
    broker::Broker,
    check::Check,
    clients::Request,
    gateway::{Asker, Gateway},
    rng::Rng,
    scenario::{DEADLINE, Fault, HORIZON, REST, SERVICES, Scenario},
    store::Store,
    workers::Worker,
};
use gateway_life::{Answer, Millis};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
};
use uuid::Uuid;

/// What happens next. What belongs to one process carries its number (`life`), to one connection its epoch: it is
/// dropped if that is gone.
#[derive(Debug)]
pub(crate) enum Event {
    // Clients.
    Submit(usize),
    Answered(Asker, Answer),
    Impatient(usize, Uuid),
    Cancel(usize),
    Poll(usize),
    // The gateway.
    Start,
    Run(u32),
    Tick(u32, u64),
    CommitDone(u32),
    CommitTold(u32),
    Sweep(u32),
    Exit(u32),
    // Its connections: publish, consume, control.
    Connect(u32),
    Consume(u32),
    Send(u32),
    Arrive(u32),
    Confirms(u32),
    Impatience(u32, u64),
    Deliver(u32),
    AckArrives(u32, u64),
    Broadcast(u32),
    // The broker.
    BrokerUp,
    QueueBack(usize),
    Requeue(crate::broker::Message),
    // Workers.
    Fetch(usize),
    Work(usize, u32),
    Reply(usize),
    RevokeArrives(usize, u32, Uuid),
    WorkerUp(usize),
    Online(u32),
    // The embedded broker.
    Alarm(u32, usize),
    Slot(u32, Uuid),
    ClaimAgain(u32, usize),
    // The world.
    Trouble(Fault),
    DiskFree,
    Calm,
    Rested,
}

struct Due {
    at: Millis,
    /// Events of the same time come in any order.
    order: (u32, u64),
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// More than any run takes that comes to rest.
const EVENTS: u32 = 200_000;
/// How many of the last lines are told about a run that failed.
const LINES: usize = 160;

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    /// Monotonic.
    pub(crate) time: Millis,
    /// The wall clock is this far ahead.
    pub(crate) skew: Millis,
    /// When something went wrong last.
    pub(crate) troubled: Millis,
    heap: BinaryHeap<Reverse<Due>>,
    number: u64,
    events: u32,
    /// How many processes there were.
    pub(crate) life: u32,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) store: Store,
    pub(crate) disk_full: bool,
    pub(crate) broker: Broker,
    pub(crate) workers: Vec<Worker>,
    pub(crate) requests: Vec<Request>,
    pub(crate) check: Check,
    /// How often what a run is for did happen.
    pub(crate) happened: BTreeMap<&'static str, u32>,
    trace: Option<VecDeque<String>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, trace: bool) -> Self {
        let mut world = Self {
            rng: Rng::new(scenario.seed),
            time: 0,
            skew: 1_800_000_000_000,
            troubled: 0,
            heap: BinaryHeap::new(),
            number: 0,
            events: 0,
            life: 0,
            gateway: None,
            store: Store::new(scenario.plant),
            disk_full: false,
            broker: Broker::new(),
            workers: Vec::new(),
            requests: Vec::new(),
            check: Check::default(),
            happened: BTreeMap::new(),
            trace: trace.then(VecDeque::new),
            scenario,
        };
        world.people();
        world.after(0, Event::Start);
        world.after(HORIZON, Event::Calm);
        world.after(HORIZON + REST, Event::Rested);
        for fault in world.scenario.troubles() {
            let at = world.rng.between(1, HORIZON);
            world.after(at, Event::Trouble(fault));
        }
        world
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(&mut self) {
        while self.check.violation.is_none() {
            let Some(Reverse(due)) = self.heap.pop() else { break };
            if due.at > DEADLINE || (due.at > HORIZON && self.is_done()) {
                break;
            }
            self.events += 1;
            let busy = self.events > EVENTS;
            self.check.that(!busy, || format!("no rest after {EVENTS} events"));
            self.time = due.at;
            self.handle(due.event);
        }
        if self.check.violation.is_none() {
            self.finish();
        }
    }

    pub(crate) fn after(&mut self, wait: Millis, event: Event) {
        self.number += 1;
        let order = ((self.rng.next() & 0xFFFF) as u32, self.number);
        self.heap.push(Reverse(Due { at: self.time + wait.max(0), order, event }));
    }

    /// After a while between the two.
    pub(crate) fn soon(&mut self, low: Millis, high: Millis, event: Event) {
        let wait = self.rng.between(low, high);
        self.after(wait, event);
    }

    /// What the gateway's clock says.
    pub(crate) fn now(&self) -> Millis {
        self.time + self.skew
    }

    pub(crate) fn calm(&self) -> bool {
        self.time >= HORIZON
    }

    /// Does this trouble happen here and now?
    pub(crate) fn hit(&mut self, fault: Fault, permille: u64) -> bool {
        self.scenario.has(fault) && !self.calm() && self.rng.chance(permille)
    }

    /// The gateway is killed right here, now and then.
    pub(crate) fn strikes(&mut self, what: &'static str) -> bool {
        let strikes = self.gateway.is_some() && self.hit(Fault::CrashBetween, 12);
        if strikes {
            self.count(what);
            self.die(what);
        }
        strikes
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_insert(0) += 1;
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let (time, now) = (self.time, self.now() % 10_000_000);
        if let Some(trace) = &mut self.trace {
            if trace.len() == LINES {
                trace.pop_front();
            }
            trace.push_back(format!("{time:>7} ({now:>7}) {}", line()));
        }
    }

    pub(crate) fn lines(&self) -> String {
        self.trace.iter().flatten().map(|line| format!("  {line}\n")).collect()
    }

    pub(crate) fn is_running(&self, life: u32) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.life == life)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Submit(request) => self.submit(request),
            Event::Answered(asker, answer) => self.answered(asker, answer),
            Event::Impatient(request, id) => self.impatient(request, id),
            Event::Cancel(request) => self.cancel(request),
            Event::Poll(request) => self.poll(request),
            Event::Start => self.start(),
            Event::DiskFree => {
                self.disk_full = false;
                self.troubled = self.time;
            }
            Event::Rested => self.check_rest(),
            Event::Trouble(fault) => self.trouble(fault),
            Event::Calm => self.repair(),
            Event::BrokerUp => self.broker_up(),
            Event::QueueBack(service) => self.queue_back(service),
            Event::Requeue(message) => self.enqueue(message),
            Event::Fetch(worker) => self.fetch(worker),
            Event::Work(worker, epoch) => self.work(worker, epoch),
            Event::Reply(worker) => self.reply(worker),
            Event::RevokeArrives(worker, epoch, id) => self.revoke_arrives(worker, epoch, id),
            Event::WorkerUp(worker) => self.worker_up(worker),
            Event::Arrive(epoch) => self.arrive(epoch),
            Event::Confirms(epoch) => self.confirms(epoch),
            Event::Deliver(epoch) => self.deliver(epoch),
            Event::AckArrives(epoch, number) => self.ack_arrives(epoch, number),
            ours => self.handle_ours(ours),
        }
    }

    /// What belongs to one process of the gateway.
    fn handle_ours(&mut self, event: Event) {
        let life = match event {
            Event::Run(life) | Event::Tick(life, _) | Event::CommitDone(life) | Event::CommitTold(life) => life,
            Event::Sweep(life) | Event::Exit(life) | Event::Connect(life) => life,
            Event::Consume(life) | Event::Send(life) | Event::Impatience(life, _) | Event::Broadcast(life) => life,
            Event::Online(life) | Event::Alarm(life, _) | Event::Slot(life, _) | Event::ClaimAgain(life, _) => life,
            _ => return,
        };
        if !self.is_running(life) {
            return;
        }
        match event {
            Event::Run(_) => self.step(),
            Event::Tick(_, number) => self.tick(number),
            Event::CommitDone(_) => self.commit_done(),
            Event::CommitTold(_) => self.commit_told(),
            Event::Sweep(_) => self.sweep(),
            Event::Exit(_) => self.die("it stops itself"),
            Event::Connect(_) => self.connect(),
            Event::Consume(_) => self.consume(),
            Event::Send(_) => self.send(),
            Event::Impatience(_, flight) => self.publish_timeout(flight),
            Event::Broadcast(_) => self.broadcast(),
            Event::Online(_) => self.tell_all_again(),
            Event::Alarm(_, service) => self.alarm(service),
            Event::Slot(_, id) => self.slot(id),
            Event::ClaimAgain(_, service) => self.claim_again(service),
            _ => {}
        }
    }
}

pub(crate) fn service(number: usize) -> Arc<str> {
    SERVICES[number].into()
}

pub(crate) fn number(service: &str) -> usize {
    usize::from(service != SERVICES[0])
}
