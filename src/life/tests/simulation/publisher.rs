//! The publishing connection, as lapin and `src/amqp` behave: confirms may come late, many at once and in any order, and
//! a returned message is attached to whichever confirm completes next.

use crate::{
    broker::{Message, Origin, Verdict, Written},
    scenario::{Fault, PUBLISH_TIMEOUT, Plant},
    words::short,
    world::{Event, World, number},
};
use gateway_life::{Fate, Publish};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

/// The body of a message that can never be sent.
pub(crate) const TOO_BIG: &[u8] = b"too big";

#[derive(Debug)]
struct Flight {
    id: Uuid,
    /// The engine was told its fate.
    told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Of the connection; 0 while there is none.
    pub(crate) epoch: u32,
    flights: BTreeMap<u64, Flight>,
    next: u64,
    ledger: Ledger,
}

/// Which confirmed publications came back (the rule of `src/amqp/returns.rs`): one that any return names is unroutable;
/// another is routed once the chain of returns that begins at its confirm has ended. Here a return names its publication;
/// a task's id alone would not tell one from another that is still unconfirmed.
#[derive(Debug, Default)]
struct Ledger {
    returned: BTreeSet<u64>,
    carried: BTreeMap<u64, Option<u64>>,
    held: Vec<u64>,
}

impl Ledger {
    fn decide(&mut self) -> Vec<(u64, bool)> {
        let held = std::mem::take(&mut self.held);
        let (ready, wait) = held.into_iter().partition(|one| self.returned.contains(one) || self.chain_ends(*one));
        self.held = wait;
        let ready: Vec<u64> = ready;
        let decided = ready.into_iter().map(|flight| (flight, self.returned.contains(&flight))).collect();
        if self.held.is_empty() && self.returned.iter().all(|one| self.carried.contains_key(one)) {
            self.returned.clear();
            self.carried.clear();
        }
        decided
    }

    fn chain_ends(&self, mut flight: u64) -> bool {
        for _ in 0..=self.carried.len() {
            match self.carried.get(&flight) {
                None => return false,
                Some(None) => return true,
                Some(Some(next)) => flight = *next,
            }
        }
        true
    }
}

impl World {
    pub(crate) fn connect(&mut self) {
        let life = self.life;
        if !self.broker.up {
            return self.soon(200, 1_000, Event::Connect(life));
        }
        let epoch = self.broker.next_epoch();
        self.broker.publish = epoch;
        let Some(gateway) = &mut self.gateway else { return };
        gateway.publisher.epoch = epoch;
        self.tell(gateway_life::Input::Connected);
        self.want_all(0);
    }

    /// The next publication is written to the socket.
    pub(crate) fn send(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let Some(Publish { message, attempt, .. }) = gateway.publications.pop_front() else { return };
        let id = message.id;
        let body = message.body.or_else(|| self.store.outbox.get(&id).map(|row| row.body.clone()));
        let Some(body) = body else { return self.landed(id, Fate::NotSent) };
        if body == TOO_BIG {
            return self.landed(id, Fate::Refused("too big".into()));
        }
        let (life, epoch) = (gateway.life, gateway.publisher.epoch);
        if epoch == 0 {
            return self.landed(id, Fate::NotSent);
        }
        gateway.publisher.next += 1;
        let flight = gateway.publisher.next;
        gateway.publisher.flights.insert(flight, Flight { id, told: false });
        self.broker.wire.push_back(Written { flight, id, service: number(&message.service), attempt });
        self.soon(0, 5, Event::Arrive(epoch));
        if self.scenario.has(Fault::LateConfirm) {
            self.after(PUBLISH_TIMEOUT, Event::Impatience(life, flight));
        }
    }

    /// The next message on the wire reaches the broker.
    pub(crate) fn arrive(&mut self, epoch: u32) {
        if self.broker.publish != epoch {
            return;
        }
        let Some(written) = self.broker.wire.pop_front() else { return };
        let verdict = self.route(written);
        self.broker.unconfirmed.push((written.flight, written.id, verdict));
        if self.strikes("died while a confirm was on its way") {
            return;
        }
        let late = self.hit(Fault::LateConfirm, 150);
        let (low, high) = if late { (2_000, 9_000) } else { (0, 25) };
        self.soon(low, high, Event::Confirms(epoch));
    }

    fn route(&mut self, Written { flight, id, service, attempt }: Written) -> Verdict {
        if self.hit(Fault::Nack, 80) {
            self.count("nack");
            return Verdict::Nack;
        }
        if !self.broker.queues[service].exists {
            self.broker.returns.push_back(flight);
            self.count("unroutable");
            return Verdict::Returned;
        }
        let number = self.broker.next_number();
        self.arrived(id);
        self.enqueue(Message {
            id,
            service,
            number,
            attempt,
            origin: Origin::Gateway,
            redelivered: false,
            confirmed: false,
        });
        Verdict::Queued(number)
    }

    /// The broker confirms one message, or all that it has.
    pub(crate) fn confirms(&mut self, epoch: u32) {
        if self.broker.publish != epoch || self.broker.unconfirmed.is_empty() {
            return;
        }
        let all = self.rng.chance(400);
        let mut completed = Vec::new();
        while !self.broker.unconfirmed.is_empty() && (all || completed.is_empty()) {
            let at = self.rng.below(self.broker.unconfirmed.len());
            let (flight, id, verdict) = self.broker.unconfirmed.remove(at);
            if let Verdict::Queued(number) = verdict {
                self.broker.confirmed(number);
            }
            let carries = self.broker.returns.pop_front();
            if carries.is_some_and(|carries| carries != flight) {
                self.count("a confirm carried another's return");
            }
            self.note(|| {
                let carries = carries.map(|other| format!(", carries the return of {other}")).unwrap_or_default();
                format!("confirm {flight} of {}: {verdict:?}{carries}", short(id))
            });
            completed.push((flight, verdict, carries));
        }
        for (flight, fate) in self.decide(completed) {
            self.tell_fate(flight, fate);
        }
    }

    fn decide(&mut self, completed: Vec<(u64, Verdict, Option<u64>)>) -> Vec<(u64, Fate)> {
        let plant = self.scenario.plant;
        let Some(gateway) = &mut self.gateway else { return Vec::new() };
        let (ledger, mut fates) = (&mut gateway.publisher.ledger, Vec::new());
        let fate = |returned| if returned { Fate::Unroutable("NO_ROUTE".into()) } else { Fate::Sent };
        for (flight, verdict, carries) in completed {
            ledger.returned.extend(carries);
            ledger.carried.insert(flight, carries);
            match (verdict, plant) {
                (Verdict::Nack, _) => fates.push((flight, Fate::Unknown("nack".into()))),
                (_, Some(Plant::ReturnByOrder)) => fates.push((flight, fate(carries.is_some()))),
                (_, Some(Plant::ReturnTooSoon)) => fates.push((flight, fate(ledger.returned.contains(&flight)))),
                _ => ledger.held.push(flight),
            }
        }
        fates.extend(ledger.decide().into_iter().map(|(flight, returned)| (flight, fate(returned))));
        fates
    }

    /// Once for each flight; what comes after its deadline is dropped.
    fn tell_fate(&mut self, flight: u64, fate: Fate) {
        let Some(gateway) = &mut self.gateway else { return };
        let Some(Flight { id, told }) = gateway.publisher.flights.remove(&flight) else { return };
        if !told {
            self.landed(id, fate);
        }
    }

    pub(crate) fn publish_timeout(&mut self, flight: u64) {
        let Some(gateway) = &mut self.gateway else { return };
        let Some(known) = gateway.publisher.flights.get_mut(&flight) else { return };
        if !std::mem::replace(&mut known.told, true) {
            let id = known.id;
            self.count("confirm after its deadline");
            self.landed(id, Fate::Unknown("no confirm in time".into()));
        }
    }

    /// The connection is lost: of what is on the wire the broker gets a beginning, and nothing more is confirmed.
    pub(crate) fn publisher_died(&mut self, epoch: u32) {
        if epoch == 0 || self.broker.publish != epoch {
            return;
        }
        let arrive = self.rng.below(self.broker.wire.len() + 1);
        let wire: VecDeque<_> = self.broker.wire.drain(..).collect();
        for (at, written) in wire.into_iter().enumerate() {
            if at >= arrive {
                self.count("lost on the wire");
            } else if self.broker.up {
                self.route(written);
            }
        }
        if self.broker.unconfirmed.iter().any(|(_, _, verdict)| matches!(verdict, Verdict::Queued(_))) {
            self.count("confirm lost");
        }
        self.broker.unconfirmed.clear();
        self.broker.returns.clear();
        self.broker.publish = 0;
    }

    pub(crate) fn publisher_lost(&mut self) {
        let Some(gateway) = &mut self.gateway else { return };
        let publisher = std::mem::take(&mut gateway.publisher);
        // Numbers go on: an event that names a flight of before must not meet another.
        gateway.publisher.next = publisher.next;
        let life = gateway.life;
        self.publisher_died(publisher.epoch);
        for Flight { id, told } in publisher.flights.into_values() {
            if !told {
                self.landed(
                    id,
                    match self.scenario.plant {
                        Some(Plant::LostMeansUnsent) => Fate::NotSent,
                        _ => Fate::Unknown("connection lost".into()),
                    },
                );
            }
        }
        if publisher.epoch != 0 {
            self.soon(100, 1_500, Event::Connect(life));
        }
    }
}
