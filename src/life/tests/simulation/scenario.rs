//! What may happen in a run: everything follows from the seed.

use crate::rng::Rng;
use gateway_life::{Limits, Millis};

/// One kind of trouble. A run knows about half of the kinds, so that each also meets a world without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The gateway's process is killed at any time.
    Crash,
    /// It is killed between two effects of one step.
    CrashBetween,
    /// Commits are rolled back for a while.
    DiskFull,
    /// A commit fails, and nobody knows whether it is durable.
    StoreUnknown,
    /// A client does not get its answer.
    LostAnswer,
    /// Owners cancel.
    Cancel,
    /// The wall clock jumps, both ways.
    ClockJump,
    /// Tasks have `wait_limit` and `run_limit`.
    Limits,
    /// Results are forgotten soon.
    Forget,
    /// The publishing connection is lost.
    PublishLost,
    /// The consuming connection is lost.
    ConsumeLost,
    /// Confirms come after their deadline.
    LateConfirm,
    /// The broker answers nack.
    Nack,
    /// Messages that can never be sent.
    TooBig,
    /// A service's queue is away for a while.
    NoQueue,
    /// A service's queue is purged.
    Purge,
    /// The broker restarts.
    BrokerRestart,
    /// Workers (embedded: their programs) die.
    WorkerCrash,
    /// Workers ask for another try.
    WorkerRetry,
    /// Workers send what cannot be read.
    Garbled,
    /// Workers whose results die with the broker or the connection.
    Fleeting,
    /// The broker gives up on messages, and says so.
    DeadLetter,
}

impl Fault {
    pub(crate) const ALL: [Fault; 22] = [
        Fault::Crash,
        Fault::CrashBetween,
        Fault::DiskFull,
        Fault::StoreUnknown,
        Fault::LostAnswer,
        Fault::Cancel,
        Fault::ClockJump,
        Fault::Limits,
        Fault::Forget,
        Fault::PublishLost,
        Fault::ConsumeLost,
        Fault::LateConfirm,
        Fault::Nack,
        Fault::TooBig,
        Fault::NoQueue,
        Fault::Purge,
        Fault::BrokerRestart,
        Fault::WorkerCrash,
        Fault::WorkerRetry,
        Fault::Garbled,
        Fault::Fleeting,
        Fault::DeadLetter,
    ];
}

/// A driver that is wrong in one way. Each has to be found, or the simulation proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Results are acknowledged before they are written.
    AckFirst,
    /// Tasks are published before they are written.
    PublishFirst,
    /// Clients are answered before their task is written.
    AnswerFirst,
    /// A returned message is taken for the one whose confirm carries it.
    ReturnByOrder,
    /// At each confirm it is decided at once, by message id but without waiting for the others.
    ReturnTooSoon,
    /// What the last process left unconfirmed is not sent again.
    NotRestored,
    /// A lost connection is taken for "not sent".
    LostMeansUnsent,
    /// The store does not keep the count of attempts while a task waits.
    AttemptsNotKept,
    /// Workers are told of a cancel once only.
    RevokeOnce,
    /// What is shown changes without a new `seq`.
    NoSeq,
    /// The message is written after the task, in a transaction of its own.
    OutboxApart,
    /// The idempotency key is written after the task, in a transaction of its own.
    KeyApart,
    /// A commit whose outcome is unknown is taken for one that was rolled back.
    UnknownMeansRolledBack,
    /// A settled message stays in the store.
    NotSettled,
    /// A killed process' runs are not handed back (embedded broker).
    OrphansLeft,
    /// An alarm that came too early, because the clock was set back, is not set again (embedded broker).
    AlarmOnce,
    /// A task that is run stays due (embedded broker).
    ClaimedTwice,
}

/// Times and bounds that a driver has, too.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    /// The store is the queue.
    pub(crate) embedded: bool,
    /// How many submissions.
    pub(crate) tasks: usize,
    /// Bits as in [`Fault::ALL`].
    pub(crate) faults: u32,
    pub(crate) plant: Option<Plant>,
    pub(crate) workers: usize,
    pub(crate) depth: usize,
    pub(crate) window: usize,
    pub(crate) batch: usize,
}

/// Services, each with a queue.
pub(crate) const SERVICES: [&str; 2] = ["diarisation", "segmentation"];
/// Until when there is trouble; then everything is repaired.
pub(crate) const HORIZON: Millis = 15_000;
/// Waits and pauses are over then, if no clock holds them up.
pub(crate) const REST: Millis = 60_000;
/// Until when everything has to have come to its end.
pub(crate) const DEADLINE: Millis = HORIZON + 900_000;
/// `store.task_timeout`.
pub(crate) const SILENCE: Millis = 30_000;
/// `broker.publish_timeout`.
pub(crate) const PUBLISH_TIMEOUT: Millis = 3_000;
/// Results are forgotten after this, with [`Fault::Forget`].
pub(crate) const FORGOTTEN_AFTER: Millis = 12_000;

impl Scenario {
    pub(crate) fn new(seed: u64, embedded: bool, plant: Option<Plant>) -> Self {
        let mut rng = Rng::new(seed ^ 0x6C69_6665);
        let all = (1_u64 << Fault::ALL.len()) - 1;
        Self {
            seed,
            embedded,
            tasks: 3 + rng.below(14),
            faults: (rng.next() & all) as u32,
            plant,
            workers: 2 + rng.below(3),
            depth: [4, 10, 100][rng.below(3)],
            window: [1, 3, 64][rng.below(3)],
            batch: [1, 4, 256][rng.below(3)],
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults & (1 << fault as u32) != 0
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            outbox_depth: self.depth,
            window: self.window,
            batch: self.batch,
            store_is_queue: self.embedded,
            ..Limits::default()
        }
    }

    /// The kinds of trouble, for a report.
    pub(crate) fn troubles(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.has(*fault)).collect()
    }
}
