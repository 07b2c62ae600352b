//! A body under its limit, and what it is.

use crate::fault::Fault;
use bytes::Bytes;
use gateway_contract::{BoxError, Verb};
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use std::pin::pin;

/// How a body is read.
pub(crate) enum Kind {
    Urlencoded,
    /// With its boundary.
    Multipart(Result<String, Fault>),
    Json,
    /// Not at all: it counts as no body.
    Other,
}

impl Kind {
    /// By `Content-Type`; JSON is for `process` alone.
    pub(crate) fn of(verb: Verb, headers: &HeaderMap) -> Self {
        let Some(header) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return Self::Other };
        let essence = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match &*essence {
            "application/x-www-form-urlencoded" => Self::Urlencoded,
            "multipart/form-data" => Self::Multipart(multer::parse_boundary(header).map_err(Fault::form)),
            essence if verb == Verb::Process && is_json(essence) => Self::Json,
            _ => Self::Other,
        }
    }
}

fn is_json(essence: &str) -> bool {
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty())
}

/// Refuses what says beforehand that it is larger than `limit`.
pub(crate) fn within(limit: usize, headers: &HeaderMap, body: &impl Body) -> Result<(), Fault> {
    let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let least = body.size_hint().lower().max(told.unwrap_or(0));
    if usize::try_from(least).is_ok_and(|least| least <= limit) { Ok(()) } else { Err(Fault::TooLarge { limit }) }
}

/// The whole body.
pub(crate) async fn collect<B>(body: B, limit: usize) -> Result<Bytes, Fault>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let collected = Limited::new(body, limit).collect().await.map_err(|error| broken(error, limit))?;
    Ok(collected.to_bytes())
}

/// Reads the body to its end and keeps nothing.
pub(crate) async fn drain<B>(body: B, limit: usize) -> Result<(), Fault>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(Limited::new(body, limit));
    while let Some(frame) = body.frame().await {
        frame.map_err(|error| broken(error, limit))?;
    }
    Ok(())
}

fn broken(error: BoxError, limit: usize) -> Fault {
    if error.is::<LengthLimitError>() { Fault::TooLarge { limit } } else { Fault::BrokenOff(error) }
}

/// The JSON object of a body; nothing and `null` are an empty one.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Fault> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    let kind = match serde_json::from_slice(body).map_err(Fault::MalformedJson)? {
        Value::Object(object) => return Ok(object),
        Value::Null => return Ok(Map::new()),
        Value::Array(_) => "a list",
        Value::String(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a truth value",
    };
    Err(Fault::NotAnObject(kind))
}
