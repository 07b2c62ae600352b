//! What orchestrators and Prometheus ask.

use crate::stats::is_ready;
use gateway_contract::{Readiness, Reply, View, data, plain};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

/// Prometheus' text format, with the version that its scrapers look for.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process answers: that is all it says.
pub(crate) fn livez<R>() -> Reply<R> {
    fresh(data(&br#"{"status":"alive"}"#[..], View::JsonOnly))
}

/// 200 if everything essential works, else 503; every part says `ok` or what is wrong with it.
pub(crate) fn readyz<R>(readiness: &Readiness) -> Reply<R> {
    let parts: Map<String, Value> = readiness
        .parts
        .iter()
        .map(|part| (part.name.to_owned(), part.fault.as_deref().unwrap_or("ok").into()))
        .collect();
    let (status, word) =
        if is_ready(readiness) { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let mut reply = data(json!({ "status": word, "parts": parts }).to_string(), View::JsonOnly);
    *reply.status_mut() = status;
    fresh(reply)
}

/// The process's metrics.
pub(crate) fn metrics<R>(text: String) -> Reply<R> {
    fresh(plain(text, METRICS_TYPE))
}

/// Never from a cache: it is about now.
fn fresh<R>(mut reply: Reply<R>) -> Reply<R> {
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
