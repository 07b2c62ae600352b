//! The exception behind a FAILURE, RETRY or REVOKED.

use serde_json::{Value, json};

/// The longest message kept, in bytes.
pub const MAX_MESSAGE: usize = 8 * 1024;
/// The longest class or module name kept, in bytes.
pub const MAX_NAME: usize = 128;

/// A worker's exception, of whatever Celery version: as text for people, without Python's `repr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Its class, without module: `DownloadError`.
    pub class: String,
    /// Its module, if told (not by Celery 3.1).
    pub module: Option<String>,
    /// One argument: itself; several: joined by `, `, those that are no strings as JSON. For NotRegistered a sentence that
    /// names the task; the text of a SwiftException is never kept (it holds addresses and keys of the object store).
    pub message: String,
}

impl Raised {
    /// Reads the result of a task in `state`. Whatever is missing or of another type is replaced; this never fails.
    pub fn read(state: &str, result: &Value) -> Self {
        match unwrapped(result) {
            Some(inner) => Self::plain(state, &inner),
            None => Self::plain(state, result),
        }
    }

    fn plain(state: &str, result: &Value) -> Self {
        let fields = |key: &str| result.get(key).unwrap_or(&Value::Null);
        let (module, class) = match (fields("exc_type").as_str(), result) {
            (Some(name), _) => named(name),
            (None, Value::Null) if state == "REVOKED" => (None, "TaskRevokedError".to_owned()),
            (None, Value::Null) => (None, "NoneType".to_owned()),
            (None, _) => (None, "Exception".to_owned()),
        };
        let module = fields("exc_module").as_str().map(|m| cut(m, MAX_NAME)).or(module);
        let said = match result {
            Value::Object(_) => text(fields("exc_message")),
            other => text(other),
        };
        let message = match class.as_str() {
            "NotRegistered" => {
                let task = said.trim_matches(|c| c == '\'' || c == '"');
                format!(
                    "the worker does not know the task {task}: is it configured under another name, or is another worker on its queue?"
                )
            }
            "SwiftException" => "the worker could not use its object store".to_owned(),
            _ => said,
        };
        Self { class, module, message }
    }
}

/// The exception inside the one that Celery puts round what Python cannot pickle: its arguments are module, class,
/// arguments and `repr` of the exception.
fn unwrapped(result: &Value) -> Option<Value> {
    if result.get("exc_type")?.as_str()? != "UnpickleableExceptionWrapper" {
        return None;
    }
    let [module, class @ Value::String(_), arguments, ..] = result.get("exc_message")?.as_array()?.as_slice() else {
        return None;
    };
    Some(json!({"exc_module": module, "exc_type": class, "exc_message": arguments}))
}

/// `package.Class` as module and class.
fn named(name: &str) -> (Option<String>, String) {
    match name.rsplit_once('.') {
        Some((module, class)) if !class.is_empty() => (Some(cut(module, MAX_NAME)), cut(class, MAX_NAME)),
        _ => (None, cut(name, MAX_NAME)),
    }
}

/// `exc_message`: a string from Celery 3.1, a list of arguments from 4 and 5.
fn text(message: &Value) -> String {
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = match message {
        Value::Null => String::new(),
        Value::Array(arguments) => arguments.iter().map(one).collect::<Vec<_>>().join(", "),
        other => one(other),
    };
    cut(&text, MAX_MESSAGE)
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit - '…'.len_utf8()).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(result: Value) -> Raised {
        Raised::read("FAILURE", &result)
    }

    #[test]
    fn every_form_of_message() {
        let message = |exc_message: Value| read(json!({"exc_type": "E", "exc_message": exc_message})).message;
        assert_eq!(message(json!("boom")), "boom");
        assert_eq!(message(json!(["boom"])), "boom");
        assert_eq!(message(json!(["a", 2, [3], null, {"k": "v"}])), r#"a, 2, [3], null, {"k":"v"}"#);
        assert_eq!(message(json!([])), "");
        assert_eq!(message(json!(null)), "");
        assert_eq!(message(json!(7)), "7");
    }

    #[test]
    fn whatever_is_missing_is_replaced() {
        assert_eq!(read(json!(null)).class, "NoneType");
        assert_eq!(Raised::read("REVOKED", &json!(null)).class, "TaskRevokedError");
        assert_eq!(read(json!("text")), Raised { class: "Exception".into(), module: None, message: "text".into() });
        assert_eq!(read(json!({})).class, "Exception");
        assert_eq!(read(json!({"exc_type": 3})).class, "Exception");
        let dotted = read(json!({"exc_type": "a.b.C"}));
        assert_eq!((dotted.module.as_deref(), dotted.class.as_str()), (Some("a.b"), "C"));
    }

    #[test]
    fn some_classes_have_their_own_text() {
        let unknown = read(json!({"exc_type": "NotRegistered", "exc_message": ["worker.nope"]}));
        assert!(unknown.message.starts_with("the worker does not know the task worker.nope:"), "{}", unknown.message);
        let quoted = read(json!({"exc_type": "NotRegistered", "exc_message": "'worker.nope'"}));
        assert_eq!(quoted.message, unknown.message);
        let swift = read(json!({"exc_type": "SwiftException", "exc_message": ["key=hunter2"]}));
        assert!(!swift.message.contains("hunter2"));
    }

    #[test]
    fn what_celery_wrapped_is_unwrapped() {
        let wrapped = |arguments: Value| {
            let module = "celery.utils.serialization";
            read(json!({"exc_type": "UnpickleableExceptionWrapper", "exc_message": arguments, "exc_module": module}))
        };
        let inner = wrapped(json!(["nowhere", "HiddenError", ["boom", 2], "HiddenError('boom', 2)"]));
        let expected =
            Raised { class: "HiddenError".into(), module: Some("nowhere".into()), message: "boom, 2".into() };
        assert_eq!(inner, expected);
        for odd in [json!([]), json!(["nowhere", 7, []]), json!("text"), json!(null)] {
            assert_eq!(wrapped(odd).class, "UnpickleableExceptionWrapper");
        }
    }

    #[test]
    fn texts_are_bounded() {
        let long = read(json!({"exc_type": "é".repeat(500), "exc_message": "é".repeat(9000)}));
        assert!(long.message.len() <= MAX_MESSAGE && long.message.ends_with('…'));
        assert!(long.class.len() <= MAX_NAME);
    }
}
