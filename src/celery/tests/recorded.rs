//! Every message that was recorded of Celery 3.1.19, 4.3.0 and 5.7.0, with all result backends, is read: tasks, results,
//! events, commands. (`golden.rs` holds the chosen ones to the last field.)

#![allow(clippy::unwrap_used)] // tests

use gateway_celery::{
    Event, Field, Message, Properties, events, report,
    serve::{Command, Request},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const CAPTURES: [&str; 5] = ["w31amqp", "w43amqp", "w43rpc", "w5redis", "w5rpc"];
const LIMIT: usize = 1 << 20;

fn recorded(capture: &str, kind: &str) -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/replay/recorded/amqp");
    let text = fs::read_to_string(directory.join(format!("{capture}_{kind}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn field(recorded: &Value) -> Field {
    let value = &recorded["v"];
    match recorded["t"].as_str().unwrap() {
        "S" => Field::Text(value.as_str().unwrap().to_owned()),
        "I" => Field::Int(value.as_i64().unwrap().try_into().unwrap()),
        "d" => Field::Double(value.as_f64().unwrap()),
        "t" => Field::Bool(value.as_bool().unwrap()),
        "V" => Field::Void,
        "A" => Field::List(value.as_array().unwrap().iter().map(field).collect()),
        "F" => Field::Table(table(value)),
        other => panic!("type {other}"),
    }
}

fn table(recorded: &Value) -> Vec<(String, Field)> {
    recorded.as_object().unwrap().iter().map(|(name, value)| (name.clone(), field(value))).collect()
}

fn text(frame: &Value, pointer: &str) -> Option<String> {
    frame.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn message(frame: &Value) -> Message {
    let property = |name: &str| text(frame, &format!("/properties/{name}"));
    let properties = Properties {
        content_type: property("content_type"),
        content_encoding: property("content_encoding"),
        delivery_mode: frame["properties"]["delivery_mode"].as_u64().map(|it| it as u8),
        priority: frame["properties"]["priority"].as_u64().map(|it| it as u8),
        correlation_id: property("correlation_id"),
        reply_to: property("reply_to"),
        message_id: property("message_id"),
        expiration: property("expiration"),
    };
    Message {
        exchange: text(frame, "/exchange").unwrap(),
        routing_key: text(frame, "/routing_key").unwrap(),
        properties,
        headers: table(&frame["properties"]["headers"]),
        body: text(frame, "/body").unwrap().into(),
    }
}

#[test]
fn tasks_of_every_version_are_the_same_call() {
    let mut counts = BTreeMap::new();
    for capture in CAPTURES {
        for frame in recorded(capture, "tasks") {
            let sent: Value = serde_json::from_str(frame["body"].as_str().unwrap()).unwrap();
            let request =
                Request::read(&message(&frame), LIMIT).unwrap_or_else(|why| panic!("{capture}: {why}: {frame}"));
            let two = sent.is_array();
            let args = if two { &sent[0] } else { &sent["args"] };
            assert_eq!(&Value::Array(request.args.clone()), args, "{capture}");
            assert_eq!(Some(&*request.id), frame["properties"]["correlation_id"].as_str(), "{capture}");
            assert_eq!(request.reply_to.as_deref(), frame["properties"]["reply_to"].as_str(), "{capture}");
            assert!(request.task.starts_with("worker.") && request.kwargs.is_empty(), "{capture}: {request:?}");
            let argument = request.argument().unwrap();
            assert!(argument["service"]["type"].is_string() && argument["service"]["misc"].is_object(), "{argument}");
            *counts.entry(if two { "protocol 2" } else { "protocol 1" }).or_insert(0) += 1;
        }
    }
    assert_eq!(counts, BTreeMap::from([("protocol 1", 17), ("protocol 2", 17 + 17 + 19 + 19)]));
}

#[test]
fn results_by_amqp_and_rpc_are_read() {
    let mut count = 0;
    for capture in ["w31amqp", "w43amqp", "w43rpc", "w5rpc"] {
        for frame in recorded(capture, "results") {
            let message = message(&frame);
            let Properties { content_type, content_encoding, correlation_id, .. } = &message.properties;
            let (kind, coding) = (content_type.as_deref(), content_encoding.as_deref());
            let heard = report(correlation_id.as_deref(), kind, coding, &message.body, LIMIT);
            same(&heard.unwrap_or_else(|why| panic!("{capture}: {why}: {frame}")), &message.body, capture);
            count += 1;
        }
    }
    assert_eq!(count, 23 + 25 + 25 + 26);
}

#[test]
fn results_in_redis_are_read() {
    let mut count = 0;
    for frame in recorded("w5redis", "results") {
        // SETEX key seconds body; PUBLISH key body.
        let words: Vec<_> = frame["cmd"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (key, body) = match words.as_slice() {
            ["SETEX", key, _, body] | ["SET", key, body, ..] | ["PUBLISH", key, body] => (*key, *body),
            _ => continue,
        };
        let id = key.strip_prefix("celery-task-meta-").unwrap_or_else(|| panic!("{key}"));
        let heard = report(None, None, None, body.as_bytes(), LIMIT).unwrap_or_else(|why| panic!("{why}: {body}"));
        assert_eq!(heard.id.to_string(), id);
        same(&heard, body.as_bytes(), "w5redis");
        count += 1;
    }
    assert!(count >= 40, "{count}");
}

fn same(heard: &gateway_celery::Report, body: &[u8], capture: &str) {
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&body["status"], &body["result"]), (&heard.state.as_str().into(), &heard.value()), "{capture}");
    assert_eq!(body["task_id"], heard.id.to_string(), "{capture}");
}

#[test]
fn events_are_read() {
    let (mut workers, mut tasks) = (0, 0);
    for capture in CAPTURES {
        for frame in recorded(capture, "events") {
            let body = text(&frame, "/body").unwrap();
            let read = events(body.as_bytes(), LIMIT).unwrap_or_else(|why| panic!("{capture}: {why}: {body}"));
            let sent: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(read.len(), sent.as_array().map_or(1, Vec::len), "{capture}: {body}");
            for event in read {
                match event {
                    Event::Worker(_) => workers += 1,
                    Event::Task(_) => tasks += 1,
                    Event::Hello(_) => panic!("{capture}: a question among events"),
                }
            }
        }
    }
    assert!(workers >= 20 && tasks >= 40, "{workers} of workers, {tasks} of tasks");
}

#[test]
fn commands_are_read() {
    let mut methods = BTreeMap::new();
    for capture in CAPTURES {
        for frame in recorded(capture, "pidbox").iter().filter(|frame| frame["exchange"] == "celery.pidbox") {
            let body = text(frame, "/body").unwrap();
            let command = Command::read(body.as_bytes(), "ours@here", LIMIT).unwrap().expect("it is for everybody");
            let sent: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(sent["arguments"], Value::Object(command.arguments.clone()), "{capture}");
            *methods.entry(command.method).or_insert(0) += 1;
        }
    }
    assert_eq!(methods, BTreeMap::from([("active_queues".into(), 5), ("hello".into(), 5), ("revoke".into(), 10)]));
}
