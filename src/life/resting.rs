//! What was learnt, could not be written and must not be forgotten: it rests, and is then written before all that was
//! learnt later of the same tasks. The order counts: a start that is written after its end would be another run.

use crate::{Millis, Write, engine::Origin};
use std::collections::HashSet;
use uuid::Uuid;

/// How long it rests after a commit that was not written.
pub(crate) const AGAIN: Millis = 1_000;

/// Bounded by whoever waits for receipts.
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

    /// Keeps it, at the end.
    pub(crate) fn put(&mut self, now: Millis, task: Uuid, (write, origin): (Write, Origin<C, R>)) {
        self.tasks.insert(task);
        self.until.get_or_insert(now + AGAIN);
        self.writes.push((write, origin));
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
