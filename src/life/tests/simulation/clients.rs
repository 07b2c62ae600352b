//! Clients: they submit, ask again when they hear nothing, poll, and cancel.

use crate::{
    gateway::Asker,
    publisher::TOO_BIG,
    scenario::{Fault, HORIZON},
    words::short,
    world::{Event, World, service},
};
use bytes::Bytes;
use gateway_life::{Accept, Answer, IdempotencyKey, Input, Millis, Task};
use std::sync::Arc;
use uuid::Uuid;

/// What a request's fingerprint is made of.
#[derive(Debug, Clone)]
struct Asked {
    service: usize,
    too_big: bool,
    limits: (Option<Millis>, Option<Millis>),
    fingerprint: [u8; 32],
}

/// What somebody wants to have done, however often it takes to ask for it.
#[derive(Debug)]
pub(crate) struct Request {
    asked: Asked,
    subject: Arc<str>,
    key: Option<Box<str>>,
    /// What it was told.
    pub(crate) accepted: Option<Uuid>,
    /// Asked, not answered.
    waits_for: Option<Uuid>,
    /// The process that was asked, as long as it has not answered.
    asked_of: Option<u32>,
    /// Answered, or given up.
    pub(crate) done: bool,
    /// Cancelled once it is accepted, after this.
    cancel: Option<Millis>,
    /// The cancel's answer has come.
    cancelled: bool,
    seen: u64,
}

/// How long a client waits for an answer.
const PATIENCE: Millis = 4_000;

impl World {
    pub(crate) fn clients_arrive(&mut self) {
        for n in 0..self.scenario.tasks {
            let keyed = self.rng.chance(500);
            // Some use a key that another request has: the same thing asked twice, or another thing.
            let shared = keyed && n > 0 && self.rng.chance(150);
            let key = keyed.then(|| format!("key-{}", if shared { n - 1 } else { n }).into());
            let has_limits = self.scenario.has(Fault::Limits) && self.rng.chance(500);
            let limits = (self.rng.between(500, 20_000), self.rng.between(500, 12_000));
            let may_cancel = self.scenario.has(Fault::Cancel) && self.rng.chance(400);
            let wait = if self.rng.chance(300) { self.rng.between(0, 20) } else { self.rng.between(0, HORIZON) };
            let asked = match (self.requests.last(), shared && self.rng.chance(500)) {
                (Some(last), true) => last.asked.clone(),
                _ => Asked {
                    service: self.rng.below(2),
                    too_big: self.scenario.has(Fault::TooBig) && self.rng.chance(100),
                    limits: if has_limits { (Some(limits.0), Some(limits.1)) } else { (None, None) },
                    fingerprint: [n as u8; 32],
                },
            };
            self.requests.push(Request {
                asked,
                subject: "owner".into(),
                key,
                accepted: None,
                waits_for: None,
                asked_of: None,
                done: false,
                cancel: may_cancel.then_some(wait),
                cancelled: false,
                seen: 0,
            });
            // In crowds, so that requests share commits and windows.
            let crowd = self.rng.below(3) as Millis * HORIZON / 4;
            self.soon(crowd, crowd + 400, Event::Submit(n));
        }
    }

    pub(crate) fn submit(&mut self, number: usize) {
        let (time, now) = (self.time, self.now());
        let (serves, life) = (self.gateway.is_some(), self.life);
        let id = Uuid::from_u128((u128::from(time as u64) << 80) | u128::from(self.broker.next_number()));
        let request = &mut self.requests[number];
        if request.done || request.waits_for.is_some() {
            return;
        }
        if !serves {
            return self.soon(200, 1_500, Event::Submit(number));
        }
        let mut task = Task::new(id, service(request.asked.service), now);
        task.subject = Some(request.subject.clone());
        (task.wait_limit, task.run_limit) = request.asked.limits;
        let body = Bytes::from_static(if request.asked.too_big { TOO_BIG } else { b"[]" });
        let subject = Some(request.subject.clone());
        let fingerprint = request.asked.fingerprint;
        let key = request.key.clone().map(|key| IdempotencyKey { subject, key, fingerprint });
        request.waits_for = Some(id);
        request.asked_of = Some(life);
        self.note(|| format!("client {number} submits {}", short(id)));
        self.after(PATIENCE, Event::Impatient(number, id));
        self.tell(Input::Submit(Asker::Submit(number, id), Box::new(Accept { task, body, key })));
    }

    /// What the gateway says, as it says it; whether anybody hears it is another matter.
    pub(crate) fn answer(&mut self, asker: Asker, answer: Answer) {
        if let Asker::Slot(service) = asker {
            return self.claim_answered(service, answer);
        }
        if let Asker::Submit(number, offered) = asker {
            let Request { key, asked, asked_of, waits_for, .. } = &mut self.requests[number];
            if *waits_for == Some(offered) {
                *asked_of = None;
            }
            let scope = key.clone().map(|key| (key, asked.fingerprint));
            self.check_answer(offered, scope, &answer);
        }
        if let Answer::Cancelled(task) = &answer {
            self.check_cancelled(task);
        }
        if self.hit(Fault::LostAnswer, 200) {
            return self.count("answer lost");
        }
        self.soon(0, 10, Event::Answered(asker, answer));
    }

    pub(crate) fn answered(&mut self, asker: Asker, answer: Answer) {
        match asker {
            Asker::Submit(number, id) if self.requests[number].waits_for == Some(id) => {
                self.requests[number].waits_for = None;
                self.submitted(number, answer);
            }
            Asker::Cancel(number) => match answer {
                Answer::Cancelled(_) => self.requests[number].cancelled = true,
                Answer::NoTask => self.check.that(false, || format!("client {number} cancels what nobody knows")),
                // It is asked again by and by.
                _ => {}
            },
            _ => {}
        }
    }

    fn submitted(&mut self, number: usize, answer: Answer) {
        let request = &mut self.requests[number];
        match answer {
            Answer::Accepted(id) => {
                (request.accepted, request.done) = (Some(id), true);
                let cancel = request.cancel;
                self.after(0, Event::Poll(number));
                if let Some(wait) = cancel {
                    self.after(wait, Event::Cancel(number));
                }
            }
            Answer::Conflict => request.done = true,
            // Nobody knows: only who has a key may ask again.
            Answer::Unknown(_) if request.key.is_none() => request.done = true,
            _ => self.soon(200, 2_000, Event::Submit(number)),
        }
    }

    /// No answer in time.
    pub(crate) fn impatient(&mut self, number: usize, id: Uuid) {
        let request = &mut self.requests[number];
        if request.waits_for == Some(id) {
            request.waits_for = None;
            let silent = request.asked_of.take();
            request.done = request.key.is_none();
            self.soon(100, 1_000, Event::Submit(number));
            let lives = silent.is_some_and(|life| self.is_running(life));
            self.check.that(!lives, || format!("client {number} was not answered in time"));
        }
    }

    pub(crate) fn cancel(&mut self, number: usize) {
        let Request { asked: Asked { service: of, .. }, accepted: Some(id), cancelled: false, .. } =
            self.requests[number]
        else {
            return;
        };
        // Asked again until it is answered.
        self.after(PATIENCE, Event::Cancel(number));
        self.tell(Input::Cancel(Asker::Cancel(number), id, service(of)));
    }

    pub(crate) fn poll(&mut self, number: usize) {
        let request = &mut self.requests[number];
        let Some(id) = request.accepted else { return };
        let task = self.store.tasks.get(&id).filter(|task| task.subject.as_ref() == Some(&request.subject));
        let Some(task) = task else {
            return self.check.that(false, || format!("{} is not readable by its owner", short(id)));
        };
        let (before, ended) = (request.seen, task.state.is_end() && !task.presumed);
        request.seen = task.seq;
        self.check.that(request.seen >= before, || format!("{} is older than it was", short(id)));
        if !ended && !self.calm() {
            self.soon(200, 3_000, Event::Poll(number));
        }
    }
}
