//! May messages be published, and are those at hand still this gateway's?
//!
//! Where several gateways share a store, each publishes the messages that it owns while it holds its lease. A gateway
//! whose lease was over may have lost messages to another; and what waited long may have been settled through another.
//! So before it goes on it compares what it has at hand with the store.

use crate::{
    Engine, Fact, Millis, Write,
    outbox::{Outbox, Waiting},
};
use std::collections::HashSet;
use uuid::Uuid;

/// How soon a comparison that failed is tried again.
const AGAIN: Millis = 1_000;

#[derive(Debug)]
pub(crate) struct Reload {
    /// The present term of the lease; `None`: it is over.
    term: Option<u64>,
    /// The last term in which messages were ours.
    known: u64,
    /// Not before.
    wanted: Option<Millis>,
    /// The messages that were at hand when the comparison under way began.
    running: Option<HashSet<Uuid>>,
}

impl Default for Reload {
    fn default() -> Self {
        Self { term: Some(0), known: 0, wanted: None, running: None }
    }
}

impl Reload {
    pub(crate) fn lease(&mut self, now: Millis, term: Option<u64>) {
        self.term = term;
        if let Some(term) = term
            && term != self.known
        {
            self.known = term;
            self.want(now);
        }
    }

    pub(crate) fn want(&mut self, now: Millis) {
        self.wanted = Some(now);
    }

    /// The term in which messages may be published now.
    pub(crate) fn term(&self) -> Option<u64> {
        let certain = self.wanted.is_none() && self.running.is_none();
        self.term.filter(|_| certain)
    }

    /// Begins a comparison if one is due; `at_hand` is what has to be compared.
    pub(crate) fn begin(&mut self, now: Millis, at_hand: impl FnOnce() -> HashSet<Uuid>) -> bool {
        let due = self.running.is_none() && self.wanted.is_some_and(|wanted| wanted <= now);
        if due {
            self.wanted = None;
            self.running = Some(at_hand());
        }
        due
    }

    pub(crate) fn clock_set_back(&mut self, back: Millis) {
        self.wanted = self.wanted.map(|wanted| wanted - back);
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.running.is_some()
    }

    /// When [`Reload::begin`] has to be called next.
    pub(crate) fn due(&self) -> Option<Millis> {
        self.wanted.filter(|_| self.running.is_none())
    }
}

impl<C, R> Engine<C, R> {
    /// Keeps what is still ours, drops what is not, and takes up what is ours and was not at hand.
    pub(crate) fn reloaded(&mut self, now: Millis, found: Result<Vec<Waiting>, Box<str>>) {
        let Some(at_hand) = self.reload.running.take() else { return };
        let Ok(found) = found else {
            self.reload.wanted.get_or_insert(now + AGAIN);
            return;
        };
        let ours: HashSet<Uuid> = found.iter().map(|message| message.id).collect();
        for id in at_hand.difference(&ours) {
            self.outbox.remove(*id);
        }
        // Already with the broker: the store is about to be told.
        let unwritten = self.queued.iter().map(|(write, _)| write).chain(self.resting.writes());
        let sent: HashSet<Uuid> = unwritten.filter_map(settles).collect();
        for message in found.into_iter().filter(|message| !sent.contains(&message.id)) {
            restore(&mut self.outbox, message);
        }
        self.admit_held();
    }
}

fn settles(write: &Write) -> Option<Uuid> {
    match write {
        Write::Apply { id, fact: Fact::Sent { .. } | Fact::Refused(_), .. } => Some(*id),
        _ => None,
    }
}

/// A message that is ours and not at hand may have been published. Only the first time is not written down before.
fn restore(outbox: &mut Outbox, message: Waiting) {
    let attempts = message.attempts.max(1);
    outbox.restore(Waiting { attempts, ..message });
}
