//! How long tasks wait for one of `n` slots (Erlang's delay formula), and how many slots keep that wait short.
//!
//! Tasks arrive at random at rate λ and take S on average; the *load* a = λ·S is the mean number of busy slots. With
//! n > a slots a task has to wait with probability C(n, a), and longer than t with probability
//!
//! ```text
//! P(wait > t) = C(n, a) · exp(−(n − a) · t / S′),     S′ = S · (1 + c²) / 2
//! ```
//!
//! exactly so where service times are exponential (c² = 1). c² is their squared coefficient of variation: by Kingman and
//! by Allen and Cunneen, the wait for n slots is longer by (1 + c²)/2 where they vary more, and shorter where less.
//! For large a this is square-root staffing: n ≈ a + β·√a.

/// The probability that a task has to wait (Erlang C), for `load` = arrival rate · mean service time. 1 where the load
/// is not below `slots`.
pub fn wait_probability(slots: u32, load: f64) -> f64 {
    if load <= 0.0 {
        return 0.0;
    }
    if f64::from(slots) <= load {
        return 1.0;
    }
    // Erlang B by its recursion, which neither overflows nor cancels; from it Erlang C.
    let mut blocked = 1.0;
    for n in 1..=slots {
        blocked = load * blocked / (f64::from(n) + load * blocked);
    }
    let n = f64::from(slots);
    n * blocked / (n - load * (1.0 - blocked))
}

/// What slots are up against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Arrival rate · mean service time.
    pub load: f64,
    /// Mean service time, in seconds.
    pub service: f64,
    /// Squared coefficient of variation of service times: 0 if all are equal, 1 if exponential.
    pub variation: f64,
}

impl Work {
    /// How service times' spread stretches the wait: S′.
    fn stretched(&self) -> f64 {
        self.service * f64::midpoint(1.0, self.variation)
    }

    /// The share of tasks that wait longer than `limit` seconds for one of `slots`.
    pub fn late(&self, slots: u32, limit: f64) -> f64 {
        let spare = f64::from(slots) - self.load;
        if spare <= 0.0 {
            return if self.load > 0.0 { 1.0 } else { 0.0 };
        }
        wait_probability(slots, self.load) * (-spare * limit / self.stretched().max(f64::MIN_POSITIVE)).exp()
    }

    /// The mean wait, in seconds; `None` where the queue only grows.
    pub fn mean_wait(&self, slots: u32) -> Option<f64> {
        let spare = f64::from(slots) - self.load;
        (spare > 0.0).then(|| wait_probability(slots, self.load) * self.stretched() / spare)
    }

    /// The fewest slots with which at most `late` of the tasks wait longer than `limit` seconds; at most `most`.
    pub fn slots(&self, limit: f64, late: f64, most: u32) -> u32 {
        if self.load <= 0.0 {
            return 0;
        }
        // Below the load the queue only grows. Above it, more slots never wait longer: bisection.
        let mut low = (self.load.floor().min(f64::from(most)) as u32).saturating_add(1).min(most);
        let mut high = low;
        while high < most && self.late(high, limit) > late {
            low = high + 1;
            high = high.saturating_add((high - self.load.floor().min(f64::from(high)) as u32).max(1)).min(most);
        }
        while low < high {
            let middle = u32::midpoint(low, high);
            if self.late(middle, limit) > late { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_formula_gives_the_textbook_s_values() {
        // Tables of Erlang C: one slot waits with its utilisation; 10 slots, 8 Erlang: 0.4092; 3 slots, 2 Erlang: 4/9.
        assert!((wait_probability(1, 0.7) - 0.7).abs() < 1e-12);
        assert!((wait_probability(3, 2.0) - 4.0 / 9.0).abs() < 1e-12);
        assert!((wait_probability(10, 8.0) - 0.4092).abs() < 1e-4);
        assert_eq!((wait_probability(3, 3.0), wait_probability(3, 0.0)), (1.0, 0.0));
    }

    #[test]
    fn large_loads_take_the_square_root_more() {
        // Nobody waits at all, for 95 %: β is about 1.4 for a delay probability of 0.05 (Halfin and Whitt).
        let work = Work { load: 10_000.0, service: 60.0, variation: 1.0 };
        let spare = f64::from(work.slots(0.0, 0.05, 1_000_000)) - work.load;
        assert!((1.0..2.0).contains(&(spare / work.load.sqrt())), "{spare}");
    }

    proptest! {
        #[test]
        fn slots_are_enough_and_no_more(
            load in 0.01..500.0_f64, service in 0.1..1000.0_f64, variation in 0.0..5.0_f64, limit in 0.0..1000.0_f64,
        ) {
            let work = Work { load, service, variation };
            let slots = work.slots(limit, 0.05, 100_000);
            prop_assert!(work.late(slots, limit) <= 0.05);
            prop_assert!(f64::from(slots) > load);
            let fewer = f64::from(slots) - 1.0;
            prop_assert!(fewer <= load || work.late(slots - 1, limit) > 0.05);
        }

        #[test]
        fn more_slots_never_wait_longer(load in 0.01..100.0_f64, slots in 1..200_u32, limit in 0.0..100.0_f64) {
            let work = Work { load, service: 10.0, variation: 1.0 };
            prop_assert!(work.late(slots + 1, limit) <= work.late(slots, limit) + 1e-12);
            prop_assert!((0.0..=1.0).contains(&wait_probability(slots, load)));
        }

        #[test]
        fn nothing_makes_it_panic(load in any::<f64>(), service in any::<f64>(), most in 0..2000_u32) {
            let work = Work { load, service, variation: 1.0 };
            prop_assert!(work.slots(1.0, 0.05, most) <= most);
        }
    }
}
