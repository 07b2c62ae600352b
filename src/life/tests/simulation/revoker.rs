//! Tells workers of cancels, as `src/broker/amqp/revoke.rs` does: workers remember them in memory only.

use crate::{
    scenario::Plant,
    world::{Event, World},
};
use gateway_life::{CANCELLED, Millis, State, Task};
use std::collections::BTreeMap;
use uuid::Uuid;

/// One task is not told more often.
const PAUSE: Millis = 5_000;
/// A worker says that it is online before it listens.
const SETTLING: Millis = 3_000;

#[derive(Debug, Default)]
struct Told {
    last: Option<Millis>,
    next: Option<Millis>,
}

#[derive(Debug, Default)]
pub(crate) struct Revoker(BTreeMap<Uuid, Told>);

impl World {
    pub(crate) fn remember_revoked(&mut self) {
        let cancelled = |task: &&Task| task.state == State::Revoked || task.note.as_deref() == Some(CANCELLED);
        let revoked = self.store.tasks.values().filter(cancelled).map(|task| task.id);
        let told = revoked.map(|id| (id, Told::default())).collect();
        if let Some(gateway) = &mut self.gateway {
            gateway.revoker = Revoker(told);
        }
    }

    pub(crate) fn revoke(&mut self, id: Uuid) {
        let time = self.time;
        let Some(gateway) = &mut self.gateway else { return };
        let told = gateway.revoker.0.entry(id).or_default();
        if self.scenario.plant == Some(Plant::RevokeOnce) && (told.last.is_some() || told.next.is_some()) {
            return;
        }
        let at = told.last.map_or(time, |last| time.max(last + PAUSE));
        told.next = Some(told.next.map_or(at, |next| next.min(at)));
        let life = gateway.life;
        self.after(at - time, Event::Broadcast(life));
    }

    /// A worker came online: it may have missed what was told before.
    pub(crate) fn tell_all_again(&mut self) {
        self.want_all(SETTLING);
    }

    pub(crate) fn want_all(&mut self, wait: Millis) {
        let at = self.time + wait;
        let Some(gateway) = &mut self.gateway else { return };
        if gateway.revoker.0.is_empty() || self.scenario.plant == Some(Plant::RevokeOnce) {
            return;
        }
        for told in gateway.revoker.0.values_mut() {
            let at = told.last.map_or(at, |last| at.max(last + PAUSE));
            told.next = Some(told.next.map_or(at, |next| next.min(at)));
        }
        let life = gateway.life;
        self.after(wait, Event::Broadcast(life));
        self.after(wait + PAUSE, Event::Broadcast(life));
    }

    pub(crate) fn broadcast(&mut self) {
        let (time, up) = (self.time, self.broker.up);
        let Some(gateway) = &mut self.gateway else { return };
        let mut due = Vec::new();
        for (id, told) in &mut gateway.revoker.0 {
            if told.next.is_some_and(|next| next <= time) {
                // While the broker is away nobody is told; all are when it is back.
                *told = Told { last: up.then_some(time), next: None };
                due.push(*id);
            }
        }
        if !up {
            return;
        }
        for id in due {
            for worker in 0..self.workers.len() {
                if let Some(epoch) = self.workers[worker].listens() {
                    self.soon(1, 20, Event::RevokeArrives(worker, epoch, id));
                }
            }
        }
    }
}
