//! What this layer refuses.

use gateway_contract::{Rejection, code};
use uuid::Uuid;

/// Why there is no answer about a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// No `uuid` in the query: 400, code 206.
    #[error("the query parameter uuid is missing: name the task, as in ?uuid=<the uuid that its submission answered>")]
    Missing,
    /// Something that no submission ever answered: 400, code 203.
    #[error(
        "uuid is not the uuid of a task: send it exactly as the submission answered it \
         (36 characters: lower-case hexadecimal digits and hyphens)"
    )]
    Malformed,
    /// No such task, or another service's: 400, code 203.
    #[error("service {service} has no task {uuid}")]
    Unknown {
        /// The service that was asked, by its configured name.
        service: Box<str>,
        /// The task that it does not have.
        uuid: Uuid,
    },
    /// The worker's version is not the configured one: 400, code 204.
    #[error("{0}")]
    Mismatch(Box<str>),
    /// What the keeper calls JSON is no object: 500, code 103.
    #[error("the task's state cannot be shown in detail: it is no JSON object")]
    NoObject,
}

impl From<StatusError> for Rejection {
    fn from(error: StatusError) -> Self {
        let code = match error {
            StatusError::Missing => code::MISSING_PARAMETER,
            StatusError::Malformed | StatusError::Unknown { .. } => code::UNKNOWN_UUID,
            StatusError::Mismatch(_) => code::VERSION_MISMATCH,
            StatusError::NoObject => {
                return Rejection::misplaced("the task's state cannot be shown in detail: it is no JSON object");
            }
        };
        Rejection::client(code, error.to_string())
    }
}
