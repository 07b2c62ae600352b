//! Which of the confirmed messages came back: the rule.
//!
//! RabbitMQ returns an unroutable message and then confirms it like any other. lapin attaches a returned message not to
//! its own confirm but to whichever completes next: first in, first out. So a confirm may carry another's return, and its
//! own may be carried by one that completes later. What can be relied on:
//!
//! - a message's return arrives before its own confirm;
//! - every confirm that completes takes the oldest waiting return, if any waits.
//!
//! Follow the returns from a confirm: the one it carries, the one which *that* message's confirm carries, and so on. When
//! the chain ends at a confirm that carries nothing, no return was waiting at that moment, so all returns that had
//! arrived were carried by confirms completed before, and those of every message on the chain had arrived. Hence: a
//! message named by any return is unroutable; another one is routed as soon as its chain ends, and not before.

use std::collections::HashMap;
use uuid::Uuid;

/// How many confirms are remembered for the sake of a return whose message is never confirmed. (A broker never does that.)
const MOST: usize = 10_000;

/// The confirms of one channel, decided together. Ids are those of messages (`message_id`); an id that is published again
/// while an earlier publication of it is still unconfirmed shares its fate.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Messages that some return names, and the broker's words.
    returned: HashMap<Uuid, String>,
    /// Completed confirms, and whose return each carried.
    carried: HashMap<Uuid, Option<Uuid>>,
    /// Completed, not yet decided: key and id.
    held: Vec<(u64, Uuid)>,
}

/// A message that came back, and the broker's words.
pub(crate) type Return = (Uuid, String);

impl Ledger {
    /// A confirm has completed. `key` is given back by [`Ledger::decide`].
    pub(crate) fn completed(&mut self, key: u64, id: Uuid, carries: Option<Return>) {
        self.note(id, carries);
        self.held.push((key, id));
    }

    /// A confirm has completed that needs no decision (the broker refused the message); it may still carry a return.
    pub(crate) fn note(&mut self, id: Uuid, carries: Option<Return>) {
        let whose = carries.as_ref().map(|(whose, _)| *whose);
        self.returned.extend(carries);
        self.carried.insert(id, whose);
    }

    /// Decides what can be decided, once every confirm that is ready has been told: key, and the broker's words for a
    /// message that came back.
    pub(crate) fn decide(&mut self) -> Vec<(u64, Option<String>)> {
        let mut decided = Vec::with_capacity(self.held.len());
        let held = std::mem::take(&mut self.held);
        for (key, id) in held {
            match self.returned.get(&id) {
                Some(words) => decided.push((key, Some(words.clone()))),
                None if self.chain_ends(id) => decided.push((key, None)),
                None => self.held.push((key, id)),
            }
        }
        let all_named_are_completed = || self.returned.keys().all(|id| self.carried.contains_key(id));
        if self.held.is_empty() && (self.carried.len() > MOST || all_named_are_completed()) {
            // Every chain has ended: no later confirm can refer to these.
            self.returned.clear();
            self.carried.clear();
        }
        decided
    }

    /// Stops waiting for a decision (its deadline has passed). Was one awaited?
    pub(crate) fn forget(&mut self, key: u64) -> bool {
        let before = self.held.len();
        self.held.retain(|(held, _)| *held != key);
        self.held.len() < before
    }

    fn chain_ends(&self, mut id: Uuid) -> bool {
        // A chain visits each completed confirm at most once; longer means a circle, which only a doubled id could make.
        for _ in 0..=self.carried.len() {
            match self.carried.get(&id) {
                None => return false,
                Some(None) => return true,
                Some(Some(next)) => id = *next,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashSet, VecDeque};

    fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128 + 1)
    }

    /// A channel as broker and lapin make it: which confirms complete in which order, and whose return each carries.
    fn channel(unroutable: &[bool], mut choose: impl FnMut(usize) -> usize) -> Vec<(usize, Option<usize>)> {
        let (mut next, mut unconfirmed) = (0, Vec::new());
        let (mut waiting, mut completed) = (VecDeque::new(), Vec::new());
        while completed.len() < unroutable.len() {
            if next < unroutable.len() && (unconfirmed.is_empty() || choose(3) > 0) {
                if unroutable[next] {
                    waiting.push_back(next);
                }
                unconfirmed.push(next);
                next += 1;
                continue;
            }
            // One confirm, or one for all up to a tag; lapin completes the latter in any order.
            let upto = choose(unconfirmed.len());
            let mut group = if choose(2) == 0 { vec![upto] } else { (0..=upto).collect() };
            let mut tags = Vec::new();
            while !group.is_empty() {
                tags.push(unconfirmed[group.remove(choose(group.len()))]);
            }
            for tag in tags {
                unconfirmed.retain(|t| *t != tag);
                completed.push((tag, waiting.pop_front()));
            }
        }
        completed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Looked at after any prefix, each message is decided rightly, and in the end each is decided.
        #[test]
        fn the_rule_is_exact(
            unroutable in proptest::collection::vec(any::<bool>(), 1..40),
            choices in proptest::collection::vec(any::<usize>(), 400),
            looks in proptest::collection::vec(1usize..8, 40),
        ) {
            let mut choices = choices.into_iter().cycle();
            let mut choose = |n: usize| choices.next().map_or(0, |c| c % n);
            let completed = channel(&unroutable, &mut choose);
            let (mut ledger, mut seen, mut decided) = (Ledger::default(), 0_usize, HashSet::new());
            for look in looks.into_iter().chain([usize::MAX]) {
                let until = seen.max(completed.len().min(seen.saturating_add(look)));
                let mut ready: Vec<_> = completed[seen..until].to_vec();
                seen = until;
                while !ready.is_empty() {
                    let (tag, carries) = ready.remove(choose(ready.len()));
                    ledger.completed(tag as u64, id(tag), carries.map(|c| (id(c), "NO_ROUTE".to_owned())));
                }
                for (key, words) in ledger.decide() {
                    prop_assert_eq!(words.is_some(), unroutable[key as usize], "message {}", key);
                    prop_assert!(decided.insert(key));
                }
            }
            prop_assert_eq!(decided.len(), unroutable.len());
            prop_assert!(ledger.carried.is_empty() && ledger.returned.is_empty());
        }
    }

    #[test]
    fn a_chain_of_returns_is_followed_to_its_end() {
        let mut ledger = Ledger::default();
        let back = |n| Some((id(n), "NO_ROUTE".to_owned()));
        // 1, 2 and 3 came back, in this order; 3's confirm completed first and took 1's return, 1's took 2's.
        ledger.completed(3, id(3), back(1));
        assert_eq!(ledger.decide(), []);
        ledger.completed(1, id(1), back(2));
        assert_eq!(ledger.decide(), [(1, Some("NO_ROUTE".to_owned()))]);
        // Only 2's confirm tells that 3 came back too.
        ledger.completed(2, id(2), back(3));
        assert_eq!(ledger.decide(), [(3, Some("NO_ROUTE".to_owned())), (2, Some("NO_ROUTE".to_owned()))]);
        assert!(ledger.carried.is_empty());
    }

    #[test]
    fn a_confirm_nobody_waits_for_any_more_is_still_of_use() {
        let mut ledger = Ledger::default();
        ledger.completed(2, id(2), Some((id(1), "NO_ROUTE".to_owned())));
        assert_eq!(ledger.decide(), []);
        assert!(ledger.forget(2) && !ledger.forget(2));
        assert_eq!(ledger.decide(), []);
        ledger.completed(1, id(1), None);
        assert_eq!(ledger.decide(), [(1, Some("NO_ROUTE".to_owned()))]);
    }
}
