//! The broker: durable queues of tasks and one of replies.

use crate::{
    gateway::From,
    scenario::{Fault, HORIZON},
    words::{short, words},
    world::{Event, World},
};
use gateway_life::Fact;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Gateway,
    /// A worker that asked for another try.
    Worker,
}

/// One copy of a task.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) service: usize,
    pub(crate) number: u64,
    /// As its header says; workers do not pass it on.
    pub(crate) attempt: u32,
    pub(crate) origin: Origin,
    pub(crate) redelivered: bool,
    /// On disk: it survives a restart.
    pub(crate) confirmed: bool,
}

/// A message on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) flight: u64,
    pub(crate) id: Uuid,
    pub(crate) service: usize,
    pub(crate) attempt: u32,
}

/// What became of a message at the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    Queued(u64),
    Returned,
    Nack,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) id: Uuid,
    pub(crate) fact: Fact,
    pub(crate) persistent: bool,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) exists: bool,
    pub(crate) waiting: VecDeque<Message>,
}

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    /// Grows with each restart.
    pub(crate) starts: u32,
    epochs: u32,
    numbers: u64,
    pub(crate) queues: [Queue; 2],
    /// The connections that exist; 0 for none.
    pub(crate) publish: u32,
    consume: u32,
    /// Written to the socket, not here yet.
    pub(crate) wire: VecDeque<Written>,
    pub(crate) unconfirmed: Vec<(u64, Uuid, Verdict)>,
    /// Sent back, not attached to a confirm yet.
    pub(crate) returns: VecDeque<u64>,
    /// By number: their order survives a redelivery.
    replies: BTreeMap<u64, Reply>,
    unacked: BTreeMap<u64, Reply>,
}

/// `basic.qos` of the consumer.
const PREFETCH: usize = 8;

impl Broker {
    pub(crate) fn new() -> Self {
        let queue = || Queue { exists: true, waiting: VecDeque::new() };
        Self {
            up: true,
            starts: 1,
            epochs: 0,
            numbers: 0,
            queues: [queue(), queue()],
            publish: 0,
            consume: 0,
            wire: VecDeque::new(),
            unconfirmed: Vec::new(),
            returns: VecDeque::new(),
            replies: BTreeMap::new(),
            unacked: BTreeMap::new(),
        }
    }

    pub(crate) fn next_epoch(&mut self) -> u32 {
        self.epochs += 1;
        self.epochs
    }

    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn confirmed(&mut self, number: u64) {
        let waiting = self.queues.iter_mut().flat_map(|queue| &mut queue.waiting);
        waiting.filter(|message| message.number == number).for_each(|message| message.confirmed = true);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.is_empty()) && self.replies.is_empty() && self.unacked.is_empty()
    }

    pub(crate) fn unacked(&self) -> usize {
        self.unacked.len()
    }
}

impl World {
    pub(crate) fn enqueue(&mut self, message: Message) {
        let service = message.service;
        if !self.broker.up {
            // A worker publishes its retries until the broker takes them.
            return self.after(500, Event::Requeue(message));
        }
        if self.broker.queues[service].exists {
            self.broker.queues[service].waiting.push_back(message);
            self.wake_workers(service);
        }
    }

    /// A delivered message that nobody acknowledged takes its place again.
    pub(crate) fn hand_back(&mut self, message: Message) {
        let service = message.service;
        if self.broker.queues[service].exists {
            self.count("task redelivered");
            self.broker.queues[service].waiting.push_front(Message { redelivered: true, ..message });
            self.wake_workers(service);
        }
    }

    pub(crate) fn put_reply(&mut self, reply: Reply) {
        let number = self.broker.next_number();
        self.broker.replies.insert(number, reply);
        let epoch = self.broker.consume;
        self.soon(0, 3, Event::Deliver(epoch));
    }

    pub(crate) fn consume(&mut self) {
        let life = self.life;
        if !self.broker.up {
            return self.soon(200, 1_000, Event::Consume(life));
        }
        let epoch = self.broker.next_epoch();
        self.broker.consume = epoch;
        if let Some(gateway) = &mut self.gateway {
            gateway.consumer = Some(epoch);
        }
        self.soon(0, 3, Event::Deliver(epoch));
    }

    pub(crate) fn deliver(&mut self, epoch: u32) {
        if epoch == 0 || self.broker.consume != epoch || self.broker.unacked.len() >= PREFETCH {
            return;
        }
        let Some((number, reply)) = self.broker.replies.pop_first() else { return };
        self.broker.unacked.insert(number, reply.clone());
        self.note(|| format!("delivered {} {}", short(reply.id), words(&reply.fact)));
        self.hear(reply.id, reply.fact, Some(From::Reply(epoch, number)));
        self.soon(0, 2, Event::Deliver(epoch));
    }

    pub(crate) fn ack_arrives(&mut self, epoch: u32, number: u64) {
        if self.broker.consume == epoch && self.broker.unacked.remove(&number).is_some() {
            self.soon(0, 2, Event::Deliver(epoch));
        }
    }

    /// What was delivered and not acknowledged comes again, in its place.
    pub(crate) fn consumer_lost(&mut self) {
        self.broker.consume = 0;
        if !self.broker.unacked.is_empty() {
            self.count("reply redelivered");
        }
        for (number, mut reply) in std::mem::take(&mut self.broker.unacked) {
            if let Fact::Heard(report) = &mut reply.fact {
                report.redelivered = true;
            }
            self.broker.replies.insert(number, reply);
        }
        if let Some(gateway) = &mut self.gateway
            && gateway.consumer.take().is_some()
        {
            let life = gateway.life;
            self.soon(100, 1_500, Event::Consume(life));
        }
    }

    fn restart_broker(&mut self) {
        if !self.broker.up {
            return;
        }
        self.note(|| "the broker restarts".into());
        self.count("broker restarted");
        self.publisher_lost();
        self.consumer_lost();
        self.broker.up = false;
        self.broker.starts += 1;
        self.broker.replies.retain(|_, reply| reply.persistent);
        for service in 0..self.broker.queues.len() {
            let waiting = std::mem::take(&mut self.broker.queues[service].waiting);
            for message in waiting {
                if message.confirmed || self.rng.chance(500) {
                    self.broker.queues[service].waiting.push_back(Message { confirmed: true, ..message });
                }
            }
        }
        self.workers_lose_broker();
        self.soon(200, 4_000, Event::BrokerUp);
    }

    /// The first message of a queue is over its time.
    fn give_up(&mut self, service: usize) {
        if let Some(message) = self.broker.queues[service].waiting.pop_front() {
            self.count("dead letter");
            let why = "the task waited too long".into();
            let fact = Fact::Dead { attempt: message.attempt, waiting: true, why };
            self.put_reply(Reply { id: message.id, fact, persistent: true });
        }
    }

    pub(crate) fn broker_up(&mut self) {
        self.troubled = self.time;
        self.broker.up = true;
        (0..self.broker.queues.len()).for_each(|service| self.wake_workers(service));
    }

    pub(crate) fn queue_back(&mut self, service: usize) {
        self.broker.queues[service].exists = true;
    }

    /// One trouble comes; another of its kind follows.
    pub(crate) fn trouble(&mut self, fault: Fault) {
        if self.calm() {
            return;
        }
        let service = self.rng.below(2);
        self.troubled = self.time;
        match fault {
            Fault::Crash => self.die("killed"),
            Fault::DiskFull => {
                self.disk_full = true;
                self.soon(100, 2_500, Event::DiskFree);
            }
            Fault::ClockJump => self.jump_clock(),
            // The others are a broker's.
            _ if self.scenario.embedded => return,
            Fault::PublishLost => self.publisher_lost(),
            Fault::ConsumeLost => self.consumer_lost(),
            Fault::NoQueue => {
                self.broker.queues[service].exists = false;
                self.broker.queues[service].waiting.clear();
                self.note(|| format!("queue {service} is gone"));
                self.soon(500, 4_000, Event::QueueBack(service));
            }
            Fault::Purge => {
                self.broker.queues[service].waiting.clear();
                self.note(|| format!("queue {service} is purged"));
                self.count("purged");
            }
            Fault::BrokerRestart => self.restart_broker(),
            Fault::DeadLetter => self.give_up(service),
            // The others come with what they spoil.
            _ => return,
        }
        let next = self.rng.between(500, HORIZON / 2);
        self.after(next, Event::Trouble(fault));
    }

    pub(crate) fn jump_clock(&mut self) {
        // An hour back, too: no task waits for that hour to come again. (Limits do; the run would be over before.)
        let waits = self.scenario.embedded && !self.scenario.has(Fault::Limits);
        let far = if waits && self.rng.chance(200) { -3_600_000 } else { 0 };
        let jump = self.rng.between(-40_000, 12_000) + far;
        self.skew += jump;
        self.note(|| format!("the clock jumps by {jump} ms"));
        self.count(if jump < 0 { "clock back" } else { "clock ahead" });
    }

    /// From here on nothing fails any more: all has to come to its end.
    pub(crate) fn repair(&mut self) {
        self.note(|| "calm from here on".into());
        self.disk_full = false;
        self.broker.queues.iter_mut().for_each(|queue| queue.exists = true);
        if !self.broker.up {
            self.broker_up();
        }
    }
}
