//! Why a request was refused.

use crate::BoxError;
use http::StatusCode;
use std::{convert::Infallible, fmt, panic::Location};

/// The codes of the error envelope (`vesta.code`), as clients of the original know them; from 208 on they are ours.
pub mod code {
    /// No more to say than the HTTP status does.
    pub const NONE: u16 = 100;
    /// The token is missing, invalid, expired, or does not allow this.
    pub const TOKEN: u16 = 101;
    /// The gateway is configured or composed wrongly.
    pub const CONFIGURATION: u16 = 103;
    /// A value could not be read, or has the wrong type.
    pub const VALUE: u16 = 105;
    /// Input or output on our side failed.
    pub const IO: u16 = 107;
    /// A task was cancelled.
    pub const REVOKED: u16 = 109;
    /// No service has that name.
    pub const UNKNOWN_SERVICE: u16 = 202;
    /// No task of this service has that uuid.
    pub const UNKNOWN_UUID: u16 = 203;
    /// A worker's version is not the configured one.
    pub const VERSION_MISMATCH: u16 = 204;
    /// Broker or store cannot take it now.
    pub const UNAVAILABLE: u16 = 205;
    /// A parameter is missing.
    pub const MISSING_PARAMETER: u16 = 206;
    /// A URL is not valid.
    pub const INVALID_URL: u16 = 207;
    /// The request is too large.
    pub const TOO_LARGE: u16 = 208;
    /// The idempotency key is in use for something else.
    pub const IDEMPOTENCY: u16 = 209;
    /// Too many requests at once.
    pub const TOO_MANY: u16 = 210;
    /// The document URL is valid, but not allowed here.
    pub const URL_NOT_ALLOWED: u16 = 211;
}

/// Whose fault a refusal is: decides log level and metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request was wrong.
    Client,
    /// We could not.
    Gateway,
    /// Somebody we asked could not (broker, storage service, the host's application).
    Outside,
}

/// A refusal, one word wide so that every `Result<_, Rejection>` on the hot path stays small.
#[derive(Debug)]
pub struct Rejection(Box<Refusal>);

/// What a [`Rejection`] says.
#[derive(Debug)]
pub struct Refusal {
    /// HTTP status of the answer.
    pub status: StatusCode,
    /// Code of the envelope, see [`code`].
    pub code: u16,
    /// Whose fault it is.
    pub side: Side,
    /// What was wrong and what would be right, in plain text, for the client. Never holds a secret. Empty: there is
    /// no more to say than the status does.
    pub detail: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    /// Methods for an `Allow` header (405).
    pub allow: Option<&'static str>,
    /// For logs only: never shown to a client, unless in debug mode.
    pub cause: Option<BoxError>,
    /// Where in the source it was made: shown to a client in debug mode alone.
    pub made_at: &'static Location<'static>,
}

impl Rejection {
    /// A refusal with these facts and nothing else.
    #[track_caller]
    pub fn new(status: StatusCode, code: u16, side: Side, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            status,
            code,
            side,
            detail: detail.into(),
            retry_after: None,
            allow: None,
            cause: None,
            made_at: Location::caller(),
        }))
    }

    /// The client asked for something wrong: 400 with `code`.
    #[track_caller]
    pub fn client(code: u16, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, Side::Client, detail)
    }

    /// Broker or store cannot take it now: 503, code 205, `Retry-After`.
    #[track_caller]
    pub fn unavailable(detail: impl Into<String>, retry_after: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, Side::Gateway, detail)
            .with_retry_after(retry_after)
    }

    /// Nothing is at that path: 404.
    #[track_caller]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, code::NONE, Side::Client, "nothing is at this path")
    }

    /// No more to say than `status` does: code 100.
    #[track_caller]
    pub fn of_status(status: StatusCode) -> Self {
        Self::new(status, code::NONE, Side::Client, "")
    }

    /// A layer misses what another should have left above it: 500, a fault of composition.
    #[track_caller]
    pub fn misplaced(detail: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code::CONFIGURATION, Side::Gateway, detail)
    }

    /// The same with `Retry-After`, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The same with an `Allow` header.
    #[must_use]
    pub fn with_allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// What it says.
    pub fn refusal(&self) -> &Refusal {
        &self.0
    }

    /// What it says, owned.
    pub fn into_refusal(self) -> Refusal {
        *self.0
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}): {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<Infallible> for Rejection {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<BoxError> for Rejection {
    /// An error of the application behind us: 502.
    fn from(error: BoxError) -> Self {
        match error.downcast::<Rejection>() {
            Ok(rejection) => *rejection,
            Err(error) => {
                Self::new(StatusCode::BAD_GATEWAY, code::IO, Side::Outside, "the application behind the gateway failed")
                    .with_cause(error)
            }
        }
    }
}
