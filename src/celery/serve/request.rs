//! A task as it arrives at a worker.

use crate::{
    json,
    wire::{Field, Message, Table},
};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

/// How the headers begin that a broker adds to a message: of its deaths and deliveries.
pub const NOTED: [&str; 5] = ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"];
/// The longest name or id, in bytes: AMQP's.
const MAX_NAME: usize = 255;
/// The longest text that shows arguments, in bytes.
const MAX_SHOWN: usize = 4096;

/// A task to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its id, as its sender wrote it.
    pub id: String,
    /// Its name: `<app>.<task>`.
    pub task: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Named arguments.
    pub kwargs: Map<String, Value>,
    /// How often it was retried.
    pub retries: u32,
    /// Not to be begun before: milliseconds since 1970 (UTC).
    pub eta: Option<i64>,
    /// Not to be begun after: milliseconds since 1970 (UTC).
    pub expires: Option<i64>,
    /// The hard time limit, in seconds.
    pub time_limit: Option<f64>,
    /// The queue that takes its results.
    pub reply_to: Option<String>,
    /// The task that it began with.
    pub root_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// Arguments as its sender wants them shown: positional, named.
    pub shown: (String, String),
    /// Its sender wants no result.
    pub ignore_result: bool,
    /// What else its sender wants done afterwards, by Celery's words for it: `callbacks`, `errbacks`, `chain`, `chord`.
    pub wanted_after: Vec<&'static str>,
}

/// What a sender may want done after a task.
const AFTER: [&str; 4] = ["callbacks", "errbacks", "chain", "chord"];

/// A message that is no task, or none that we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a task: {reason}")]
pub struct Unreadable {
    /// What is wrong with it.
    pub reason: String,
}

fn unreadable(reason: impl Into<String>) -> Unreadable {
    Unreadable { reason: reason.into() }
}

impl Request {
    /// Reads a message of protocol 2 (it has the header `task`) or 1; its body may have `limit` bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(message: &Message, limit: usize) -> Result<Self, Unreadable> {
        let body = parse(message, limit)?;
        let mut request = match message.header("task") {
            Some(_) => second(message, body)?,
            None => first(body)?,
        };
        request.reply_to = message.properties.reply_to.clone().filter(|queue| !queue.is_empty());
        Ok(request)
    }

    /// The one positional argument that a service's task has.
    ///
    /// # Errors
    /// What is wrong with the arguments, as Python would say it.
    pub fn argument(&self) -> Result<&Value, String> {
        match (self.args.as_slice(), self.kwargs.is_empty()) {
            ([argument], true) => Ok(argument),
            (args, _) => Err(format!(
                "{} takes 1 positional argument, and {} positional and {} named were given",
                self.task,
                args.len(),
                self.kwargs.len()
            )),
        }
    }
}

/// The same message once more: to be begun not before `eta` (ISO 8601, UTC; `None`: at once), retried so often.
/// What the broker noted on it ([`NOTED`]) is left out.
///
/// # Errors
/// [`Unreadable`], for a message of protocol 1 that could not be read either.
pub fn again(message: &Message, retries: u32, eta: Option<&str>) -> Result<Message, Unreadable> {
    let count = i32::try_from(retries).unwrap_or(i32::MAX);
    let mut copy = Message { exchange: String::new(), ..message.clone() };
    copy.headers.retain(|(name, _)| !NOTED.iter().any(|noted| name.starts_with(noted)));
    if message.header("task").is_some() {
        put(&mut copy.headers, "retries", Field::Int(count));
        put(&mut copy.headers, "eta", eta.into());
        return Ok(copy);
    }
    let mut body = parse(message, usize::MAX)?;
    let fields = body.as_object_mut().ok_or_else(|| unreadable("its body is no object"))?;
    fields.insert("retries".to_owned(), count.into());
    fields.insert("eta".to_owned(), eta.into());
    copy.body = body.to_string().into();
    Ok(copy)
}

fn put(headers: &mut Table, name: &str, value: Field) {
    match headers.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => headers.push((name.to_owned(), value)),
    }
}

fn parse(message: &Message, limit: usize) -> Result<Value, Unreadable> {
    let properties = &message.properties;
    let (kind, encoding) = (properties.content_type.as_deref(), properties.content_encoding.as_deref());
    if message.body.len() > limit {
        return Err(unreadable(format!("its body has {} bytes, more than {limit}", message.body.len())));
    }
    let is_json =
        |kind: &str| kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case("application/json"));
    if !kind.is_some_and(is_json) {
        return Err(unreadable("its content type is not application/json: set task_serializer = \"json\""));
    }
    if encoding.is_some_and(|e| !["utf-8", "utf8", "ascii", "us-ascii"].iter().any(|k| e.eq_ignore_ascii_case(k))) {
        return Err(unreadable("its content encoding is not utf-8"));
    }
    let text = std::str::from_utf8(&message.body).map_err(|_| unreadable("its body is not UTF-8"))?;
    let value = serde_json::from_str(&json::mended(text));
    value.map_err(|error| unreadable(format!("its body is not JSON: {error}")))
}

/// Protocol 2: arguments in the body, the rest in headers.
fn second(message: &Message, body: Value) -> Result<Request, Unreadable> {
    let text = |name: &str| match message.header(name) {
        Some(Field::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let Value::Array(parts) = body else { return Err(unreadable("its body is no list")) };
    let mut parts = parts.into_iter();
    let (args, kwargs, embed) = (parts.next(), parts.next(), parts.next());
    let limit = match message.header("timelimit") {
        Some(Field::List(limits)) => limits.first().and_then(seconds),
        _ => None,
    };
    let shown = |name| clip(text(name).unwrap_or_default());
    Ok(Request {
        id: name("id", text("id"))?,
        task: name("task", text("task"))?,
        args: list(args)?,
        kwargs: object(kwargs)?,
        retries: match message.header("retries") {
            Some(Field::Int(count)) => u32::try_from(*count).unwrap_or(0),
            _ => 0,
        },
        eta: moment("eta", text("eta"))?,
        expires: moment("expires", text("expires"))?,
        time_limit: limit,
        reply_to: None,
        root_id: text("root_id").map(str::to_owned),
        parent_id: text("parent_id").map(str::to_owned),
        shown: (shown("argsrepr"), shown("kwargsrepr")),
        ignore_result: matches!(message.header("ignore_result"), Some(Field::Bool(true))),
        wanted_after: embed.as_ref().and_then(Value::as_object).map(wanted_after).unwrap_or_default(),
    })
}

/// Protocol 1: everything in the body.
fn first(body: Value) -> Result<Request, Unreadable> {
    let Value::Object(mut body) = body else { return Err(unreadable("it has neither a header task nor an object")) };
    let (args, kwargs) = (body.remove("args"), body.remove("kwargs"));
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let limit = body.get("timelimit").and_then(|limits| limits.get(0)?.as_f64());
    Ok(Request {
        id: name("id", text("id"))?,
        task: name("task", text("task"))?,
        args: list(args)?,
        kwargs: object(kwargs)?,
        retries: body.get("retries").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        eta: moment("eta", text("eta"))?,
        expires: moment("expires", text("expires"))?,
        time_limit: limit.filter(|limit| *limit > 0.0),
        reply_to: None,
        root_id: None,
        parent_id: None,
        // Not shown: a document's URL may hold a password.
        shown: ("(...)".to_owned(), "{}".to_owned()),
        ignore_result: false,
        wanted_after: wanted_after(&body),
    })
}

fn wanted_after(embed: &Map<String, Value>) -> Vec<&'static str> {
    let is_something = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => false,
    };
    AFTER.into_iter().filter(|name| embed.get(*name).is_some_and(is_something)).collect()
}

fn name(what: &str, text: Option<&str>) -> Result<String, Unreadable> {
    match text {
        Some(text) if !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(unreadable(format!("its {what} is not a text of 1 to {MAX_NAME} bytes"))),
    }
}

fn list(value: Option<Value>) -> Result<Vec<Value>, Unreadable> {
    match value {
        Some(Value::Array(args)) => Ok(args.into_iter().map(json::plain).collect()),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err(unreadable("its args are no list")),
    }
}

fn object(value: Option<Value>) -> Result<Map<String, Value>, Unreadable> {
    match value {
        Some(Value::Object(kwargs)) => Ok(kwargs),
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Err(unreadable("its kwargs are no object")),
    }
}

fn seconds(field: &Field) -> Option<f64> {
    let seconds = match field {
        Field::Int(seconds) => f64::from(*seconds),
        Field::Double(seconds) => *seconds,
        _ => return None,
    };
    (seconds > 0.0).then_some(seconds)
}

/// ISO 8601; without an offset it is UTC, as Celery has it.
fn moment(what: &str, text: Option<&str>) -> Result<Option<i64>, Unreadable> {
    let Some(text) = text else { return Ok(None) };
    let with_offset = text.parse::<Timestamp>().ok();
    let without = || TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
    match with_offset.or_else(without) {
        Some(moment) => Ok(Some(moment.as_millisecond())),
        None => Err(unreadable(format!("its {what} is not a time in ISO 8601"))),
    }
}

/// Milliseconds since 1970 as Celery writes a moment: `2026-01-02T03:04:05.678+00:00`.
pub fn iso(milliseconds: i64) -> String {
    // Beyond the years that a timestamp holds nothing is scheduled.
    let moment = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX);
    let text = moment.to_string();
    format!("{}+00:00", text.trim_end_matches('Z'))
}

fn clip(text: &str) -> String {
    let end = (0..=text.len().min(MAX_SHOWN)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, Protocol};
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    fn sent(protocol: Protocol) -> Message {
        let mut call = Call::new(Uuid::from_u128(7), "worker.stub", "stub", "replies", "gateway@host");
        call.retries = 2;
        call.time_limit = (Some(60), None);
        call.expires = Some("2026-01-02T03:04:05.678+01:00".to_owned());
        let body = call.body(protocol, &json!({"a": "é"}));
        call.message(protocol, body)
    }

    #[test]
    fn what_we_send_is_what_we_read_in_both_protocols() {
        for protocol in [Protocol::One, Protocol::Two] {
            let request = Request::read(&sent(protocol), 1000).expect("a task");
            assert_eq!(request.id, Uuid::from_u128(7).to_string());
            assert_eq!((request.task.as_str(), request.reply_to.as_deref()), ("worker.stub", Some("replies")));
            assert_eq!(request.argument(), Ok(&json!({"a": "é"})));
            assert_eq!((request.eta, request.expires), (None, Some(1_767_319_445_678)), "{protocol:?}");
            assert_eq!(request.time_limit, Some(60.0));
            // Retries are of the header in protocol 2, and of the body, made before, in protocol 1.
            assert_eq!(request.retries, 2);
        }
    }

    #[test]
    fn recorded_tasks_of_every_version_are_read() {
        for (frame, text) in [
            (include_str!("../golden/task-3.1.json"), "3.1"),
            (include_str!("../golden/task-4.3.json"), "4.3"),
            (include_str!("../golden/task-5.7.json"), "5.7"),
        ] {
            let recorded: Value = serde_json::from_str(frame).expect("a frame");
            let properties = &recorded["properties"];
            let header = |(name, typed): (&String, &Value)| {
                let value = &typed["v"];
                let field = match typed["t"].as_str().expect("a type") {
                    "S" => Field::Text(value.as_str().expect("text").to_owned()),
                    "I" => Field::Int(value.as_i64().expect("a number") as i32),
                    "A" => Field::List(vec![Field::Void, Field::Void]),
                    _ => Field::Void,
                };
                (name.clone(), field)
            };
            let headers = properties["headers"].as_object().map(|table| table.iter().map(header).collect());
            let own = |name: &str| properties[name].as_str().map(str::to_owned);
            let message = Message {
                exchange: String::new(),
                routing_key: String::new(),
                properties: crate::Properties {
                    content_type: own("content_type"),
                    content_encoding: own("content_encoding"),
                    reply_to: own("reply_to"),
                    ..Default::default()
                },
                headers: headers.unwrap_or_default(),
                body: recorded["body"].as_str().expect("a body").to_owned().into(),
            };
            let request = Request::read(&message, 1 << 20).expect(text);
            assert_eq!(Some(request.id.as_str()), properties["correlation_id"].as_str(), "{text}");
            assert!(request.argument().expect(text)["service"].is_object(), "{text}");
            assert!(request.reply_to.is_some(), "{text}");
        }
    }

    #[test]
    fn again_changes_retries_and_eta_and_nothing_else() {
        for protocol in [Protocol::One, Protocol::Two] {
            let mut message = sent(protocol);
            message.headers.push(("x-death".to_owned(), Field::Void));
            let eta = iso(1_767_319_445_000);
            assert_eq!(eta, "2026-01-02T02:04:05+00:00");
            let copy = again(&message, 3, Some(&eta)).expect("a copy");
            assert_eq!(copy.header("x-death"), None);
            let before = Request::read(&message, 1000).expect("a task");
            let after = Request::read(&copy, 1000).expect("a task");
            assert_eq!(after, Request { retries: 3, eta: Some(1_767_319_445_000), ..before.clone() });
            let back = again(&copy, 2, None).expect("a copy");
            assert_eq!(Request::read(&back, 1000).expect("a task"), before);
        }
    }

    #[test]
    fn what_is_wanted_afterwards_is_told() {
        let with = |protocol, body: &str| {
            let message = Message { body: body.to_owned().into(), ..sent(protocol) };
            Request::read(&message, 1000).expect("a task").wanted_after
        };
        let link = r#"{"callbacks": [{"task": "a"}], "errbacks": [], "chain": null, "chord": {"task": "b"}}"#;
        assert_eq!(with(Protocol::Two, &format!("[[1], {{}}, {link}]")), ["callbacks", "chord"]);
        assert!(with(Protocol::Two, "[[1], {}]").is_empty());
        let first = r#"{"id": "a", "task": "t", "args": [1], "errbacks": [{"task": "a"}], "callbacks": null}"#;
        let message = Message { headers: Vec::new(), body: first.to_owned().into(), ..sent(Protocol::One) };
        assert_eq!(Request::read(&message, 1000).expect("a task").wanted_after, ["errbacks"]);
    }

    #[test]
    fn what_is_no_task_says_why() {
        let with = |change: fn(&mut Message)| {
            let mut message = sent(Protocol::Two);
            change(&mut message);
            Request::read(&message, 1000).expect_err("no task").reason
        };
        assert!(with(|m| m.properties.content_type = None).contains("task_serializer"));
        assert!(with(|m| m.properties.content_encoding = Some("binary".into())).contains("utf-8"));
        assert!(with(|m| m.body = "x".repeat(1001).into()).contains("more than 1000"));
        assert!(with(|m| m.body = "{}".into()).contains("no list"));
        assert!(with(|m| m.body = "[1]".into()).contains("args"));
        assert!(with(|m| m.body = "[[], 1]".into()).contains("kwargs"));
        assert!(with(|m| m.body = vec![0xff].into()).contains("UTF-8"));
        assert!(with(|m| put(&mut m.headers, "id", Field::Void)).contains("id"));
        assert!(with(|m| put(&mut m.headers, "task", Field::Text("x".repeat(256)))).contains("task"));
        assert!(with(|m| put(&mut m.headers, "eta", "tomorrow".into())).contains("ISO 8601"));
        assert!(with(|m| m.headers.clear()).contains("neither"));
        let mut message = sent(Protocol::Two);
        message.body = r#"[[1, 2], {"a": 3}, {}]"#.into();
        let why = Request::read(&message, 1000).expect("a task").argument().expect_err("two arguments");
        assert_eq!(why, "worker.stub takes 1 positional argument, and 2 positional and 1 named were given");
    }

    proptest! {
        #[test]
        fn bytes_never_panic(body: Vec<u8>, named: bool, text in ".{0,20}") {
            let mut message = sent(Protocol::Two);
            message.body = body.into();
            if named {
                message.headers.clear();
            } else {
                put(&mut message.headers, "eta", Field::Text(text));
            }
            let _ = Request::read(&message, 500);
            let _ = again(&message, u32::MAX, None);
        }
    }
}
