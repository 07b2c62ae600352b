//! A CANARIE page as configured.

use crate::PageError;
use bytes::Bytes;
use http::StatusCode;
use std::{io, path::PathBuf};
use url::Url;

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

/// The schemes that a page may redirect to: no `javascript:`, no `data:`.
const SCHEMES: [&str; 3] = ["http:", "https:", "mailto:"];

impl PageSource {
    /// Reads a page as the configuration writes it:
    ///
    /// - `""`: none (`Ok(None)`)
    /// - `"https://…"`, `"http://…"`, `"mailto:…"`: a redirect
    /// - `"file:PATH"`: an HTML page, which `load` reads (it knows what relative paths are relative to)
    /// - `"TEXT,STATUS"`: that answer; the last comma counts, the text may be empty (`",204"`)
    ///
    /// # Errors
    ///
    /// With what is wrong and what would be right, for the person who writes the configuration.
    pub fn parse(text: &str, load: impl FnOnce(&str) -> io::Result<Bytes>) -> Result<Option<Self>, PageError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let html = load(path).map_err(|cause| PageError::File { path: PathBuf::from(path), cause })?;
            return Ok(Some(PageSource::Html(html)));
        }
        if SCHEMES.iter().any(|scheme| starts_with(text, scheme)) {
            return redirect(text).map(Some);
        }
        let (body, status) = text.rsplit_once(',').ok_or_else(|| PageError::Unreadable(text.into()))?;
        answer(text, body.trim_end(), status.trim()).map(Some)
    }
}

/// Schemes are of either case.
fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// A URL stays as it is written, unless it could not stand in a header so.
fn redirect(text: &str) -> Result<PageSource, PageError> {
    let url = Url::parse(text).map_err(|cause| PageError::Url { text: text.into(), cause })?;
    let fit = text.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(PageSource::Redirect(if fit { text.to_owned() } else { url.into() }))
}

fn answer(text: &str, body: &str, status: &str) -> Result<PageSource, PageError> {
    if status.is_empty() || !status.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PageError::Unreadable(text.into()));
    }
    let status = status.parse().ok().filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| PageError::Status(text.into()))?;
    // RFC 9110, 6.4.1 and 15.3.6: these have no content.
    let forbids_text = matches!(status.as_u16(), 204 | 205 | 304);
    if forbids_text && !body.is_empty() {
        return Err(PageError::TextForbidden { text: text.into(), status: status.as_u16() });
    }
    Ok(PageSource::Text { body: body.into(), status })
}
