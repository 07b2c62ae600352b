//! The states of a task, as Celery and its workers name them.

use std::fmt;

/// Where a task is. The names are Celery's (`celery.states`), `EXPIRED` is the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing heard from a worker yet.
    Pending,
    /// A worker has it.
    Received,
    /// A worker began.
    Started,
    /// A worker tells how far it is.
    Progress,
    /// A worker failed and will try again.
    Retry,
    /// Any other state that a worker invents (`STORING`, say).
    Other(Box<str>),
    /// Done.
    Success,
    /// Failed.
    Failure,
    /// Cancelled.
    Revoked,
    /// The result is no longer kept, or no sign of life came in time.
    Expired,
}

impl State {
    /// The longest name that is taken from a worker.
    pub const MAX_NAME: usize = 64;

    /// The state of that name. Any name is one; names are cut at [`State::MAX_NAME`] bytes by the protocol's reader.
    pub fn from_name(name: &str) -> State {
        match name {
            "PENDING" => State::Pending,
            "RECEIVED" => State::Received,
            "STARTED" => State::Started,
            "PROGRESS" => State::Progress,
            "RETRY" => State::Retry,
            "SUCCESS" => State::Success,
            "FAILURE" => State::Failure,
            "REVOKED" => State::Revoked,
            "EXPIRED" => State::Expired,
            other => State::Other(other.into()),
        }
    }

    /// Its name on the wire and in answers.
    pub fn name(&self) -> &str {
        match self {
            State::Pending => "PENDING",
            State::Received => "RECEIVED",
            State::Started => "STARTED",
            State::Progress => "PROGRESS",
            State::Retry => "RETRY",
            State::Other(name) => name,
            State::Success => "SUCCESS",
            State::Failure => "FAILURE",
            State::Revoked => "REVOKED",
            State::Expired => "EXPIRED",
        }
    }

    /// Does nothing follow it (but for a worker's own end after a presumed one)?
    pub fn is_end(&self) -> bool {
        matches!(self, State::Success | State::Failure | State::Revoked | State::Expired)
    }

    /// Is the result an exception, shown as `{code, message}`?
    pub fn is_raised(&self) -> bool {
        matches!(self, State::Failure | State::Retry | State::Revoked)
    }

    /// Does a worker work on it?
    pub fn is_running(&self) -> bool {
        matches!(self, State::Started | State::Progress | State::Other(_))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
