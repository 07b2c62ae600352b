//! What a worker reports of a task: one message on the reply queue.

use crate::json;
use crate::raised::Raised;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The longest name of a state.
pub const MAX_STATE: usize = 64;
/// The longest traceback kept, in bytes; of a longer one the end counts.
pub const MAX_TRACEBACK: usize = 64 * 1024;

/// Where workers with the amqp result backend (Celery up to 4) send results: a direct, durable exchange. Each worker
/// declares a queue for each task there, named by its [`key`], and never reads it.
pub const EXCHANGE: &str = "celeryresults";

/// The routing key of a task's results on [`EXCHANGE`], and the name of its queue: the id without dashes.
pub fn key(id: Uuid) -> String {
    id.simple().to_string()
}

/// A worker's report, read and checked.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whose.
    pub id: Uuid,
    /// `STARTED`, `SUCCESS`, … or whatever the worker invented: at most [`MAX_STATE`] of letters, digits, space and `_-.:/`.
    pub state: String,
    /// What the worker sent with it, always readable as a [`Value`]: as it wrote it, numbers included, except that `NaN`
    /// and the infinities are `null`, half surrogate pairs are U+FFFD and kombu's typed objects are plain values.
    pub result: Box<RawValue>,
    /// Where it failed.
    pub traceback: Option<String>,
    /// When it was made, as the worker writes it (`date_done`, of Celery 5): at most [`MAX_STATE`] bytes.
    pub done: Option<String>,
}

/// A message on the reply queue that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a result cannot be read: {reason}")]
pub struct Garbled {
    /// Whose result it would have been, if that much could be known.
    pub id: Option<Uuid>,
    /// What is wrong with it.
    pub reason: String,
}

/// The progress that our clients know: `{current, total, worker_id_version, start_time, host, type}`. What is missing or
/// of another type is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// How much is done, of `total`.
    pub current: Option<f64>,
    /// How much there is to do.
    pub total: Option<f64>,
    /// The worker's version.
    pub version: Option<String>,
    /// When this run began, as the worker writes it; with `host` it tells runs apart.
    pub start_time: Option<String>,
    /// Where it runs.
    pub host: Option<String>,
}

impl Report {
    /// The exception behind FAILURE, RETRY and REVOKED; `None` for other states.
    pub fn raised(&self) -> Option<Raised> {
        matches!(self.state.as_str(), "FAILURE" | "RETRY" | "REVOKED").then(|| Raised::read(&self.state, &self.value()))
    }

    /// The progress in the result; all `None` if it holds none.
    pub fn progress(&self) -> Progress {
        let value = self.value();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| value.get(key).and_then(Value::as_f64);
        Progress {
            current: number("current"),
            total: number("total"),
            version: text("worker_id_version"),
            start_time: text("start_time"),
            host: text("host"),
        }
    }

    /// The result as a value. (Null if it cannot be read, which [`report`] has ruled out.)
    pub fn value(&self) -> Value {
        serde_json::from_str(self.result.get()).unwrap_or(Value::Null)
    }
}

#[derive(Deserialize)]
struct Wire {
    status: Option<Value>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    traceback: Option<Value>,
    task_id: Option<Value>,
    date_done: Option<Value>,
}

/// Reads a message of the reply queue (backends rpc and amqp) or of Redis (then with `correlation_id` from the key).
///
/// `content_type` and `content_encoding` are the AMQP properties, `limit` the longest body in bytes. The task's id is the
/// body's `task_id`, as Celery's own clients read it; the correlation id counts where the body has none.
///
/// # Errors
/// [`Garbled`], with the id from `correlation_id` where that is a UUID.
pub fn report(
    correlation_id: Option<&str>,
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    body: &[u8],
    limit: usize,
) -> Result<Report, Garbled> {
    let correlated = correlation_id.and_then(|id| Uuid::try_parse(id).ok());
    let garbled = |reason: String| Garbled { id: correlated, reason };
    if body.len() > limit {
        return Err(garbled(format!("it has {} bytes, more than {limit}", body.len())));
    }
    readable(content_type, content_encoding).map_err(garbled)?;
    let text = std::str::from_utf8(body).map_err(|_| garbled("it is not UTF-8".to_owned()))?;
    let text = json::mended(text);
    let wire: Wire = serde_json::from_str(&text).map_err(|e| garbled(format!("it is not a JSON result: {e}")))?;
    let id = whose(wire.task_id.as_ref(), correlated)?;
    let state = state(wire.status).map_err(|reason| Garbled { id: Some(id), reason })?;
    let result =
        plain(wire.result).map_err(|e| Garbled { id: Some(id), reason: format!("its result cannot be read: {e}") })?;
    let done =
        wire.date_done.as_ref().and_then(Value::as_str).filter(|text| text.len() <= MAX_STATE).map(str::to_owned);
    Ok(Report { id, state, result, traceback: wire.traceback.and_then(traceback), done })
}

/// Is it JSON in UTF-8, as far as its properties say?
fn readable(content_type: Option<&str>, content_encoding: Option<&str>) -> Result<(), String> {
    let short = |text: &str| text.chars().take(64).collect::<String>();
    if let Some(mime) = content_type
        && !mime.split(';').next().is_some_and(|m| m.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err(format!("its content type is {:?}: set result_serializer = \"json\" on the worker", short(mime)));
    }
    let known = ["utf-8", "utf8", "us-ascii", "ascii", "binary"];
    match content_encoding {
        Some(encoding) if !known.iter().any(|k| encoding.eq_ignore_ascii_case(k)) => {
            Err(format!("its content encoding is {:?}, not utf-8", short(encoding)))
        }
        _ => Ok(()),
    }
}

fn whose(task_id: Option<&Value>, correlated: Option<Uuid>) -> Result<Uuid, Garbled> {
    let named = match task_id {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_str()
                .and_then(|id| Uuid::try_parse(id).ok())
                .ok_or_else(|| Garbled { id: correlated, reason: "its task_id is not a UUID".to_owned() })?,
        ),
    };
    // Celery sends the same id in both. Should they differ, its own clients believe the body.
    let nobody = || Garbled { id: None, reason: "it names no task".to_owned() };
    named.or(correlated).ok_or_else(nobody)
}

fn state(status: Option<Value>) -> Result<String, String> {
    let Some(Value::String(state)) = status else { return Err("it has no status".to_owned()) };
    let known = |c: char| c.is_ascii_alphanumeric() || " _-.:/".contains(c);
    if state.is_empty() || state.len() > MAX_STATE || !state.chars().all(known) {
        return Err(format!("its status is not a name of 1 to {MAX_STATE} letters, digits, spaces and _-.:/"));
    }
    Ok(state)
}

fn plain(result: Option<Box<RawValue>>) -> Result<Box<RawValue>, serde_json::Error> {
    let Some(raw) = result else { return Ok(RawValue::NULL.to_owned()) };
    // Parsed even if the text is kept: a raw value may hold numbers beyond any range, which readers would stumble over.
    let value: Value = serde_json::from_str(raw.get())?;
    if json::typed(raw.get()) { serde_json::value::to_raw_value(&json::plain(value)) } else { Ok(raw) }
}

fn traceback(value: Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    let from = text.len().saturating_sub(MAX_TRACEBACK);
    let from = (from..=text.len()).find(|i| text.is_char_boundary(*i))?;
    Some(text[from..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn read(body: &str) -> Result<Report, Garbled> {
        report(Some(ID), Some("application/json"), Some("utf-8"), body.as_bytes(), 1 << 20)
    }

    fn reason(result: Result<Report, Garbled>) -> (Option<Uuid>, String) {
        let garbled = result.expect_err("unreadable");
        (garbled.id, garbled.reason)
    }

    #[test]
    fn what_cannot_be_read_says_why_and_whose() {
        let id = Uuid::try_parse(ID).ok();
        let ok = br#"{"status": "SUCCESS", "result": 1}"#;
        let pickle = reason(report(Some(ID), Some("application/x-python-serialize"), None, ok, 99));
        assert_eq!(pickle.0, id);
        assert!(pickle.1.contains("result_serializer"), "{}", pickle.1);
        assert!(reason(report(Some(ID), None, Some("base64"), ok, 99)).1.contains("base64"));
        assert!(reason(report(Some(ID), None, None, ok, 5)).1.contains("more than 5"));
        assert!(reason(report(Some(ID), None, None, b"{\"status\": \"\xff\"}", 99)).1.contains("UTF-8"));
        assert!(reason(report(None, None, None, ok, 99)).1.contains("names no task"));
        assert!(reason(read("[]")).1.contains("not a JSON result"));
        assert!(reason(read(r#"{"status": "S"}}"#)).1.contains("not a JSON result"));
        assert!(reason(read(&format!("{}1{}", "[".repeat(500), "]".repeat(500)))).0 == id);
        assert!(reason(read(r#"{"result": 1}"#)).1.contains("no status"));
        assert!(reason(read(r#"{"status": "A\nB"}"#)).1.contains("not a name"));
        assert!(reason(read(&format!(r#"{{"status": "{}"}}"#, "A".repeat(65)))).1.contains("not a name"));
        assert!(reason(read(r#"{"status": "A", "task_id": "x"}"#)).1.contains("not a UUID"));
        assert!(reason(read(r#"{"status": "A", "task_id": 7}"#)).1.contains("not a UUID"));
    }

    #[test]
    fn the_body_says_whose_it_is_and_else_the_correlation_id() {
        let id = |body: &str| read(body).expect("a report").id.as_u128();
        assert_eq!(id(r#"{"status": "A"}"#), 7);
        assert_eq!(id(r#"{"status": "A", "task_id": null}"#), 7);
        assert_eq!(id(r#"{"status": "A", "task_id": "00000000-0000-0000-0000-000000000008"}"#), 8);
    }

    #[test]
    fn results_keep_their_text_where_they_can() {
        let exact = read(r#"{"status": "SUCCESS", "result": {"n": 123456789012345678901234567890, "x": 1.50}}"#);
        assert_eq!(exact.expect("a report").result.get(), r#"{"n": 123456789012345678901234567890, "x": 1.50}"#);
        assert_eq!(read(r#"{"status": "SUCCESS"}"#).expect("a report").result.get(), "null");
        let nan = read(r#"{"status": "SUCCESS", "result": [NaN, "NaN", -Infinity]}"#).expect("a report");
        assert_eq!(nan.result.get(), r#"[null, "NaN", null]"#);
        let typed =
            read(r#"{"status": "SUCCESS", "result": {"at": {"__type__": "datetime", "__value__": "2026-01-01"}}}"#);
        assert_eq!(typed.expect("a report").result.get(), r#"{"at":"2026-01-01"}"#);
        let surrogate = read(r#"{"status": "SUCCESS", "result": "\ud800.wav"}"#).expect("a report");
        assert_eq!(surrogate.value(), "\u{fffd}.wav");
        assert!(reason(read(r#"{"status": "SUCCESS", "result": 1e999}"#)).1.contains("out of range"));
    }

    #[test]
    fn a_long_traceback_keeps_its_end() {
        let long = format!("{}é the end", "é".repeat(MAX_TRACEBACK));
        let body = format!(r#"{{"status": "FAILURE", "traceback": "{long}"}}"#);
        let kept = read(&body).expect("a report").traceback.expect("a traceback");
        assert!(kept.len() <= MAX_TRACEBACK && kept.ends_with("the end"));
    }

    #[test]
    fn progress_is_read_without_trust() {
        let body = r#"{"status": "PROGRESS", "result": {"current": 10, "total": "x", "worker_id_version": "1.2.3"}}"#;
        let progress = read(body).expect("a report").progress();
        assert_eq!((progress.current, progress.total, progress.version.as_deref()), (Some(10.0), None, Some("1.2.3")));
        assert_eq!(read(r#"{"status": "PROGRESS", "result": 3}"#).expect("a report").progress(), Progress::default());
    }

    proptest! {
        #[test]
        fn bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300), id in ".{0,40}", kind in ".{0,20}") {
            let _ = report(Some(&id), Some(&kind), None, &body, 200);
            let _ = report(Some(&id), None, Some(&kind), &body, 300);
        }

        #[test]
        fn near_results_never_panic(
            status in "FAILURE|RETRY|REVOKED|PROGRESS|.{0,8}",
            result in r#"null|1|NaN|"x"|\[\]|\{"exc_type": (1|"A"|null|\[\]), "exc_message": (1|"m"|\[1, "b", \[\]\]|\{\}|null)\}|\{"__type__": "x", "__value__": .{0,4}\}"#,
            cut in 0usize..200,
        ) {
            let body = format!(r#"{{"status": "{status}", "result": {result}, "traceback": 1, "task_id": "{ID}"}}"#);
            let mut cut = cut.min(body.len());
            while !body.is_char_boundary(cut) { cut -= 1 }
            for text in [&body[..], &body[..cut]] {
                if let Ok(report) = report(None, None, None, text.as_bytes(), 1000) {
                    let _ = report.raised();
                    let _ = report.progress();
                }
            }
        }
    }
}
