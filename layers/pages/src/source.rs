//! A CANARIE page.

use bytes::Bytes;
use http::StatusCode;

/// Where a page comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageSource {
    /// From elsewhere: 302 to this URL, which is visible ASCII.
    Redirect(String),
    /// From a file: HTML in UTF-8.
    Html(Bytes),
    /// From the configuration itself.
    Text {
        /// What is said; empty where the status allows no text.
        body: String,
        /// With what status.
        status: StatusCode,
    },
}
