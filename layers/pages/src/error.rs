//! What this layer refuses, and what is wrong with a configured page.

use gateway_contract::{Page, Rejection, Side, code};
use http::StatusCode;
use std::{io, path::PathBuf};

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

/// What is wrong with a configured page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is neither of the three things that a page can be.
    #[error(
        "{0:?} is no page: give a URL (\"https://example.org/doc\"), a file (\"file:doc.html\") \
         or a text and a status (\"Not available,404\")"
    )]
    Unreadable(String),
    /// It begins like a URL, but is none.
    #[error("{text:?} is not a valid URL: {cause}")]
    Url {
        /// What is configured.
        text: String,
        /// What is wrong with it.
        cause: url::ParseError,
    },
    /// The status is none that an answer can have.
    #[error("{0:?}: the status must be a number from 200 to 599")]
    Status(String),
    /// The status forbids what is configured beside it.
    #[error("{text:?}: an answer with status {status} has no text: write \",{status}\"")]
    TextForbidden {
        /// What is configured.
        text: String,
        /// Its status.
        status: u16,
    },
    /// The file cannot be read.
    #[error("the page's file {path:?} cannot be read: {cause}")]
    File {
        /// As configured.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}
