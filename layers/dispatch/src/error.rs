//! What this layer refuses.

use gateway_contract::{Rejection, code};

/// Why a submission is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// The service is not configured: 400, code 202.
    #[error("no service of that name is configured: GET /info lists those that are")]
    UnknownService,
    /// The header is there, but it is no key: 400, code 209.
    #[error(
        "Idempotency-Key cannot be read: send it once, as one string of 1 to 255 visible ASCII characters \
         without spaces, in double quotes or without any"
    )]
    Key,
    /// No layer above has left the work: 500, code 103.
    #[error("a submission has reached dispatch without its work: the layer that finds the document must stand above")]
    NoWork,
}

impl From<DispatchError> for Rejection {
    fn from(error: DispatchError) -> Self {
        match error {
            DispatchError::UnknownService => Rejection::client(code::UNKNOWN_SERVICE, error.to_string()),
            DispatchError::Key => Rejection::client(code::IDEMPOTENCY, error.to_string()),
            DispatchError::NoWork => {
                Rejection::misplaced("a submission has reached dispatch without its work").with_cause(error)
            }
        }
    }
}
