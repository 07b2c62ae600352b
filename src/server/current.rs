//! The stack in use.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// The stack in use: what a reload replaces. Clones are handles of the same one.
///
/// A connection keeps a clone of the stack and asks before *each request* whether there is a newer one (one atomic
/// load): after [`Current::replace`] every request that begins is answered by the new stack, also on connections that
/// are open, and requests under way end on the old one. An idle connection holds its old clone until its next request
/// or until it is closed.
#[derive(Debug)]
pub struct Current<S> {
    slot: Arc<Slot<S>>,
}

#[derive(Debug)]
struct Slot<S> {
    generation: AtomicU64,
    stack: Mutex<S>,
}

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self { slot: Arc::clone(&self.slot) }
    }
}

impl<S: Clone> Current<S> {
    /// Starts with `stack`.
    pub fn new(stack: S) -> Self {
        Self { slot: Arc::new(Slot { generation: AtomicU64::new(0), stack: Mutex::new(stack) }) }
    }

    /// Puts `stack` in the place of the one before, for every request that begins from now on.
    pub fn replace(&self, stack: S) {
        let before = {
            // A panic in `S::clone` leaves the stack as it was: it is still good.
            let mut slot = self.slot.stack.lock().unwrap_or_else(PoisonError::into_inner);
            self.slot.generation.fetch_add(1, Ordering::Release);
            std::mem::replace(&mut *slot, stack)
        };
        drop(before); // outside the lock: it may close things
    }

    /// A clone of the stack in use.
    pub(crate) fn hold(&self) -> Held<S> {
        let stack = self.slot.stack.lock().unwrap_or_else(PoisonError::into_inner);
        Held { generation: self.slot.generation.load(Ordering::Acquire), stack: stack.clone() }
    }

    /// Was it replaced since `held` was cloned?
    pub(crate) fn is_newer(&self, held: &Held<S>) -> bool {
        self.slot.generation.load(Ordering::Acquire) != held.generation
    }
}

/// A connection's own clone of the stack.
#[derive(Debug)]
pub(crate) struct Held<S> {
    generation: u64,
    pub(crate) stack: S,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_stack_is_noticed_once() {
        let current = Current::new("old");
        let held = current.hold();
        assert!(!current.is_newer(&held));
        current.clone().replace("new");
        assert!(current.is_newer(&held));
        let held = current.hold();
        assert_eq!(held.stack, "new");
        assert!(!current.is_newer(&held));
    }
}
