//! What was learnt, could not be written and must not be forgotten: it rests, and is then written before all that was
//! learnt later of the same tasks. The order counts: a start that is written after its end would be another run.

use crate::{Fact, Millis, Report, Write, engine::Origin};
use std::collections::HashSet;
use uuid::Uuid;

/// How long it rests after a commit that was not written.
pub(crate) const AGAIN: Millis = 1_000;

/// Receipts kept for one thing learnt: the older ones are of connections that are gone.
const RECEIPTS: usize = 8;

/// Bounded by whoever waits for receipts, however often each tells the same.
#[derive(Debug)]
pub(crate) struct Resting<C, R> {
    writes: Vec<(Write, Origin<C, R>)>,
    tasks: HashSet<Uuid>,
    until: Option<Millis>,
}

impl<C, R> Default for Resting<C, R> {
    fn default() -> Self {
        Self { writes: Vec::new(), tasks: HashSet::new(), until: None }
    }
}

impl<C, R> Resting<C, R> {
    /// Does something of this task rest? Then what follows has to wait behind it.
    pub(crate) fn holds(&self, task: Uuid) -> bool {
        self.tasks.contains(&task)
    }

    /// Keeps it, at the end; or, told again, where it rests already.
    pub(crate) fn put(&mut self, now: Millis, task: Uuid, (write, mut origin): (Write, Origin<C, R>)) {
        if !self.tasks.insert(task) && self.is_told_again(&mut origin) {
            return;
        }
        self.until.get_or_insert(now + AGAIN);
        self.writes.push((write, origin));
    }

    /// While the store is away, the broker delivers the same at each new connection, and the sweeper finds the same.
    fn is_told_again(&mut self, told: &mut Origin<C, R>) -> bool {
        let Origin::Heard(task, fact, again) = told else { return false };
        let known = self.writes.iter_mut().find_map(|(_, origin)| match origin {
            Origin::Heard(id, known, receipts) if id == task && is_same(known, fact) => Some(receipts),
            _ => None,
        });
        let Some(receipts) = known else { return false };
        receipts.append(again);
        receipts.drain(..receipts.len().saturating_sub(RECEIPTS));
        true
    }

    /// All of it, in its order, once it has rested.
    pub(crate) fn rested(&mut self, now: Millis) -> Vec<(Write, Origin<C, R>)> {
        if self.until.is_some_and(|until| until <= now) { self.take() } else { Vec::new() }
    }

    /// All of it at once.
    pub(crate) fn take(&mut self) -> Vec<(Write, Origin<C, R>)> {
        self.tasks.clear();
        self.until = None;
        std::mem::take(&mut self.writes)
    }

    pub(crate) fn due(&self) -> Option<Millis> {
        self.until
    }

    pub(crate) fn clock_set_back(&mut self, back: Millis) {
        self.until = self.until.map(|until| until - back);
    }

    pub(crate) fn len(&self) -> usize {
        self.writes.len()
    }

    pub(crate) fn writes(&self) -> impl Iterator<Item = &Write> {
        self.writes.iter().map(|(write, _)| write)
    }
}

/// Is it the same, told once more? What a worker says twice in the same words counts twice, unless it was delivered
/// twice.
fn is_same(known: &Fact, told: &Fact) -> bool {
    match (known, told) {
        (Fact::Heard(known), Fact::Heard(told)) => {
            told.redelivered && *known == Report { redelivered: known.redelivered, ..told.clone() }
        }
        _ => known == told,
    }
}
