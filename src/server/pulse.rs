//! Whether a connection lives, and for what it waits.
//!
//! hyper's own header timeout covers neither the time before it knows the protocol nor a client that takes no byte of
//! its answer, makes no difference between an idle connection and a slow head, and allocates a timer a request.
//! Here the socket and the requests leave notes (a few relaxed stores), and the connection's one timer reads them.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};
use tokio::time::Instant;

/// How long an idle connection is kept. Longer than the 60 s of proxies, so that it is they who close: a request sent
/// into a connection that the server is closing is lost.
pub(crate) const IDLE: Duration = Duration::from_secs(75);
/// How long a connection may take to close once it was told to.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);
/// How long a drained connection without a request still listens: what the client sent before it could know of the
/// drain is answered. Longer than a round trip, shorter than anybody's patience.
pub(crate) const LINGER: Duration = Duration::from_millis(250);

/// Notes about one connection. They are written and read by the thread that owns the connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    /// What it does while no request is under way.
    phase: AtomicU8,
    /// When that began, in nanoseconds since `born`.
    since: AtomicU64,
    calls: AtomicU64,
    open: AtomicU32,
    conflict: AtomicU64,
    blocked: AtomicBool,
    written: AtomicU64,
}

/// What a connection does while no request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing was asked yet.
    Fresh = 0,
    /// The last answer is out.
    Idle = 1,
    /// The first bytes of the next request are here.
    Head = 2,
    /// No more is written; what the client still sends is read and thrown away.
    Closing = 3,
}

impl Pulse {
    /// Of a connection that begins now.
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            open: AtomicU32::new(0),
            conflict: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            written: AtomicU64::new(0),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since.store(u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Fresh,
            1 => Phase::Idle,
            2 => Phase::Head,
            _ => Phase::Closing,
        }
    }

    /// When the phase began.
    pub(crate) fn since(&self) -> Instant {
        self.born + Duration::from_nanos(self.since.load(Relaxed))
    }

    /// Bytes of a request came in.
    pub(crate) fn heard(&self) {
        if self.open() == 0 && self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// A request begins.
    pub(crate) fn begin(&self) {
        self.calls.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
    }

    /// A request is over.
    pub(crate) fn end(&self) {
        if self.open.fetch_sub(1, Relaxed) == 1 && self.phase() != Phase::Closing {
            self.enter(Phase::Idle);
        }
    }

    /// Requests under way: those whose answer hyper has not taken over whole.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Notes that the request of that number carries two lengths.
    pub(crate) fn set_conflict(&self, number: u64) {
        self.conflict.store(number, Relaxed);
    }

    /// Does the request that began last carry two lengths?
    pub(crate) fn conflict(&self) -> bool {
        self.conflict.load(Relaxed) == self.calls.load(Relaxed)
    }

    /// So many bytes went out (`None`: the client takes none now).
    pub(crate) fn wrote(&self, bytes: Option<usize>) {
        let was_blocked = self.blocked.load(Relaxed);
        self.blocked.store(bytes.is_none(), Relaxed);
        self.written.fetch_add(bytes.unwrap_or(0) as u64, Relaxed);
        if was_blocked && self.open() == 0 && self.phase() == Phase::Idle {
            // hyper had the whole answer and could not get rid of it until now: it was not idle before.
            self.enter(Phase::Idle);
        }
    }

    /// Is a request under way, or is an answer that is over for the stack still to be taken by the client?
    pub(crate) fn busy(&self) -> bool {
        self.open() > 0 || self.blocked.load(Relaxed)
    }

    /// Bytes written so far, if more of them wait for the client.
    pub(crate) fn blocked_at(&self) -> Option<u64> {
        self.blocked.load(Relaxed).then(|| self.written.load(Relaxed))
    }

    /// Writing is over.
    pub(crate) fn closing(&self) {
        self.enter(Phase::Closing);
    }
}
