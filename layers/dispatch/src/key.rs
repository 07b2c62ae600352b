//! The header `Idempotency-Key`.

use crate::DispatchError;
use http::{HeaderMap, HeaderName};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, in characters: what a store has to index.
const KEY_MAX: usize = 255;

/// The key of a request, if it brings one.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Box<str>>, DispatchError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // Two keys are two promises: which one would hold?
    if values.next().is_some() {
        return Err(DispatchError::Key);
    }
    let text = value.to_str().map_err(|_| DispatchError::Key)?.trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => text.to_owned(),
    };
    let fits = (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Some(key.into())).ok_or(DispatchError::Key)
}

/// The rest of a structured-field string (RFC 9651, 4.2.5) whose first quote is gone: a backslash may stand before a
/// quote or a backslash only, and nothing follows the last quote.
fn unquote(quoted: &str) -> Result<String, DispatchError> {
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next() {
            Some('"') if rest.as_str().is_empty() => return Ok(key),
            Some('\\') => match rest.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(DispatchError::Key),
            },
            None | Some('"') => return Err(DispatchError::Key),
            Some(plain) => key.push(plain),
        }
    }
}
