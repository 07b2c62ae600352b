//! What is concluded from counts and from the latest tasks: rates, ages, service times.

use std::collections::VecDeque;

/// The windows over which arrivals are counted, in seconds, the shortest first.
const WINDOWS: [f64; 6] = [60.0, 150.0, 300.0, 900.0, 1800.0, 3600.0];
/// The window that a rise has to last for.
const LASTING: usize = 2;
/// A shorter window tells of a change if its count is off by so many standard deviations (of a Poisson count).
const CHANGED: f64 = 3.0;
/// Service times that are remembered.
const REMEMBERED: usize = 256;
/// So many make a mean.
const FEW: usize = 3;

/// Arrivals, by the counter of accepted tasks. Times are seconds of any clock that only goes forward.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// Time and count, oldest first; one older than the longest window is kept.
    counts: VecDeque<(f64, u64)>,
}

impl Arrivals {
    /// The counter stood at `count` then.
    pub fn observe(&mut self, at: f64, count: u64) {
        if self.counts.back().is_some_and(|(last, known)| at < *last || count < *known) {
            // Another store, or another clock: what was known of the old one says nothing.
            self.counts.clear();
        }
        self.counts.push_back((at, count));
        let oldest = at - WINDOWS[WINDOWS.len() - 1];
        while self.counts.get(1).is_some_and(|(second, _)| *second <= oldest) {
            self.counts.pop_front();
        }
    }

    /// Arrivals a second, lately: over the longest window that no shorter one belies, so that a steady rate is known well
    /// and a change is seen soon. `None` before there is a second count.
    pub fn rate(&self) -> Option<f64> {
        let (&(first, _), &(now, count)) = (self.counts.front()?, self.counts.back()?);
        if now <= first {
            return None;
        }
        let told = WINDOWS.map(|window| {
            let (since, before) = self.before(now - window);
            (now - since, (count - before) as f64)
        });
        let is_so = |rate: f64, shorter: &[(f64, f64)]| {
            shorter.iter().all(|(span, arrived)| {
                let expected = rate * span;
                (arrived - expected).abs() <= CHANGED * expected.sqrt() + 1.0
            })
        };
        let mut rates = told.iter().enumerate().rev().map(|(at, (span, arrived))| (at, arrived / span));
        let (at, rate) = rates.find(|(at, rate)| is_so(*rate, &told[..*at]))?;
        // A fall is believed at once; a rise has to last, for until then what waits speaks for itself.
        let (span, arrived) = told[LASTING];
        Some(if at < LASTING { rate.min(arrived / span) } else { rate })
    }

    /// The last count that is not younger than `at`, else the oldest.
    fn before(&self, at: f64) -> (f64, u64) {
        let next = self.counts.partition_point(|(time, _)| *time <= at);
        self.counts[next.saturating_sub(1)]
    }

    /// How old the tasks are that still wait, if they are served in order: then they are the last `waiting` that
    /// arrived. Groups, the oldest first: (at most so old, so many). Tasks from before the first count are as old.
    pub fn ages(&self, waiting: u64) -> Vec<(f64, u64)> {
        let Some(&(now, _)) = self.counts.back() else { return Vec::new() };
        let (mut left, mut ages) = (waiting, Vec::new());
        for (older, newer) in self.counts.iter().zip(self.counts.iter().skip(1)).rev() {
            let arrived = (newer.1 - older.1).min(left);
            if arrived > 0 {
                ages.push((now - older.0, arrived));
                left -= arrived;
            }
            if left == 0 {
                break;
            }
        }
        if left > 0
            && let Some(&(first, _)) = self.counts.front()
        {
            ages.push((now - first, left));
        }
        ages.reverse();
        ages
    }
}

/// How long the latest tasks took.
#[derive(Debug, Clone, Default)]
pub struct Times {
    seconds: VecDeque<f64>,
}

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// The mean, in seconds.
    pub mean: f64,
    /// What 95 % did not exceed, in seconds.
    pub p95: f64,
    /// The squared coefficient of variation.
    pub variation: f64,
}

impl Times {
    /// A task took so long; nonsense is left out.
    pub fn observe(&mut self, seconds: f64) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        if self.seconds.len() == REMEMBERED {
            self.seconds.pop_front();
        }
        self.seconds.push_back(seconds);
    }

    /// `None` as long as there are too few.
    pub fn service(&self) -> Option<Service> {
        if self.seconds.len() < FEW {
            return None;
        }
        let count = self.seconds.len() as f64;
        // A task that took no measurable time is one of a millisecond: rates are divided by this.
        let mean = (self.seconds.iter().sum::<f64>() / count).max(0.001);
        let variance = self.seconds.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let mut sorted: Vec<_> = self.seconds.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let p95 = sorted[(sorted.len() * 95).div_ceil(100) - 1];
        Some(Service { mean, p95, variation: variance / (mean * mean) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_steady_rate_is_known_well_and_a_change_is_seen_soon() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.rate(), None);
        for minute in 0..=70 {
            arrivals.observe(60.0 * f64::from(minute), u64::from(minute as u32) * 2);
        }
        assert!((arrivals.rate().unwrap() - 2.0 / 60.0).abs() < 1e-9);
        // Three in a minute are chance, a hundred are not.
        arrivals.observe(4260.0, 143);
        assert!(arrivals.rate().unwrap() < 0.04);
        arrivals.observe(4320.0, 243);
        let risen = arrivals.rate().unwrap();
        assert!(risen > 0.3 && risen < 0.5, "{risen}: a hundred in five minutes, not in one");
        arrivals.observe(4380.0, 243);
        assert!(arrivals.rate().unwrap() <= risen);
        // The store was replaced.
        arrivals.observe(4400.0, 1);
        assert_eq!(arrivals.rate(), None);
    }

    #[test]
    fn what_waits_is_what_came_last() {
        let mut arrivals = Arrivals::default();
        for (at, count) in [(0.0, 10), (30.0, 20), (60.0, 20), (90.0, 23)] {
            arrivals.observe(at, count);
        }
        assert_eq!(arrivals.ages(2), [(30.0, 2)]);
        assert_eq!(arrivals.ages(8), [(90.0, 5), (30.0, 3)]);
        assert_eq!(arrivals.ages(20), [(90.0, 7), (90.0, 10), (30.0, 3)]);
        assert_eq!(arrivals.ages(0), []);
    }

    #[test]
    fn equal_times_do_not_vary() {
        let mut times = Times::default();
        times.observe(f64::NAN);
        times.observe(-1.0);
        times.observe(5.0);
        times.observe(5.0);
        assert_eq!(times.service(), None);
        times.observe(5.0);
        assert_eq!(times.service(), Some(Service { mean: 5.0, p95: 5.0, variation: 0.0 }));
    }

    proptest! {
        #[test]
        fn ages_add_up(steps in proptest::collection::vec((0.1..100.0_f64, 0..50_u64), 1..50), waiting in 0..2000_u64) {
            let (mut arrivals, mut at, mut count) = (Arrivals::default(), 0.0, 0);
            for (wait, more) in steps {
                (at, count) = (at + wait, count + more);
                arrivals.observe(at, count);
            }
            let ages = arrivals.ages(waiting);
            prop_assert_eq!(ages.iter().map(|(_, number)| number).sum::<u64>(), waiting);
            prop_assert!(ages.windows(2).all(|pair| pair[0].0 >= pair[1].0));
            if let Some(rate) = arrivals.rate() {
                prop_assert!(rate >= 0.0 && rate.is_finite());
            }
        }
    }
}
