//! How fast a large body must come: so that an upload over a slow line is not cut while bytes flow, and nobody holds a
//! place with a trickle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Bodies up to here have `request_timeout` and no more.
const SMALL: u64 = 64 << 10;
/// Bytes a second of larger ones, on the whole.
const SLOWEST: u64 = 16 << 10;

/// A large body on its way.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// The longest pause, and what the first bytes and the answer after the last may take.
    patience: Duration,
    /// When the last bytes came: milliseconds after the start.
    last: AtomicU64,
}

impl Pace {
    /// For a body of at least `length` bytes; `exact`: and no more.
    pub(crate) fn of(length: u64, exact: bool, start: Instant, patience: Duration) -> Option<Arc<Self>> {
        (!exact || length > SMALL).then(|| Arc::new(Self { start, patience, last: AtomicU64::new(0) }))
    }

    /// Bytes came.
    pub(crate) fn moved(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Relaxed);
    }

    /// When the next bytes are due, so many having come: no longer pause than `patience`, and not too slow on the whole.
    pub(crate) fn due(&self, read: u64) -> Instant {
        let on_the_whole = self.start + self.patience + Duration::from_millis(read.saturating_mul(1000) / SLOWEST);
        on_the_whole.min(self.answer_due())
    }

    /// When the answer is due, if no more bytes come.
    pub(crate) fn answer_due(&self) -> Instant {
        self.start + Duration::from_millis(self.last.load(Relaxed)) + self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn bytes_that_flow_are_waited_for_and_a_trickle_is_not() {
        let start = Instant::now();
        assert!(Pace::of(SMALL, true, start, PATIENCE).is_none());
        assert!(Pace::of(0, false, start, PATIENCE).is_some(), "nobody knows how long it is");
        let pace = Pace::of(1 << 30, true, start, PATIENCE).unwrap();
        assert_eq!(pace.due(0), start + PATIENCE);
        // 1 MiB in 25 s: half a minute more, and no longer pause than that.
        advance(Duration::from_secs(25)).await;
        pace.moved();
        assert_eq!(pace.due(1 << 20), start + Duration::from_secs(25) + PATIENCE);
        assert_eq!(pace.answer_due(), start + Duration::from_secs(55));
        // A byte now and then.
        assert_eq!(pace.due(10), start + PATIENCE);
    }
}
