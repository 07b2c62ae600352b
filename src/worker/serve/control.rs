//! Commands that a worker obeys, and questions that it answers, as Celery's workers do.

use super::{
    desk::Desk,
    events::{now, seconds},
    table::{Shown, Stage},
};
use gateway_amqp::{Heard, Kind, QueueSpec};
use gateway_celery::{
    Field,
    serve::{Command, Neighbour, iso},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The longest command that is read, in bytes.
const LIMIT: usize = 4 << 20;

/// Obeys or answers; never waits.
pub(crate) fn hear(desk: &Arc<Desk>, heard: Heard) {
    match heard {
        Heard::Neighbour(body) => {
            if let Some(neighbour) = Neighbour::read(&body, &desk.node, LIMIT) {
                let (count, last) = (neighbour.revoked.len(), neighbour.revoked.last());
                tracing::debug!(count, last, "a neighbour told what was revoked");
                desk.table.revoke(neighbour.revoked);
            }
        }
        Heard::Command(body) => match Command::read(&body, &desk.node, LIMIT) {
            Ok(Some(command)) => obey(desk, &command),
            Ok(None) => {}
            Err(why) => tracing::warn!(why, "a command cannot be read"),
        },
    }
}

fn obey(desk: &Arc<Desk>, command: &Command) {
    let clock = desk.events.tick();
    let Some(answer) = answer(desk, command) else { return };
    if let Some(message) = command.answer(&desk.node, &answer, clock) {
        desk.client.tell(message);
    }
}

/// The answer to a command; `None` where Celery's workers give none.
fn answer(desk: &Arc<Desk>, command: &Command) -> Option<Value> {
    let arguments = &command.arguments;
    Some(match command.method.as_str() {
        "ping" => json!({ "ok": "pong" }),
        "active" | "dump_active" => desk.table.at(Stage::Active).iter().map(|task| info(desk, task)).collect(),
        "reserved" | "dump_reserved" => desk.table.at(Stage::Reserved).iter().map(|task| info(desk, task)).collect(),
        "scheduled" | "dump_schedule" => scheduled(desk),
        "revoked" | "dump_revoked" => json!(desk.table.revoked()),
        "registered" | "dump_tasks" => json!(desk.tasks()),
        "active_queues" => desk.queues().map(|(queue, _)| describe(queue)).collect(),
        "stats" => stats(desk),
        "conf" | "dump_conf" => conf(desk),
        "report" => json!({ "ok": format!("service-gateway {}", env!("CARGO_PKG_VERSION")) }),
        "clock" => json!({ "clock": desk.events.clock() }),
        "query_task" => query(desk, &ids(arguments, "ids")),
        "hello" => return hello(desk, arguments),
        "revoke" | "terminate" => revoke(desk, &command.method, arguments),
        "enable_events" => switch(desk, true),
        "disable_events" => switch(desk, false),
        "heartbeat" => {
            desk.tell_self("worker-heartbeat");
            Value::Null
        }
        "shutdown" => {
            tracing::warn!("told to stop by remote control");
            desk.stop.warm.cancel();
            Value::Null
        }
        other => {
            tracing::debug!(method = other, "an unknown command");
            json!({ "error": format!("{other}: this worker does not know the command") })
        }
    })
}

/// One id, or a list of them, or an object of them: some tell of each when it was revoked.
fn ids(arguments: &Map<String, Value>, name: &str) -> Vec<String> {
    match arguments.get(name) {
        Some(Value::String(id)) => vec![id.clone()],
        Some(Value::Array(ids)) => ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
        Some(Value::Object(ids)) => ids.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// As Python has it: Flower sends 1 for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// With `terminate`, what runs is stopped with everything it started: SIGTERM, and SIGKILL after the grace, whatever
/// signal is asked for.
fn revoke(desk: &Desk, method: &str, arguments: &Map<String, Value>) -> Value {
    let ids = ids(arguments, "task_id");
    desk.table.revoke(ids.iter().cloned());
    let terminate = method == "terminate" || arguments.get("terminate").is_some_and(is_true);
    if !terminate {
        tracing::info!(?ids, "tasks are revoked");
        return json!({ "ok": format!("tasks {} flagged as revoked", ids.join(", ")) });
    }
    let stopped = desk.table.terminate(&ids);
    match stopped.is_empty() {
        true => {
            tracing::debug!(?ids, "tasks are revoked that are not here");
            json!({ "ok": "terminate: tasks unknown" })
        }
        false => {
            tracing::info!(?stopped, "tasks are stopped");
            json!({ "ok": format!("terminate: {}", stopped.join(", ")) })
        }
    }
}

/// A worker that starts asks what was revoked, and tells what it knows.
fn hello(desk: &Desk, arguments: &Map<String, Value>) -> Option<Value> {
    let from = arguments.get("from_node").and_then(Value::as_str)?;
    if from == desk.node {
        return None;
    }
    desk.table.revoke(ids(arguments, "revoked"));
    Some(json!({ "revoked": desk.table.revoked(), "clock": desk.events.clock() }))
}

fn switch(desk: &Desk, wanted: bool) -> Value {
    let already = if desk.events.want(wanted) == wanted { "already " } else { "" };
    json!({ "ok": format!("task events {already}{}", if wanted { "enabled" } else { "disabled" }) })
}

/// A task as Celery describes it. Its arguments are what its sender wants shown: they may hold credentials.
fn info(desk: &Desk, task: &Shown) -> Value {
    let started = task.began.is_some();
    json!({
        "id": task.id, "name": task.task, "args": task.args, "kwargs": task.kwargs, "type": task.task,
        "hostname": desk.node, "time_start": task.began, "acknowledged": false,
        "delivery_info": {
            "exchange": "", "routing_key": task.routing_key, "priority": 0, "redelivered": task.redelivered,
        },
        "worker_pid": started.then(std::process::id),
    })
}

fn scheduled(desk: &Desk) -> Value {
    let waiting = desk.table.waiting(now()).into_iter();
    waiting.map(|(due, task)| json!({ "eta": iso(due), "priority": 6, "request": info(desk, &task) })).collect()
}

fn query(desk: &Desk, ids: &[String]) -> Value {
    let known = ids.iter().filter_map(|id| {
        let (stage, task) = desk.table.get(id)?;
        let stage = match stage {
            Stage::Reserved => "reserved",
            Stage::Active => "active",
            Stage::Leaving => "scheduled",
            Stage::Done => "ready",
        };
        Some((id.clone(), json!([stage, info(desk, &task)])))
    });
    Value::Object(known.collect())
}

/// A queue as Celery describes it.
fn describe(queue: &QueueSpec) -> Value {
    let mut arguments = Map::new();
    if queue.kind == Kind::Quorum {
        arguments.insert("x-queue-type".to_owned(), "quorum".into());
    }
    for (name, value) in &queue.arguments {
        let value = match value {
            Field::Text(text) => json!(text),
            Field::Int(number) => json!(number),
            Field::Double(number) => json!(number),
            Field::Bool(flag) => json!(flag),
            Field::Void | Field::List(_) | Field::Table(_) => Value::Null,
        };
        arguments.insert(name.clone(), value);
    }
    json!({
        "name": queue.name,
        "exchange": {
            "name": "", "type": "direct", "arguments": null, "durable": true, "passive": false, "auto_delete": false,
            "delivery_mode": null, "no_declare": true,
        },
        "routing_key": queue.name,
        "queue_arguments": if arguments.is_empty() { Value::Null } else { Value::Object(arguments) },
        "binding_arguments": null, "consumer_arguments": null, "durable": true, "exclusive": false,
        "auto_delete": false, "no_ack": false, "alias": null, "bindings": [], "no_declare": null, "expires": null,
        "message_ttl": null, "max_length": null, "max_length_bytes": null, "max_priority": null,
    })
}

fn stats(desk: &Desk) -> Value {
    let slots: u32 = desk.queues().map(|(_, slots)| u32::from(slots)).sum();
    let pids = [std::process::id()];
    let left_alone = desk.left_alone().into_iter();
    let left_alone: Vec<_> = left_alone
        .map(|(queue, why, next)| json!({ "queue": queue, "why": why, "next_try": next.as_secs_f64() }))
        .collect();
    json!({
        "total": desk.table.totals(), "pid": std::process::id(), "clock": desk.events.clock().to_string(),
        "uptime": desk.since.elapsed().as_secs(), "prefetch_count": slots,
        "pool": {
            "implementation": "service-gateway:programs", "max-concurrency": slots, "processes": pids,
            "max-tasks-per-child": 1, "put-guarded-by-semaphore": true, "timeouts": [0, 0],
        },
        "broker": { "transport": "amqp", "hostname": null, "userid": null, "virtual_host": null, "ssl": null },
        "rusage": rusage(),
        "service-gateway": { "version": env!("CARGO_PKG_VERSION"), "left_alone": left_alone },
    })
}

/// What Celery calls by these names, as far as `/proc` tells: seconds of CPU, and kilobytes.
fn rusage() -> Value {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Fields 14 and 15 of the line, in ticks, of which Linux always tells a hundred a second; the third is the first here.
    let time = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).map(|ticks| ticks / 100.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
    json!({ "utime": time(11), "stime": time(12), "maxrss": peak })
}

/// What Celery's tools like to know; nothing of ours that is secret.
fn conf(desk: &Desk) -> Value {
    json!({
        "result_backend": "rpc://", "result_persistent": true, "task_acks_late": true, "task_track_started": true,
        "worker_prefetch_multiplier": 1, "task_serializer": "json", "result_serializer": "json",
        "accept_content": ["json"], "timezone": "UTC", "enable_utc": true,
        "imports": [], "include": [], "task_queues": desk.queues().map(|(queue, _)| queue.name.clone()).collect::<Vec<_>>(),
        "now": seconds(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_is_pythons() {
        for (value, truth) in [(json!(true), true), (json!(1), true), (json!("x"), true), (json!(0), false)] {
            assert_eq!(is_true(&value), truth, "{value}");
        }
        assert!(![json!(null), json!(false), json!(""), json!([]), json!({})].iter().any(is_true));
    }

    #[test]
    fn ids_are_read_in_every_shape() {
        for (told, read) in [
            (json!("a"), &["a"][..]),
            (json!(["a", 1, "b"]), &["a", "b"]),
            (json!({"a": [1.5, "a"], "b": 2}), &["a", "b"]),
            (json!(null), &[]),
            (json!(7), &[]),
        ] {
            let arguments = Map::from_iter([("revoked".to_owned(), told)]);
            assert_eq!(ids(&arguments, "revoked"), read, "{arguments:?}");
        }
    }
}
