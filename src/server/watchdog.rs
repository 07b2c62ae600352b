//! When a connection is told to close, and when it is cut.

use crate::pulse::{CLOSING, IDLE, LINGER, Phase, Pulse};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let it end what it does, then close it.
    Close,
    /// Close it now, for this reason.
    Cut(&'static str),
}

/// The deadlines of one connection, on one timer.
#[derive(Debug)]
pub(crate) struct Watchdog {
    timer: Pin<Box<Sleep>>,
    header_timeout: Duration,
    stall_timeout: Duration,
    /// When it was told that the server drains.
    drained: Option<Instant>,
    /// When it was told to close although nothing was under way.
    told: Option<Instant>,
    closed: bool,
    /// Bytes written when it was last seen blocked, and when that was.
    stalled: Option<(u64, Instant)>,
    hurried: bool,
}

impl Watchdog {
    /// For a connection that begins now.
    pub(crate) fn new(header_timeout: Duration, stall_timeout: Duration) -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now() + header_timeout.min(stall_timeout))),
            header_timeout,
            stall_timeout,
            drained: None,
            told: None,
            closed: false,
            stalled: None,
            hurried: false,
        }
    }

    /// The next verdict. Cheap as long as nothing is due: to be polled whenever the connection is.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, pulse: &Pulse, draining: Option<Instant>) -> Poll<Verdict> {
        if let Some(close) = draining.filter(|_| self.drained.is_none()) {
            self.drained = Some(close.max(Instant::now() + LINGER));
            self.rearm(pulse);
        }
        // A request that comes while a drained connection lingers is its last.
        if self.drained.is_some() && !self.closed && pulse.busy() {
            self.closed = true;
            return Poll::Ready(Verdict::Close);
        }
        if pulse.phase() == Phase::Closing && !self.hurried {
            self.hurried = true;
            self.rearm(pulse);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(verdict) = self.judge(pulse, now) {
                self.rearm(pulse);
                return Poll::Ready(verdict);
            }
            self.rearm(pulse);
        }
    }

    fn judge(&mut self, pulse: &Pulse, now: Instant) -> Option<Verdict> {
        if pulse.phase() == Phase::Closing {
            return (now >= pulse.since() + CLOSING).then_some(Verdict::Cut("it does not close"));
        }
        if pulse.busy() {
            self.told = self.told.map(|_| now); // what still goes out does not count as closing
            return self.stall(pulse, now);
        }
        if let Some(told) = self.told {
            return (now >= told + CLOSING).then_some(Verdict::Cut("it does not close"));
        }
        match pulse.phase() {
            Phase::Fresh if now >= pulse.since() + self.header_timeout => Some(Verdict::Cut("no request came")),
            Phase::Head if now >= pulse.since() + self.header_timeout => Some(Verdict::Cut("its head takes too long")),
            _ if self.close_at(pulse).is_some_and(|at| now >= at) => {
                self.told = Some(now);
                self.closed = true;
                Some(Verdict::Close)
            }
            _ => None,
        }
    }

    /// A client that takes no byte of its answer holds buffers and a place: not for ever.
    fn stall(&mut self, pulse: &Pulse, now: Instant) -> Option<Verdict> {
        let written = pulse.blocked_at();
        match (written, self.stalled) {
            (Some(written), Some((before, since))) if written == before => {
                (now >= since + self.stall_timeout).then_some(Verdict::Cut("the client does not take its answer"))
            }
            (written, _) => {
                self.stalled = written.map(|written| (written, now));
                None
            }
        }
    }

    /// When a connection with nothing under way is closed.
    fn close_at(&self, pulse: &Pulse) -> Option<Instant> {
        let idle = (pulse.phase() == Phase::Idle).then(|| pulse.since() + IDLE);
        idle.into_iter().chain(self.drained).min()
    }

    /// Sets the timer to the next time anything can be due. A phase that begins later than now has a deadline of at
    /// least `header_timeout`, so looking again after that long misses none.
    fn rearm(&mut self, pulse: &Pulse) {
        let now = Instant::now();
        let look = now + self.header_timeout.min(self.stall_timeout);
        let due = match pulse.phase() {
            Phase::Closing => pulse.since() + CLOSING,
            _ if pulse.busy() => look,
            _ if self.told.is_some() => now + CLOSING,
            Phase::Fresh | Phase::Head => pulse.since() + self.header_timeout,
            Phase::Idle => look,
        };
        let due =
            if !pulse.busy() && self.told.is_none() { self.close_at(pulse).map_or(due, |at| at.min(due)) } else { due };
        // Never in the past: a deadline that could not be acted upon would spin.
        self.timer.as_mut().reset(due.min(look).max(now + Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, sync::Arc};
    use tokio::time::{advance, timeout};

    const HEADER: Duration = Duration::from_secs(10);
    const STALL: Duration = Duration::from_secs(30);

    async fn next(dog: &mut Watchdog, pulse: &Pulse, draining: bool) -> Verdict {
        let draining = draining.then(Instant::now);
        poll_fn(|cx| dog.poll(cx, pulse, draining)).await
    }

    /// The verdict and the seconds until it.
    async fn after(dog: &mut Watchdog, pulse: &Pulse) -> (Verdict, u64) {
        let start = Instant::now();
        let verdict = next(dog, pulse, false).await;
        (verdict, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_is_cut() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.heard(); // some bytes make no request
        assert_eq!(after(&mut dog, &pulse).await, (Verdict::Cut("no request came"), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_and_cut_if_it_does_not() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        pulse.end();
        assert_eq!(after(&mut dog, &pulse).await, (Verdict::Close, 75));
        assert_eq!(after(&mut dog, &pulse).await, (Verdict::Cut("it does not close"), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_from_its_first_byte() {
        let pulse = Arc::new(Pulse::new());
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        pulse.end();
        let late = Arc::clone(&pulse);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(33)).await;
            late.heard();
        });
        assert_eq!(after(&mut dog, &pulse).await, (Verdict::Cut("its head takes too long"), 43));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_left_alone_unless_its_client_stalls() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        assert!(timeout(Duration::from_secs(3600), next(&mut dog, &pulse, false)).await.is_err());
        pulse.wrote(Some(10));
        pulse.wrote(None);
        let (verdict, seconds) = after(&mut dog, &pulse).await;
        assert_eq!(verdict, Verdict::Cut("the client does not take its answer"));
        assert!((30..=40).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_still_going_out_is_neither_idle_nor_cut_by_a_drain() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        pulse.wrote(None);
        pulse.end(); // hyper holds the rest of the answer
        assert_eq!(next(&mut dog, &pulse, true).await, Verdict::Close);
        for _ in 0..20 {
            assert!(timeout(Duration::from_secs(20), next(&mut dog, &pulse, true)).await.is_err());
            pulse.wrote(Some(1));
            pulse.wrote(None);
        }
        pulse.wrote(Some(1));
        // hyper would close now; a connection that does not is told once more, and then cut.
        assert_eq!(next(&mut dog, &pulse, true).await, Verdict::Close);
        assert_eq!(next(&mut dog, &pulse, true).await, Verdict::Cut("it does not close"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_moves_is_not_stalled() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        for _ in 0..20 {
            pulse.wrote(Some(1));
            pulse.wrote(None);
            assert!(timeout(Duration::from_secs(20), next(&mut dog, &pulse, false)).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_busy_connections_at_once_and_others_after_a_moment() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        pulse.begin();
        let start = Instant::now();
        assert_eq!(next(&mut dog, &pulse, true).await, Verdict::Close);
        assert_eq!(start.elapsed(), Duration::ZERO);

        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        assert_eq!(next(&mut dog, &pulse, true).await, Verdict::Close);
        assert!((LINGER..LINGER * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_closes_has_two_seconds() {
        let pulse = Pulse::new();
        let mut dog = Watchdog::new(HEADER, STALL);
        advance(Duration::from_secs(1)).await;
        pulse.closing();
        assert_eq!(after(&mut dog, &pulse).await, (Verdict::Cut("it does not close"), 2));
    }
}
