//! What is counted, and the slots of which there are so many.

use crate::pulse::Pulse;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// What the server counts, since its start. Read it at any time; the numbers are each right, but not of one instant.
#[derive(Debug, Default)]
pub struct Counters {
    busy: Lone<AtomicUsize>,
    connections: AtomicUsize,
    /// Written by one thread each, so that a request's count costs no traffic between cores.
    tallies: Vec<Arc<Tally>>,
    shed: AtomicU64,
    malformed: AtomicU64,
    timed_out: AtomicU64,
    turned_away: AtomicU64,
}

/// Alone on its cache lines: what every request of every thread writes must not slow down its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lone<T>(T);

/// One thread's part of the counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    open: AtomicUsize,
    answered: AtomicU64,
}

impl Counters {
    pub(crate) fn new(threads: usize) -> Self {
        Self { tallies: (0..threads).map(|_| Arc::default()).collect(), ..Self::default() }
    }

    /// Requests that count towards `max_concurrency` now.
    pub fn busy(&self) -> usize {
        self.busy.0.load(Relaxed)
    }

    /// Requests under way now, probes included.
    pub fn open(&self) -> usize {
        self.tallies.iter().map(|tally| tally.open()).sum()
    }

    /// Requests whose answer (ours or the stack's) was handed over whole, refusals included.
    pub fn answered(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.answered.load(Relaxed)).sum()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Requests refused because `max_concurrency` others were under way (503, code 210).
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Requests refused because they were malformed or too large (400, 413). Those that hyper refuses are not in it.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }

    /// Requests to which we had no answer within `request_timeout` (503, code 205).
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Relaxed)
    }

    /// Connections refused because too many were open.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Relaxed)
    }

    pub(crate) fn tally(&self, thread: usize) -> Arc<Tally> {
        Arc::clone(&self.tallies[thread])
    }

    pub(crate) fn count_malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    /// A place among `max` requests at once; `None` (and counted) if there is none.
    pub(crate) fn slot(self: &Arc<Self>, max: usize) -> Option<Slot> {
        if self.busy.0.fetch_add(1, Relaxed) < max {
            Some(Slot(Arc::clone(self)))
        } else {
            self.busy.0.fetch_sub(1, Relaxed);
            self.shed.fetch_add(1, Relaxed);
            None
        }
    }

    /// A place among `max` connections; `None` (and counted) if there is none.
    pub(crate) fn seat(self: &Arc<Self>, max: usize) -> Option<Seat> {
        if self.connections.fetch_add(1, Relaxed) < max {
            Some(Seat(Arc::clone(self)))
        } else {
            self.connections.fetch_sub(1, Relaxed);
            self.turned_away.fetch_add(1, Relaxed);
            None
        }
    }
}

impl Tally {
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }
}

/// A place among the requests at once; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Counters>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.busy.0.fetch_sub(1, Relaxed);
    }
}

/// A place among the connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Counters>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// A request under way, from its head to the last byte of its answer (or to the end of its connection).
#[derive(Debug)]
pub(crate) struct Ticket {
    tally: Arc<Tally>,
    pulse: Arc<Pulse>,
    slot: Option<Slot>,
    answered: bool,
}

impl Ticket {
    pub(crate) fn new(tally: Arc<Tally>, pulse: Arc<Pulse>) -> Self {
        tally.open.fetch_add(1, Relaxed);
        pulse.begin();
        Self { tally, pulse, slot: None, answered: false }
    }

    /// It takes a place; given back with the ticket.
    pub(crate) fn take(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Its answer is on its way to the client.
    pub(crate) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tally.open.fetch_sub(1, Relaxed);
        self.pulse.end();
        if self.answered {
            self.tally.answered.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_bounded_counted_and_given_back() {
        let counters = Arc::new(Counters::new(1));
        let slots: Vec<_> = (0..3).map(|_| counters.slot(2)).collect();
        assert_eq!((slots.iter().flatten().count(), counters.busy(), counters.shed()), (2, 2, 1));
        drop(slots);
        assert_eq!(counters.busy(), 0);
        assert!(counters.slot(2).is_some());
    }

    #[test]
    fn a_ticket_counts_until_it_is_dropped() {
        let counters = Counters::new(2);
        let pulse = Arc::new(Pulse::new());
        let mut ticket = Ticket::new(counters.tally(1), Arc::clone(&pulse));
        assert_eq!((counters.open(), pulse.open()), (1, 1));
        ticket.answered();
        drop(ticket);
        drop(Ticket::new(counters.tally(0), pulse));
        assert_eq!((counters.open(), counters.answered()), (0, 1));
    }
}
