//! Up at once, down after a while.

use std::collections::VecDeque;

/// So many times longer than a large step waits a small one.
const PATIENCE: f64 = 4.0;

/// Holds advice against haste: more workers are asked for at once, fewer only when no moment of the last `window` wanted
/// more. A small step (two workers, or a quarter of them) waits four windows: it saves little, and the next surge would take it
/// back.
///
/// The window is how long an idle worker is kept. To keep one for as long as it takes to start another costs at most
/// twice what foreknowledge would (the ski-rental bound), so a window is never shorter than that.
#[derive(Debug, Clone)]
pub struct Steady {
    window: f64,
    /// Time and advice of the last four windows; one that a later one exceeds is dropped, so they fall.
    advised: VecDeque<(f64, u32)>,
    held: Option<u32>,
}

impl Steady {
    /// With a window of so many seconds.
    pub fn new(window: f64) -> Self {
        Self { window, advised: VecDeque::new(), held: None }
    }

    /// What is asked for at time `at` (seconds of a clock that only goes forward), where the moment's advice is `wanted`
    /// and `present` workers are there. At first those that are there count as wanted a moment ago: whoever has just
    /// begun to look knows no reason to send anybody away.
    pub fn settle(&mut self, at: f64, wanted: u32, present: u32) -> u32 {
        if self.held.is_none() && present > wanted {
            self.advised.push_back((at, present));
        }
        while self.advised.back().is_some_and(|(_, less)| *less <= wanted) {
            self.advised.pop_back();
        }
        self.advised.push_back((at, wanted));
        while self.advised.front().is_some_and(|(since, _)| *since + PATIENCE * self.window < at) {
            self.advised.pop_front();
        }
        // They fall, so the first of a span is the most of it.
        let most =
            |span: f64| self.advised.iter().find(|(since, _)| *since + span >= at).map_or(wanted, |(_, most)| *most);
        let (soon, later) = (most(self.window), most(PATIENCE * self.window));
        let held = self.held.unwrap_or(later);
        let next = if soon > held || held - soon > (held / 4).max(2) { soon } else { held.min(later) };
        self.held = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn up_at_once_and_down_after_the_window() {
        let mut steady = Steady::new(60.0);
        assert_eq!(steady.settle(0.0, 2, 2), 2);
        assert_eq!(steady.settle(10.0, 8, 2), 8);
        assert_eq!(steady.settle(20.0, 1, 8), 8);
        assert_eq!(steady.settle(60.0, 3, 8), 8);
        assert_eq!(steady.settle(71.0, 1, 8), 3, "the most of the last minute");
        assert_eq!(steady.settle(75.0, 2, 3), 3);
        assert_eq!(steady.settle(200.0, 2, 3), 3, "one worker is a small step");
        assert_eq!(steady.settle(301.0, 2, 3), 2);
    }

    #[test]
    fn who_has_just_begun_sends_nobody_away() {
        let mut steady = Steady::new(60.0);
        assert_eq!(steady.settle(0.0, 1, 5), 5);
        assert_eq!(steady.settle(59.0, 1, 5), 5);
        assert_eq!(steady.settle(61.0, 1, 5), 1, "four of five are no small step");
    }

    proptest! {
        #[test]
        fn it_never_asks_for_less_than_the_moment(
            window in 0.0..500.0_f64, steps in proptest::collection::vec((0.0..100.0_f64, 0..50_u32), 1..60),
        ) {
            let (mut steady, mut at, mut most) = (Steady::new(window), 0.0, 0);
            for (wait, wanted) in steps {
                at += wait;
                most = most.max(wanted);
                let settled = steady.settle(at, wanted, 0);
                prop_assert!(settled >= wanted && settled <= most);
            }
        }

        #[test]
        fn a_steady_wish_is_followed_in_the_end(first in 0..50_u32, then in 0..50_u32) {
            let mut steady = Steady::new(60.0);
            steady.settle(0.0, first, 0);
            let settled = (1..12).map(|step| steady.settle(f64::from(step) * 30.0, then, first)).last();
            prop_assert_eq!(settled, Some(then));
        }
    }
}
