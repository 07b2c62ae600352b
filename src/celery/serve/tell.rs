//! What a worker tells everybody ("events"): of itself, and of each task, as a Celery worker does with `-E`.

use crate::{
    event::EXCHANGE,
    wire::{Field, Message, Properties},
};
use serde_json::{Map, Value, json};

/// Who tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teller {
    /// `name@host`.
    pub hostname: String,
    /// The worker's process.
    pub pid: u32,
}

impl Teller {
    /// An event of this type (`task-started`, …) with these fields beside those that all have. `clock` is the logical
    /// one, `now` seconds since 1970 (UTC).
    pub fn event(&self, kind: &str, clock: u64, now: f64, fields: Value) -> Value {
        let mut event = Map::new();
        event.insert("hostname".to_owned(), json!(self.hostname));
        event.insert("utcoffset".to_owned(), json!(0));
        event.insert("pid".to_owned(), json!(self.pid));
        event.insert("clock".to_owned(), json!(clock));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        event.insert("timestamp".to_owned(), json!(now));
        event.insert("type".to_owned(), json!(kind));
        Value::Object(event)
    }

    fn message(&self, routing_key: String, body: &Value) -> Message {
        Message {
            exchange: EXCHANGE.to_owned(),
            routing_key,
            properties: Properties {
                content_type: Some("application/json".to_owned()),
                content_encoding: Some("utf-8".to_owned()),
                delivery_mode: Some(1),
                priority: Some(0),
                ..Properties::default()
            },
            headers: vec![("hostname".to_owned(), Field::Text(self.hostname.clone()))],
            body: body.to_string().into(),
        }
    }
}

/// The message of one event of the worker itself: `worker-online`, `worker-heartbeat`, `worker-offline`.
pub fn worker_event(teller: &Teller, event: &Value) -> Message {
    let kind = event["type"].as_str().unwrap_or_default().replacen('-', ".", 1);
    teller.message(kind, event)
}

/// The message of events of tasks: a list, as Celery 4 and 5 send it.
pub fn task_events(teller: &Teller, events: Vec<Value>) -> Message {
    teller.message("task.multi".to_owned(), &Value::Array(events))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, TaskEventKind, WorkerEventKind, events};

    #[test]
    fn what_we_tell_is_what_we_hear() {
        let teller = Teller { hostname: "w@h".into(), pid: 7 };
        let beat = teller.event("worker-heartbeat", 3, 1.5, json!({"freq": 2.0, "active": 1, "processed": 5}));
        let message = worker_event(&teller, &beat);
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("celeryev", "worker.heartbeat"));
        let [Event::Worker(heard)] = &events(&message.body, 1000).expect("events")[..] else { panic!("one event") };
        assert_eq!((heard.kind, heard.active, heard.freq), (WorkerEventKind::Heartbeat, Some(1), Some(2.0)));

        let id = uuid::Uuid::from_u128(7);
        let started = teller.event("task-started", 4, 1.5, json!({"uuid": id}));
        let message = task_events(&teller, vec![started]);
        assert_eq!(message.routing_key, "task.multi");
        let [Event::Task(heard)] = &events(&message.body, 1000).expect("events")[..] else { panic!("one event") };
        assert_eq!((heard.kind, heard.id, heard.hostname.as_str()), (TaskEventKind::Started, id, "w@h"));
    }
}
