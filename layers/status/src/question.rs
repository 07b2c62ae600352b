//! What the query asks.

use crate::StatusError;
use uuid::{Uuid, fmt::Hyphenated};

/// A question about one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    /// Which task.
    pub(crate) uuid: Uuid,
    /// Is its history wanted, too?
    pub(crate) detail: bool,
}

impl Question {
    /// Reads a query; of a repeated parameter the first value counts.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, StatusError> {
        let (mut uuid, mut detail) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "uuid" if uuid.is_none() => uuid = Some(exact(&value)),
                "detail" if detail.is_none() => detail = Some(&*value == "1"),
                _ => {}
            }
        }
        let uuid = uuid.ok_or(StatusError::Missing)?.ok_or(StatusError::Malformed)?;
        Ok(Self { uuid, detail: detail.unwrap_or_default() })
    }
}

/// The uuid that is written exactly so: hyphenated and in lower case, as we print it.
fn exact(text: &str) -> Option<Uuid> {
    if text.len() != Hyphenated::LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    // Only the hyphenated form has this length.
    Uuid::try_parse(text).ok()
}
