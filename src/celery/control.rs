//! Commands to workers ("remote control"): messages to the exchange that every worker listens to.

use crate::wire::{Field, Message, Properties};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

/// The exchange of commands: fanout, not durable, not auto-delete.
pub const EXCHANGE: &str = "celery.pidbox";

/// What orders and bounds a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamp {
    /// Logical clock: grows with every command of one sender.
    pub clock: i32,
    /// When nobody waits for it any more: seconds since 1970 (UTC).
    pub expires: f64,
}

/// A command for all workers, without an answer.
pub fn command(method: &str, arguments: &Value, stamp: Stamp) -> Message {
    let body = json!({
        "method": method, "arguments": arguments, "destination": null, "pattern": null, "matcher": null
    });
    Message {
        exchange: EXCHANGE.to_owned(),
        routing_key: String::new(),
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            delivery_mode: Some(2),
            priority: Some(0),
            ..Properties::default()
        },
        headers: vec![
            ("clock".to_owned(), Field::Int(stamp.clock)),
            ("expires".to_owned(), Field::Double(stamp.expires)),
        ],
        body: Bytes::from(body.to_string()),
    }
}

/// Discards a task; with `terminate`, a running one is sent `signal` (`SIGTERM`, …).
///
/// Workers keep it in memory only: one that starts later does not know of it. Celery acts on the first terminate alone,
/// so there is no escalation by a second one.
pub fn revoke(id: Uuid, terminate: bool, signal: &str, stamp: Stamp) -> Message {
    command("revoke", &json!({"task_id": id, "terminate": terminate, "signal": signal}), stamp)
}
