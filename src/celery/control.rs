//! Commands to workers ("remote control"): messages to the exchange that every worker listens to.

use crate::json;
use crate::wire::{Field, Message, Properties, Table};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

/// The exchange of commands: fanout, not durable, not auto-delete.
pub const EXCHANGE: &str = "celery.pidbox";
/// The exchange of answers to commands: direct, not durable.
const REPLIES: &str = "reply.celery.pidbox";
/// The longest name taken from a question, in bytes: AMQP's.
const MAX_NAME: usize = 255;

/// What orders and bounds a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamp {
    /// Logical clock: grows with every command of one sender.
    pub clock: i32,
    /// When nobody waits for it any more: seconds since 1970 (UTC).
    pub expires: f64,
}

/// A command for all workers, without an answer: `revoke`, say, of one task or of several.
///
/// Workers keep what is revoked in memory only: one that starts later does not know of it. Celery acts on the first
/// terminate alone, so there is no escalation by a second one.
pub fn command(method: &str, arguments: &Value, stamp: Stamp) -> Message {
    let body = json!({
        "method": method, "arguments": arguments, "destination": null, "pattern": null, "matcher": null
    });
    let headers =
        vec![("clock".to_owned(), Field::Int(stamp.clock)), ("expires".to_owned(), Field::Double(stamp.expires))];
    message(EXCHANGE, "", headers, &body)
}

fn message(exchange: &str, routing_key: &str, headers: Table, body: &Value) -> Message {
    Message {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            delivery_mode: Some(2),
            priority: Some(0),
            ..Properties::default()
        },
        headers,
        body: Bytes::from(body.to_string()),
    }
}

/// A worker that starts asks its neighbours what was revoked before ("mingle"), and waits a second for their answers.
///
/// Only an answer keeps it from running what was cancelled while it was away: it listens to commands when it already
/// takes tasks, so that a revoke comes too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    exchange: String,
    routing_key: String,
    ticket: String,
}

impl Hello {
    /// Reads a command; `None` if it is not a question of this kind, or longer than `limit` bytes.
    pub fn read(body: &[u8], limit: usize) -> Option<Self> {
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= limit)?;
        let command: Value = serde_json::from_str(&json::mended(text)).ok()?;
        let text = |value: Option<&Value>| value?.as_str().filter(|text| text.len() <= MAX_NAME).map(str::to_owned);
        if command.get("method")?.as_str()? != "hello" {
            return None;
        }
        let reply_to = command.get("reply_to")?;
        // To another exchange we would be made to write wherever somebody likes.
        let exchange = text(reply_to.get("exchange")).filter(|exchange| exchange == REPLIES)?;
        let routing_key = text(reply_to.get("routing_key"))?;
        Some(Self { exchange, routing_key, ticket: text(command.get("ticket"))? })
    }

    /// The answer, from a neighbour of the name `node`: these tasks are revoked, the last one last.
    pub fn answer(&self, node: &str, revoked: &[Uuid], clock: i32) -> Message {
        let headers = vec![("clock".to_owned(), Field::Int(clock)), ("ticket".to_owned(), self.ticket.as_str().into())];
        message(&self.exchange, &self.routing_key, headers, &json!({node: {"revoked": revoked, "clock": clock}}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = r#"{"method": "hello", "arguments": {"from_node": "w@h", "revoked": []}, "destination": null,
        "ticket": "t", "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "k"}}"#;

    #[test]
    fn a_worker_that_asks_is_told_what_was_revoked() {
        let hello = Hello::read(ASKED.as_bytes(), 1000).expect("a question");
        let answer = hello.answer("gateway@h", &[Uuid::nil()], 7);
        assert_eq!((answer.exchange.as_str(), answer.routing_key.as_str()), ("reply.celery.pidbox", "k"));
        assert_eq!(answer.header("ticket"), Some(&Field::from("t")));
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body, json!({"gateway@h": {"revoked": [Uuid::nil()], "clock": 7}}));
    }

    #[test]
    fn nothing_else_is_answered() {
        let other = command("revoke", &json!({"task_id": []}), Stamp { clock: 1, expires: 0.0 });
        assert_eq!(Hello::read(&other.body, 1000), None);
        assert_eq!(Hello::read(ASKED.as_bytes(), 10), None);
        for (from, to) in [("reply.celery.pidbox", "amq.direct"), ("\"t\"", "7"), ("reply_to", "to"), ("\"k\"", "null")]
        {
            assert_eq!(Hello::read(ASKED.replace(from, to).as_bytes(), 1000), None, "{to}");
        }
        assert_eq!(Hello::read(b"\xff", 10), None);
        assert_eq!(Hello::read(b"[]", 10), None);
    }
}
