//! `?detail=1`: a task's history, joined to its JSON.

use crate::StatusError;
use bytes::Bytes;
use gateway_contract::Snapshot;
use jiff::Timestamp;
use std::fmt::{self, Write};

/// The task's JSON object with its history at the end of it. The rest is not parsed: it may be a megabyte of result.
pub(crate) fn join(task: &Snapshot) -> Result<Bytes, StatusError> {
    let json = std::str::from_utf8(&task.json).map_err(|_| StatusError::NoObject)?;
    let open = json.trim_end().strip_suffix('}').ok_or(StatusError::NoObject)?;
    let history = &task.history;
    let comma = if open.trim_end().ends_with('{') { "" } else { "," };
    let mut joined = String::with_capacity(open.len() + 192);
    write!(
        joined,
        r#"{open}{comma}"attempts":{},"submitted":{},"sent":{},"started":{},"ended":{}"#,
        history.attempts,
        At(Some(history.submitted)),
        At(history.sent),
        At(history.started),
        At(history.ended),
    )
    .map_err(|_| StatusError::NoObject)?;
    if let Some(reason) = &history.reason {
        write!(joined, r#","reason":{}"#, serde_json::Value::from(&**reason)).map_err(|_| StatusError::NoObject)?;
    }
    joined.push('}');
    Ok(joined.into())
}

/// A time as JSON: `"2026-11-23T20:22:19.000Z"` or `null`, also where there is no such date.
struct At(Option<i64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok()) {
            Some(at) => write!(f, "\"{at:.3}\""),
            None => f.write_str("null"),
        }
    }
}
