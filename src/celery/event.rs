//! What workers tell of themselves and of tasks ("events").

use crate::control::Hello;
use crate::json;
use serde_json::Value;
use uuid::Uuid;

/// The exchange of events: topic, durable.
pub const EXCHANGE: &str = "celeryev";
/// The longest host name kept, in bytes; an event with a longer one is left out.
pub const MAX_HOSTNAME: usize = 255;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Of a worker.
    Worker(WorkerEvent),
    /// Of a task; only from workers that run with `-E`.
    Task(TaskEvent),
    /// A worker that starts asks what was revoked. Not an event to Celery, but heard in the same place.
    Hello(Hello),
}

/// What a worker tells of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerEvent {
    /// What.
    pub kind: WorkerEventKind,
    /// `name@host`: the worker's identity.
    pub hostname: String,
    /// How many tasks it works on.
    pub active: Option<u64>,
    /// How many tasks it has accepted since it started.
    pub processed: Option<u64>,
    /// Seconds between its heartbeats.
    pub freq: Option<f64>,
    /// Its Celery version.
    pub version: Option<String>,
    /// When, by its clock: seconds since 1970 (UTC).
    pub timestamp: Option<f64>,
}

/// What happened to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEventKind {
    /// It started.
    Online,
    /// It lives.
    Heartbeat,
    /// It stops.
    Offline,
}

/// What a worker tells of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvent {
    /// What.
    pub kind: TaskEventKind,
    /// Which task.
    pub id: Uuid,
    /// By which worker (`name@host`).
    pub hostname: String,
    /// When, by its clock: seconds since 1970 (UTC).
    pub timestamp: Option<f64>,
}

/// What happened to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEventKind {
    /// A client sent it.
    Sent,
    /// A worker has it.
    Received,
    /// A worker began it.
    Started,
    /// It returned.
    Succeeded,
    /// It raised.
    Failed,
    /// It will be tried again.
    Retried,
    /// It was cancelled or discarded.
    Revoked,
    /// The worker refused it.
    Rejected,
}

/// The events in a message: a single object (Celery 3.1, and worker events of every version) or a list of them (task
/// events of Celery 4 and 5). Events of unknown types, and those without a host or a task's id, are left out.
///
/// # Errors
/// What is wrong with a body that is longer than `limit` bytes or no such JSON.
pub fn events(body: &[u8], limit: usize) -> Result<Vec<Event>, String> {
    if body.len() > limit {
        return Err(format!("an event has {} bytes, more than {limit}", body.len()));
    }
    let text = std::str::from_utf8(body).map_err(|_| "an event is not UTF-8".to_owned())?;
    match serde_json::from_str(&json::mended(text)).map_err(|e| format!("an event is not JSON: {e}"))? {
        Value::Array(list) => Ok(list.iter().filter_map(event).collect()),
        single @ Value::Object(_) => Ok(event(&single).into_iter().collect()),
        _ => Err("an event is neither an object nor a list".to_owned()),
    }
}

fn event(value: &Value) -> Option<Event> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let hostname = text("hostname").filter(|h| !h.is_empty() && h.len() <= MAX_HOSTNAME)?.to_owned();
    let timestamp = value.get("timestamp").and_then(Value::as_f64);
    let name = text("type")?;
    if let Some(kind) = worker_kind(name) {
        return Some(Event::Worker(WorkerEvent {
            kind,
            hostname,
            active: value.get("active").and_then(Value::as_u64),
            processed: value.get("processed").and_then(Value::as_u64),
            freq: value.get("freq").and_then(Value::as_f64),
            version: text("sw_ver").filter(|v| v.len() <= 32).map(str::to_owned),
            timestamp,
        }));
    }
    let id = text("uuid").and_then(|id| Uuid::try_parse(id).ok());
    Some(Event::Task(TaskEvent { kind: task_kind(name)?, id: id?, hostname, timestamp }))
}

fn worker_kind(name: &str) -> Option<WorkerEventKind> {
    Some(match name {
        "worker-online" => WorkerEventKind::Online,
        "worker-heartbeat" => WorkerEventKind::Heartbeat,
        "worker-offline" => WorkerEventKind::Offline,
        _ => return None,
    })
}

fn task_kind(name: &str) -> Option<TaskEventKind> {
    Some(match name {
        "task-sent" => TaskEventKind::Sent,
        "task-received" => TaskEventKind::Received,
        "task-started" => TaskEventKind::Started,
        "task-succeeded" => TaskEventKind::Succeeded,
        "task-failed" => TaskEventKind::Failed,
        "task-retried" => TaskEventKind::Retried,
        "task-revoked" => TaskEventKind::Revoked,
        "task-rejected" => TaskEventKind::Rejected,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_event_is_left_out_or_refused() {
        let bodies = [r#"[{"type": "task-started"}, 1, {"hostname": "h", "type": "task-started", "uuid": "x"}]"#, "{}"];
        for body in bodies {
            assert_eq!(events(body.as_bytes(), 1000), Ok(Vec::new()));
        }
        assert!(events(b"3", 10).is_err());
        assert!(events(b"[\xff]", 10).is_err());
        assert!(events(b"[1, 2, 3, 4]", 10).is_err());
    }

    proptest! {
        #[test]
        fn bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = events(&body, 150);
        }
    }
}
