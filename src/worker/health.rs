//! Which services may be done now.
//!
//! A service whose command cannot be started would fail every task in its queue. After three such failures in a row the
//! queue is left alone, its tasks where they are; after a while one task is tried, and put back if it is no better. The
//! while is five seconds at first, and doubled after each try in vain up to five minutes.

use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row are no accident.
const FAILURES: u32 = 3;
/// The wait before the first try.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// How a service is here, or the services of a queue.
#[derive(Debug, Default)]
pub struct Health {
    failures: u32,
    ill: Option<Illness>,
}

#[derive(Debug)]
struct Illness {
    /// What the last failure said.
    why: String,
    /// When one task is tried.
    next: Instant,
    /// How long the try after that is put off.
    pause: Duration,
    /// One is being tried.
    probing: bool,
}

/// What becomes of a task whose command could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fails.
    Fails,
    /// It fails, and it was the one too many: the queue is left alone from now on.
    Last,
    /// It goes back: we know already that there is nothing to be had.
    Back,
}

impl Health {
    /// A command could not be started.
    pub fn unstarted(&mut self, why: &str) -> Verdict {
        self.failures += 1;
        if self.failures < FAILURES {
            return Verdict::Fails;
        }
        let (verdict, wait) = match &self.ill {
            None => (Verdict::Last, FIRST),
            // One that was begun before the queue was left alone puts nothing off.
            Some(ill) if !ill.probing => return Verdict::Back,
            Some(ill) => (Verdict::Back, ill.pause),
        };
        let pause = (wait * 2).min(LONGEST);
        self.ill = Some(Illness { why: why.to_owned(), next: Instant::now() + wait, pause, probing: false });
        verdict
    }

    /// A command was started. `true`: for the first time since they could not be.
    pub fn started(&mut self) -> bool {
        let was_ill = self.ill.is_some();
        *self = Self::default();
        was_ill
    }

    /// Time passes. `true`: one task is to be tried now.
    pub fn look(&mut self) -> bool {
        let Some(ill) = self.ill.as_mut().filter(|ill| !ill.probing && ill.next <= Instant::now()) else {
            return false;
        };
        ill.probing = true;
        true
    }

    /// There was no task to be tried, or it told us nothing: the next will do.
    pub fn untold(&mut self) {
        if let Some(ill) = &mut self.ill {
            ill.probing = false;
        }
    }

    /// Why the queue is left alone, if it is.
    pub fn fault(&self) -> Option<&str> {
        self.ill.as_ref().map(|ill| &*ill.why)
    }

    /// How long until one task is tried; zero where nothing is left alone.
    pub fn wait(&self) -> Duration {
        self.ill.as_ref().map_or(Duration::ZERO, |ill| ill.next.saturating_duration_since(Instant::now()))
    }

    /// How many tasks may be here at once, of `capacity`. The one that is tried comes beside those that are `running`.
    pub(crate) fn room(&self, capacity: u16, running: impl FnOnce() -> u16) -> u16 {
        match &self.ill {
            None => capacity,
            Some(ill) if ill.probing => running().saturating_add(1).min(capacity),
            Some(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn three_in_a_row_and_then_one_at_a_time() {
        let mut health = Health::default();
        assert_eq!((health.unstarted("a"), health.unstarted("b")), (Verdict::Fails, Verdict::Fails));
        assert!(!health.started() && health.fault().is_none());
        assert_eq!((health.unstarted("c"), health.unstarted("d")), (Verdict::Fails, Verdict::Fails));
        assert_eq!((health.room(4, || 0), health.unstarted("e"), health.room(4, || 0)), (4, Verdict::Last, 0));
        assert_eq!((health.fault(), health.wait()), (Some("e"), FIRST));
        advance(Duration::from_secs(4)).await;
        assert_eq!(health.unstarted("begun before"), Verdict::Back);
        assert!(!health.look());
        advance(Duration::from_secs(1)).await;
        assert!(health.look() && !health.look());
        assert_eq!((health.room(4, || 2), health.room(4, || 7)), (3, 4), "beside those that run since before");
        assert_eq!((health.room(4, || 0), health.unstarted("f"), health.room(4, || 0)), (1, Verdict::Back, 0));
        advance(FIRST).await;
        assert!(!health.look(), "twice as long");
        advance(FIRST).await;
        assert!(health.look());
        health.untold();
        assert!(health.look(), "the next is tried instead");
        assert!(health.started());
        assert_eq!((health.room(4, || 0), health.wait()), (4, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_become_rare_but_never_end() {
        let mut health = Health::default();
        for _ in 0..3 {
            health.unstarted("why");
        }
        for _ in 0..20 {
            let wait = health.wait();
            assert!(wait >= FIRST && wait <= LONGEST);
            advance(wait).await;
            assert!(health.look());
            health.unstarted("why");
        }
        assert_eq!(health.wait(), LONGEST);
    }
}
