//! A message to be published, and what became of it.

use gateway_celery::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use uuid::Uuid;

/// One attempt to send a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The task's id; becomes the message's id, by which a returned one is known again.
    pub id: Uuid,
    /// Which attempt it is; given back with the outcome.
    pub attempt: u32,
    /// What is sent.
    pub message: Message,
}

/// What became of a publication. Each one that was accepted has exactly one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The task's id.
    pub id: Uuid,
    /// As in the publication.
    pub attempt: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a publication, with the reason where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it in a queue, on disk where queue and message are durable.
    Sent,
    /// No queue takes it: there is none of that name. To be tried again.
    Unroutable(String),
    /// It can never be sent as it is: too large, or a name too long.
    Refused(String),
    /// The broker may or may not have it: no confirm in time, a nack, or the connection was lost. To be sent again under the same
    /// id, as an attempt of its own. A confirm that still arrives is dropped.
    Unknown(String),
    /// It never left the gateway. To be tried again; this attempt does not count.
    Unsent(String),
}

/// A publication that was not accepted: it has no outcome.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("not accepted: {reason}")]
pub struct Declined {
    /// Given back.
    pub publication: Box<Publication>,
    /// Why.
    pub reason: Reason,
}

/// Why a publication was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is no connection, or the broker takes nothing now: try again later ([`State`](crate::State) tells when).
    #[error("{0}")]
    NotConnected(String),
    /// As many publications as may be without an outcome are: read outcomes, or try again.
    #[error("too many publications without an outcome")]
    Busy,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

/// A publication on its way, and its right to be on it.
pub(crate) struct Job {
    pub(crate) publication: Publication,
    pub(crate) since: tokio::time::Instant,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// An outcome on its way. The permit is free again when it is read: so the queue of outcomes is bounded without ever
/// holding up the publisher.
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The outcomes of accepted publications, in the order they became known.
#[derive(Debug)]
pub struct Outcomes(pub(crate) mpsc::Receiver<Settled>);

impl Outcomes {
    /// The next one; `None` once the client is closed and every outcome has been read. May be dropped while it waits.
    pub async fn recv(&mut self) -> Option<Outcome> {
        self.0.recv().await.map(Self::read)
    }

    /// The next one, if it is there.
    pub fn try_recv(&mut self) -> Option<Outcome> {
        self.0.try_recv().ok().map(Self::read)
    }

    fn read(Settled { outcome, permit }: Settled) -> Outcome {
        drop(permit);
        outcome
    }
}

impl std::fmt::Debug for Settled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.outcome.fmt(f)
    }
}
