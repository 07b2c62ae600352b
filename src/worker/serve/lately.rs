//! A set that forgets its oldest.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};
use tokio::time::Instant;

/// A set that forgets its oldest. What is put in once more is new again.
pub(crate) struct Lately<T> {
    /// Each with the number of its last entry in `order`; earlier ones count no more.
    held: HashMap<T, u64>,
    order: VecDeque<(u64, Instant, T)>,
    numbers: u64,
}

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self { held: HashMap::new(), order: VecDeque::new(), numbers: 0 }
    }
}

impl<T: Clone + Eq + Hash> Lately<T> {
    pub(crate) fn put(&mut self, item: T, most: usize, keep: Duration) {
        let now = Instant::now();
        self.numbers += 1;
        self.held.insert(item.clone(), self.numbers);
        self.order.push_back((self.numbers, now, item));
        while let Some((number, since, oldest)) = self.order.front() {
            let counts = self.held.get(oldest) == Some(number);
            if counts && self.held.len() <= most && now - *since <= keep {
                break;
            }
            if counts {
                self.held.remove(oldest);
            }
            self.order.pop_front();
        }
        // Rarely: those that count no more and are not the oldest.
        if self.order.len() > 2 * most {
            let held = &self.held;
            self.order.retain(|(number, _, item)| held.get(item) == Some(number));
        }
    }

    pub(crate) fn holds<Q: ?Sized + Eq + Hash>(&self, item: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.held.contains_key(item)
    }

    /// Was it in? It is not any more.
    pub(crate) fn take(&mut self, item: &T) -> bool {
        self.held.remove(item).is_some()
    }

    pub(crate) fn all(&self) -> Vec<T> {
        let counts = |entry: &&(u64, Instant, T)| self.held.get(&entry.2) == Some(&entry.0);
        self.order.iter().filter(counts).map(|(_, _, item)| item.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_are_forgotten() {
        let mut lately = Lately::default();
        let keep = Duration::from_secs(10);
        for n in 0..5 {
            lately.put(n, 3, keep);
        }
        lately.put(3, 3, keep);
        assert_eq!(lately.all(), [2, 4, 3]);
        assert!(lately.holds(&2) && !lately.holds(&1));
        assert!(lately.take(&3) && !lately.take(&3));
        // Told again in time, it is remembered from then on.
        tokio::time::advance(Duration::from_secs(6)).await;
        lately.put(2, 3, keep);
        tokio::time::advance(Duration::from_secs(6)).await;
        lately.put(9, 3, keep);
        assert_eq!(lately.all(), [2, 9]);
        for _ in 0..100 {
            lately.put(9, 3, keep);
        }
        assert_eq!(lately.all(), [2, 9]);
        assert!(lately.order.len() <= 7, "what counts no more takes no room for ever");
    }
}
