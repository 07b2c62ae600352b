//! Which queues may be consumed now.
//!
//! A service whose command cannot be started would fail every task in its queue. After three such failures in a row the
//! queue is left alone, its tasks where they are; every half minute one task is tried, and put back if it is no better.

use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row are no accident.
const FAILURES: u32 = 3;
/// Between two tries.
const RETRY: Duration = Duration::from_secs(30);

/// How a queue's services are.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    /// Since when nothing is consumed.
    ill: Option<Instant>,
    probing: bool,
}

/// What becomes of a task whose command could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It fails.
    Fails,
    /// It fails, and it was the one too many: the queue is not consumed any more.
    Last,
    /// It goes back: we know already that there is nothing to be had.
    Back,
}

impl Health {
    /// A command could not be started.
    pub(crate) fn unstarted(&mut self) -> Verdict {
        self.failures += 1;
        if self.ill.is_some() {
            (self.ill, self.probing) = (Some(Instant::now()), false);
            return Verdict::Back;
        }
        if self.failures < FAILURES {
            return Verdict::Fails;
        }
        self.ill = Some(Instant::now());
        Verdict::Last
    }

    /// A command was started. `true`: for the first time since they could not be.
    pub(crate) fn started(&mut self) -> bool {
        let was_ill = self.ill.is_some();
        *self = Self::default();
        was_ill
    }

    /// Time passes. `true`: one task is to be tried now.
    pub(crate) fn look(&mut self) -> bool {
        let due = !self.probing && self.ill.is_some_and(|since| since.elapsed() >= RETRY);
        self.probing |= due;
        due
    }

    /// How many tasks may be here at once, of `capacity`.
    pub(crate) fn room(&self, capacity: u16) -> u16 {
        match (self.ill, self.probing) {
            (None, _) => capacity,
            (Some(_), true) => 1,
            (Some(_), false) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_in_a_row_and_then_one_at_a_time() {
        let mut health = Health::default();
        assert_eq!((health.unstarted(), health.unstarted()), (Verdict::Fails, Verdict::Fails));
        assert!(!health.started());
        assert_eq!((health.unstarted(), health.unstarted()), (Verdict::Fails, Verdict::Fails));
        assert_eq!((health.room(4), health.unstarted(), health.room(4)), (4, Verdict::Last, 0));
        assert_eq!(health.unstarted(), Verdict::Back);
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!health.look());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(health.look() && !health.look());
        assert_eq!((health.room(4), health.unstarted(), health.room(4)), (1, Verdict::Back, 0));
        tokio::time::advance(RETRY).await;
        assert!(health.look());
        assert!(health.started());
        assert_eq!(health.room(4), 4);
    }
}
