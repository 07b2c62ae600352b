//! A task on its way to a worker.

use crate::wire::{Field, Message, Properties};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Celery's message protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Celery 3.1: everything in the body.
    One,
    /// Celery 4 and 5: arguments in the body, the rest in headers.
    #[default]
    Two,
}

/// Everything about a task but its argument.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The task's id; also its correlation id, its root's id and the message's id.
    pub id: Uuid,
    /// `<app>.<task>`, as the worker registered it.
    pub task: String,
    /// The worker's queue.
    pub queue: String,
    /// The queue that takes the results.
    pub reply_to: String,
    /// How often it was retried; 0 on a first run. Above `i32::MAX` counts as `i32::MAX`.
    pub retries: u32,
    /// Who sends it, as shown by tools: `gateway@host`.
    pub origin: String,
    /// What logs, events and Flower show as arguments: a text without credentials. [`Call::new`] says `(...)`.
    pub shown: String,
    /// Hard and soft time limit in seconds; above `i32::MAX` counts as `i32::MAX`.
    pub time_limit: (Option<u32>, Option<u32>),
    /// The worker discards it when it is started later than this: ISO 8601, with an offset.
    pub expires: Option<String>,
    /// Trace context (`traceparent`, `tracestate`, …), sent as headers of their own as
    /// opentelemetry-instrumentation-celery reads them. A name that the protocol uses itself is left out.
    pub trace: Vec<(String, String)>,
}

impl Call {
    /// A first run without limits, expiry or trace.
    pub fn new(
        id: Uuid,
        task: impl Into<String>,
        queue: impl Into<String>,
        reply_to: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        Self {
            id,
            task: task.into(),
            queue: queue.into(),
            reply_to: reply_to.into(),
            retries: 0,
            origin: origin.into(),
            shown: "(...)".to_owned(),
            time_limit: (None, None),
            expires: None,
            trace: Vec::new(),
        }
    }

    /// The body for this one positional argument. Made once: a task that is sent again is sent with the same bytes.
    ///
    /// Protocol 2 puts only the arguments into the body; protocol 1 also id, name, retries, expiry and time limit, so
    /// these must not change between [`Call::body`] and [`Call::message`].
    pub fn body(&self, protocol: Protocol, argument: &Value) -> Bytes {
        let body = match protocol {
            Protocol::Two => json!([
                [argument],
                {},
                {"callbacks": null, "errbacks": null, "chain": null, "chord": null}
            ]),
            Protocol::One => json!({
                "task": self.task, "id": self.id, "args": [argument], "kwargs": {},
                "retries": self.retries, "eta": null, "expires": self.expires, "utc": true,
                "callbacks": null, "errbacks": null, "timelimit": [self.time_limit.0, self.time_limit.1],
                "taskset": null, "chord": null
            }),
        };
        Bytes::from(body.to_string())
    }

    /// The message that carries this body: to the default exchange, persistent, named by the task's id.
    pub fn message(&self, protocol: Protocol, body: Bytes) -> Message {
        let mut headers = match protocol {
            Protocol::Two => self.headers(),
            Protocol::One => Vec::new(),
        };
        for (name, value) in &self.trace {
            if headers.iter().all(|(known, _)| known != name) {
                headers.push((name.clone(), Field::Text(value.clone())));
            }
        }
        Message {
            exchange: String::new(),
            routing_key: self.queue.clone(),
            properties: Properties {
                content_type: Some("application/json".to_owned()),
                content_encoding: Some("utf-8".to_owned()),
                delivery_mode: Some(2),
                priority: Some(0),
                correlation_id: Some(self.id.to_string()),
                reply_to: Some(self.reply_to.clone()),
                message_id: Some(self.id.to_string()),
                expiration: None,
            },
            headers,
            body,
        }
    }

    /// Every header that Celery 5.7 sends, empty ones included: workers read some of them without a default.
    fn headers(&self) -> Vec<(String, Field)> {
        let id = self.id.to_string();
        let limit = |seconds: Option<u32>| seconds.map_or(Field::Void, |s| Field::Int(clamp(s)));
        [
            ("lang", "py".into()),
            ("task", self.task.as_str().into()),
            ("id", id.as_str().into()),
            ("shadow", Field::Void),
            ("eta", Field::Void),
            ("expires", self.expires.as_deref().into()),
            ("group", Field::Void),
            ("group_index", Field::Void),
            ("retries", Field::Int(clamp(self.retries))),
            // Hard before soft, as Celery's code has it; its protocol page has it the other way round.
            ("timelimit", Field::List(vec![limit(self.time_limit.0), limit(self.time_limit.1)])),
            ("root_id", id.as_str().into()),
            ("parent_id", Field::Void),
            ("argsrepr", self.shown.as_str().into()),
            ("kwargsrepr", "{}".into()),
            ("origin", self.origin.as_str().into()),
            ("ignore_result", Field::Void),
            ("replaced_task_nesting", Field::Int(0)),
            ("stamped_headers", Field::Void),
            ("stamps", Field::Table(Vec::new())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// The id in a task's body of protocol 1, where it stands nowhere else. `None` for other bodies, protocol 2's included,
/// and those longer than `limit` bytes.
pub fn id_in(body: &[u8], limit: usize) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct One {
        id: Uuid,
    }
    let read = || serde_json::from_slice::<One>(body).ok().map(|task| task.id);
    (body.len() <= limit).then(read)?
}

fn clamp(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The one positional argument of a service's task.
///
/// `request_time` is `YYYY-MM-DDThh:mm:ss`; `task` the task's name without the app; `misc` whatever else the client said.
pub fn argument(
    request_time: &str,
    task: &str,
    document_url: Option<&str>,
    annotations_url: Option<&str>,
    misc: Map<String, Value>,
) -> Value {
    json!({
        "request_time": request_time,
        "service": {
            "type": task,
            "document": {"url": document_url, "credentials": null},
            "misc": misc
        },
        "annotation_service": {"url": annotations_url, "credentials": null, "uuid": null}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_stands_in_a_body_of_protocol_1_alone() {
        let id = Uuid::from_u128(7);
        let call = Call::new(id, "worker.stub", "stub", "replies", "gateway@host");
        let one = call.body(Protocol::One, &json!({}));
        assert_eq!(id_in(&one, 1000), Some(id));
        assert_eq!(id_in(&one, one.len() - 1), None);
        assert_eq!(id_in(&call.body(Protocol::Two, &json!({"id": id})), 1000), None);
        for body in [&b"\xff"[..], b"", b"[1]", br#"{"id": "x"}"#, br#"{"id": 7}"#] {
            assert_eq!(id_in(body, 1000), None);
        }
    }
}
