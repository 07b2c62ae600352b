//! What a worker reports of a task.

use super::Request;
use crate::wire::{Message, Properties};
use serde::Serialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

#[derive(Serialize)]
struct Body<'a> {
    status: &'a str,
    result: &'a RawValue,
    traceback: Option<&'a str>,
    children: [&'a str; 0],
    date_done: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<&'a str>,
    task_id: &'a str,
}

/// A report of a task, to whoever sent it; `None` if nobody asked for one. `date_done` (ISO 8601) goes with an end.
///
/// It is persistent: workers' results should survive a restart of the broker.
pub fn reply(request: &Request, state: &str, result: &RawValue, date_done: Option<&str>) -> Option<Message> {
    let queue = request.reply_to.as_ref().filter(|_| !request.ignore_result)?;
    let body = Body {
        status: state,
        result,
        traceback: None,
        children: [],
        date_done,
        parent_id: request.parent_id.as_deref(),
        task_id: &request.id,
    };
    // Texts and JSON always serialise.
    let body = serde_json::to_vec(&body).ok()?;
    Some(Message {
        exchange: String::new(),
        routing_key: queue.clone(),
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            delivery_mode: Some(2),
            priority: Some(0),
            correlation_id: Some(request.id.clone()),
            ..Properties::default()
        },
        headers: Vec::new(),
        body: body.into(),
    })
}

/// An exception as the result of FAILURE, RETRY and REVOKED. Celery's own classes are named with their module, so that
/// its clients raise them again; others are made up there.
pub fn raised(class: &str, message: &str) -> Box<RawValue> {
    let module = match class {
        "NotRegistered" | "TaskRevokedError" => Some("celery.exceptions"),
        "TimeLimitExceeded" | "WorkerLostError" => Some("billiard.exceptions"),
        "OSError" | "ValueError" | "TypeError" | "RuntimeError" | "KeyError" => Some("builtins"),
        _ => None,
    };
    let value = json!({ "exc_type": class, "exc_message": [message], "exc_module": module });
    // Texts always serialise.
    to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Protocol, report};
    use serde_json::Value;
    use uuid::Uuid;

    fn request() -> Request {
        let call = Call::new(Uuid::from_u128(7), "worker.stub", "stub", "replies", "gateway@host");
        let body = call.body(Protocol::Two, &Value::Null);
        Request::read(&call.message(Protocol::Two, body), 1000).expect("a task")
    }

    #[test]
    fn a_report_is_as_celery_writes_it() {
        let result = RawValue::from_string("[1.50]".to_owned()).expect("JSON");
        let message = reply(&request(), "SUCCESS", &result, Some("2026-01-02T03:04:05+00:00")).expect("asked for");
        let id = Uuid::from_u128(7).to_string();
        assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "replies"));
        assert_eq!(message.properties.correlation_id.as_deref(), Some(id.as_str()));
        assert_eq!(message.properties.delivery_mode, Some(2));
        let body = String::from_utf8(message.body.to_vec()).expect("UTF-8");
        let expected = format!(
            r#"{{"status":"SUCCESS","result":[1.50],"traceback":null,"children":[],"date_done":"2026-01-02T03:04:05+00:00","task_id":"{id}"}}"#
        );
        assert_eq!(body, expected);
        let heard = report(Some(&id), Some("application/json"), Some("utf-8"), body.as_bytes(), 1000);
        assert_eq!(heard.expect("a report").result.get(), "[1.50]");
    }

    #[test]
    fn nobody_asked_nothing_is_said() {
        let none = Request { reply_to: None, ..request() };
        assert_eq!(reply(&none, "SUCCESS", RawValue::NULL, None), None);
        let ignored = Request { ignore_result: true, ..request() };
        assert_eq!(reply(&ignored, "SUCCESS", RawValue::NULL, None), None);
    }
}
