//! Commands and questions to a worker ("remote control"), and its own question to its neighbours.

use crate::{
    control::{EXCHANGE, Stamp},
    json,
    wire::{Field, Message, Properties, Table},
};
use serde_json::{Map, Value, json};

/// The exchange of answers: direct, not durable.
pub const REPLIES: &str = "reply.celery.pidbox";
/// The longest name taken from a command, in bytes: AMQP's.
const MAX_NAME: usize = 255;

/// A command to this worker, or a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// What: `ping`, `revoke`, …
    pub method: String,
    /// With what.
    pub arguments: Map<String, Value>,
    reply_to: Option<(String, String)>,
    ticket: Option<String>,
}

impl Command {
    /// Reads a message of the command exchange; `None` if it is for others than `node`.
    ///
    /// # Errors
    /// What is wrong with a body that is longer than `limit` bytes or no command.
    pub fn read(body: &[u8], node: &str, limit: usize) -> Result<Option<Self>, String> {
        if body.len() > limit {
            return Err(format!("a command has {} bytes, more than {limit}", body.len()));
        }
        let text = std::str::from_utf8(body).map_err(|_| "a command is not UTF-8".to_owned())?;
        let body: Value =
            serde_json::from_str(&json::mended(text)).map_err(|e| format!("a command is not JSON: {e}"))?;
        let name = |value: Option<&Value>| value?.as_str().filter(|text| text.len() <= MAX_NAME).map(str::to_owned);
        let method = name(body.get("method")).ok_or("a command has no method")?;
        if !is_for(node, &body) {
            return Ok(None);
        }
        let arguments = match body.get("arguments") {
            Some(Value::Object(arguments)) => arguments.clone(),
            _ => Map::new(),
        };
        // To another exchange we would be made to write wherever somebody likes.
        let place = |to: &Value| {
            let exchange = name(to.get("exchange")).filter(|exchange| exchange == REPLIES)?;
            Some((exchange, name(to.get("routing_key"))?))
        };
        let reply_to = body.get("reply_to").and_then(place);
        Ok(Some(Self { method, arguments, reply_to, ticket: name(body.get("ticket")) }))
    }

    /// The answer of `node`; `None` if none is asked for.
    pub fn answer(&self, node: &str, answer: &Value, clock: u64) -> Option<Message> {
        let (exchange, routing_key) = self.reply_to.clone()?;
        let mut headers = vec![("clock".to_owned(), Field::Int(clamp(clock)))];
        if let Some(ticket) = &self.ticket {
            headers.push(("ticket".to_owned(), Field::Text(ticket.clone())));
        }
        Some(message(exchange, routing_key, 1, headers, &json!({ node: answer })))
    }
}

/// Is it for this node: for all, or named among its destinations, or by a pattern?
fn is_for(node: &str, body: &Value) -> bool {
    let named = match body.get("destination") {
        None | Some(Value::Null) => None,
        Some(Value::Array(nodes)) => Some(nodes.iter().any(|one| one.as_str() == Some(node))),
        Some(one) => Some(one.as_str() == Some(node)),
    };
    let matched = match (body.get("pattern").and_then(Value::as_str), body.get("matcher").and_then(Value::as_str)) {
        (None, _) => None,
        (Some(pattern), None | Some("glob")) if pattern.len() <= MAX_NAME => Some(matches(pattern, node)),
        // Regular expressions of strangers are none of ours.
        _ => Some(false),
    };
    match (named, matched) {
        (None, None) => true,
        (named, matched) => named.unwrap_or(false) || matched.unwrap_or(false),
    }
}

/// Does a text match a pattern of `*` and `?`?
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` did not match.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// What a neighbour knows: the answer to [`hello`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbour {
    /// Ids of tasks that were revoked, the last one last.
    pub revoked: Vec<String>,
}

impl Neighbour {
    /// Reads an answer, at most `limit` bytes long; `None` if it is none, or our own.
    pub fn read(body: &[u8], node: &str, limit: usize) -> Option<Self> {
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= limit)?;
        let body: Value = serde_json::from_str(&json::mended(text)).ok()?;
        let (_, answer) = body.as_object()?.iter().find(|(name, _)| *name != node)?;
        let id = |id: &Value| id.as_str().filter(|id| id.len() <= MAX_NAME).map(str::to_owned);
        let revoked = match answer.get("revoked")? {
            Value::Array(ids) => ids.iter().filter_map(id).collect(),
            // Older ones tell when each was revoked.
            Value::Object(ids) => ids.keys().filter(|id| id.len() <= MAX_NAME).cloned().collect(),
            _ => return None,
        };
        Some(Self { revoked })
    }
}

/// Asks the neighbours what was revoked, as Celery's workers do when they start; answers go to the queue that is bound
/// to [`REPLIES`] by `routing_key`.
pub fn hello(node: &str, routing_key: &str, ticket: &str, stamp: Stamp) -> Message {
    let body = json!({
        "method": "hello", "arguments": {"from_node": node, "revoked": []},
        "destination": null, "pattern": null, "matcher": null,
        "ticket": ticket, "reply_to": {"exchange": REPLIES, "routing_key": routing_key}
    });
    let headers =
        vec![("clock".to_owned(), Field::Int(stamp.clock)), ("expires".to_owned(), Field::Double(stamp.expires))];
    message(EXCHANGE.to_owned(), String::new(), 2, headers, &body)
}

fn message(exchange: String, routing_key: String, mode: u8, headers: Table, body: &Value) -> Message {
    Message {
        exchange,
        routing_key,
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            delivery_mode: Some(mode),
            priority: Some(0),
            ..Properties::default()
        },
        headers,
        body: body.to_string().into(),
    }
}

fn clamp(clock: u64) -> i32 {
    i32::try_from(clock).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Hello, command};
    use uuid::Uuid;

    const STAMP: Stamp = Stamp { clock: 1, expires: 0.0 };

    fn read(body: &Value) -> Option<Command> {
        Command::read(body.to_string().as_bytes(), "w@h", 1000).expect("a command")
    }

    #[test]
    fn commands_of_the_gateway_are_understood() {
        let arguments = json!({ "task_id": Uuid::nil(), "terminate": true, "signal": "SIGTERM" });
        let revoked = Command::read(&command("revoke", &arguments, STAMP).body, "w@h", 1000);
        let revoked = revoked.expect("a command").expect("for all");
        assert_eq!((revoked.method.as_str(), &revoked.arguments["terminate"]), ("revoke", &json!(true)));
        assert_eq!(revoked.answer("w@h", &json!(1), 7), None);
    }

    #[test]
    fn questions_are_answered_where_they_ask() {
        let mut question = json!({"method": "ping", "ticket": "t",
            "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "k"}});
        let answer = read(&question).expect("for all").answer("w@h", &json!({"ok": "pong"}), 7).expect("asked for");
        assert_eq!((answer.exchange.as_str(), answer.routing_key.as_str()), ("reply.celery.pidbox", "k"));
        assert_eq!(answer.headers, [("clock".into(), Field::Int(7)), ("ticket".into(), Field::from("t"))]);
        assert_eq!(answer.body, r#"{"w@h":{"ok":"pong"}}"#);
        question["reply_to"]["exchange"] = json!("amq.direct");
        assert_eq!(read(&question).expect("for all").answer("w@h", &Value::Null, 7), None);
    }

    #[test]
    fn only_what_is_for_us() {
        let to = |destination: Value, pattern: Value, matcher: Value| {
            read(&json!({"method": "ping", "destination": destination, "pattern": pattern, "matcher": matcher}))
                .is_some()
        };
        let null = || Value::Null;
        assert!(to(null(), null(), null()));
        assert!(to(json!(["a@h", "w@h"]), null(), null()));
        assert!(!to(json!(["a@h"]), null(), null()) && !to(json!([]), null(), null()));
        assert!(to(null(), json!("w@*"), json!("glob")) && to(null(), json!("?@h"), null()));
        assert!(!to(null(), json!("a*"), json!("glob")) && !to(null(), json!(".*"), json!("pcre")));
        assert!(Command::read(b"\xff", "w@h", 10).is_err());
        assert!(Command::read(b"{}", "w@h", 10).is_err());
        assert!(Command::read(&command("ping", &null(), STAMP).body, "w@h", 10).is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, text, does) in [
            ("*", "", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("**a", "ba", true),
            ("?", "é", true),
            ("?", "", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), does, "{pattern} {text}");
        }
    }

    #[test]
    fn neighbours_are_asked_and_understood() {
        let asked = hello("w@h", "k", "t", STAMP);
        let asked = Hello::read(&asked.body, 1000).expect("a question");
        let answer = asked.answer("gateway@h", &[Uuid::nil()], 7);
        let told = Neighbour::read(&answer.body, "w@h", 1000).expect("an answer");
        assert_eq!(told.revoked, [Uuid::nil().to_string()]);
        assert_eq!(Neighbour::read(&answer.body, "gateway@h", 1000), None, "our own");
        let older = br#"{"c@h": {"revoked": {"x": [1.0, "x"]}, "clock": 1}}"#;
        assert_eq!(Neighbour::read(older, "w@h", 1000).expect("an answer").revoked, ["x"]);
        assert_eq!(Neighbour::read(b"[]", "w@h", 1000), None);
    }
}
