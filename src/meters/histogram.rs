//! A histogram that any thread may count into.

use gateway_metrics::Distribution;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets with fixed bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// In millionths: 584,000 years of seconds.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self { bounds, counts, sum: AtomicU64::default() }
    }

    /// Negative values count as none.
    pub(super) fn record(&self, value: f64) {
        let value = value.max(0.0);
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Relaxed);
    }

    pub(super) fn distribution(&self) -> Distribution {
        Distribution {
            bounds: self.bounds.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_last_bucket_takes_the_rest() {
        let histogram = Histogram::new(&[1.0, 2.0]);
        for value in [-1.0, 1.0, 1.5, 2.0, 9.0] {
            histogram.record(value);
        }
        let distribution = histogram.distribution();
        assert_eq!((distribution.counts.as_slice(), distribution.count()), (&[2, 2, 1][..], 5));
        assert!((distribution.sum - 13.5).abs() < 1e-6);
    }
}
