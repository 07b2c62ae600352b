//! What this layer refuses.

use gateway_contract::{Page, Rejection, Side, code};
use http::StatusCode;

/// Why a question is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PagesError {
    /// No such page in the configuration: 404.
    #[error("the page {} is not configured here", .0.name())]
    NotConfigured(Page),
    /// A service that routing knows, but these pages do not: 500, code 103.
    #[error("the layer that answers about services was told nothing about this one")]
    Untold,
    /// Something essential does not work: 503, code 205.
    #[error("statistics cannot be had now: the gateway is not ready (GET /readyz says why)")]
    NotReady,
    /// A redirect whose target is no header value: 500, code 103.
    #[error("the page redirects to something that cannot stand in a header")]
    Location,
    /// An error page was asked for: that status, code 100.
    #[error("the error page of status {}", .0.as_u16())]
    Shown(StatusCode),
}

/// When to try again, in seconds, while the gateway is not ready.
pub(crate) const RETRY_AFTER: u32 = 5;

impl From<PagesError> for Rejection {
    fn from(error: PagesError) -> Self {
        match error {
            PagesError::NotConfigured(_) => {
                Rejection::new(StatusCode::NOT_FOUND, code::NONE, Side::Client, error.to_string())
            }
            PagesError::Shown(status) => Rejection::of_status(status),
            PagesError::NotReady => Rejection::unavailable(error.to_string(), RETRY_AFTER),
            PagesError::Untold => {
                Rejection::misplaced("the layer that answers about services was told nothing about this one")
            }
            PagesError::Location => {
                Rejection::misplaced("the page redirects to something that cannot stand in a header")
            }
        }
    }
}
