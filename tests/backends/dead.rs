//! Messages that the broker gives up.

use crate::{
    celery::{Program, Worker},
    corner::{Corner, LONG, publish, queue},
    gate::Gate,
    support::{is_state, until},
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::{Value, json};

/// A corner whose queue gives dead letters to another one, which the gateway makes and reads; and the arguments.
fn corner(name: &str, more: &[(&str, Value)], toml: &str) -> (Corner, String, Value) {
    let dead = queue("dead");
    let mut arguments = json!({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead});
    for (name, value) in more {
        arguments[*name] = value.clone();
    }
    let table: Vec<_> =
        arguments.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let service = format!("dead_letter_queue = \"{dead}\"\nqueue_arguments = {{ {} }}", table.join(", "));
    (Corner::new(name, "", &service, toml), dead, arguments)
}

fn worker(corner: &Corner, arguments: &Value) -> Worker {
    let queues = json!({corner.queue.as_str(): arguments}).to_string();
    let program = Program { environment: vec![("CELERY_QUEUES", queues)], ..Program::default() };
    Worker::start_as(program, &corner.broker, &corner.queue, corner.gateway.directory(), &[])
}

/// Holds the end to be the broker's: the code, and a message with these words.
#[track_caller]
fn given_up(status: &Value, words: &[&str]) {
    let told = status["result"]["message"].as_str().unwrap_or_default();
    assert!(is_state(status, "FAILURE") && status["result"]["code"] == 205, "{status}");
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(status["reason"], told, "{status}");
}

fn empty(corner: &Corner, queue: &str) {
    until(LONG, "no dead letter is left", || (corner.broker.messages(queue) == 0).then_some(()));
}

#[test]
fn a_task_that_a_worker_rejects_ends_with_the_cause() {
    let (corner, dead, arguments) = corner("rejected", &[], "");
    let worker = worker(&corner, &arguments);
    let uuid = corner.submit("reject", &[("run", "0.5")]);
    given_up(&corner.end("reject", &uuid), &["a worker rejected the task", &corner.queue, "Z"]);
    // What the worker itself says of it counts more, whichever is heard first.
    let loud = corner.submit("reject_loudly", &[]);
    until(LONG, "the worker's own end", || {
        (corner.status("reject_loudly", &loud)["result"]["message"] == "no, false").then_some(())
    });
    // The others go on.
    let other = corner.submit("echo", &[]);
    assert!(is_state(&corner.end("echo", &other), "SUCCESS"));
    empty(&corner, &dead);
    assert_eq!(corner.part("queues"), (200, json!("ok")));
    drop(worker);
}

#[test]
fn a_task_that_the_broker_lets_expire_ends_with_the_cause() {
    let (corner, dead, _) = corner("expired", &[("x-message-ttl", json!(500))], "");
    let uuids: Vec<_> = (0..20).map(|_| corner.submit("echo", &[])).collect();
    for uuid in &uuids {
        given_up(&corner.end("echo", uuid), &["waited in the queue", &corner.queue]);
    }
    empty(&corner, &dead);
}

#[test]
fn a_task_that_a_full_queue_drops_ends_with_the_cause() {
    let (corner, ..) = corner("full", &[("x-max-length", json!(1))], "");
    let first = corner.submit("echo", &[]);
    corner.sent("echo", &first);
    let second = corner.submit("echo", &[]);
    given_up(&corner.end("echo", &first), &["was full", &corner.queue]);
    assert!(is_state(&corner.status("echo", &second), "PENDING"));
}

#[test]
fn what_died_while_the_gateway_was_away_is_heard_afterwards() {
    let (mut corner, dead, _) = corner("away", &[("x-max-length", json!(1))], "");
    let uuid = corner.submit("echo", &[]);
    corner.sent("echo", &uuid);
    corner.gateway.kill9();
    // Another message takes its place.
    assert!(publish(corner.broker.url(), "", &corner.queue, "[]", BasicProperties::default()));
    until(LONG, "the task is dead", || (corner.broker.messages(&dead) == 1).then_some(()));
    corner.gateway.restart();
    given_up(&corner.end("echo", &uuid), &["was full"]);
    empty(&corner, &dead);
}

#[test]
fn a_dead_letter_ends_nothing_else() {
    let (corner, dead, arguments) = corner("others", &[], "");
    let worker = worker(&corner, &arguments);
    let url = corner.broker.url().to_owned();
    let letter = |id: &str| {
        let properties = BasicProperties::default().with_correlation_id(id.into());
        assert!(publish(&url, "", &dead, "[]", properties));
    };
    // Nobody's, and of tasks that nobody knows.
    letter("no id");
    letter("");
    letter("0193e5a0-0000-7000-8000-000000000000");
    // Of a task that has ended.
    let done = corner.submit("echo", &[]);
    let end = corner.end("echo", &done);
    letter(&done);
    empty(&corner, &dead);
    assert_eq!(corner.status("echo", &done), end);

    // Of one copy, as x-death tells it, while the other is worked on: an end that is only presumed, and yields.
    let gate = Gate::new();
    let running = corner.submit("sleep", &[("sleep", "0.5"), ("gate", gate.name())]);
    corner.state("sleep", &running, "STARTED");
    let mut death = FieldTable::default();
    death.insert("reason".into(), AMQPValue::LongString("expired".into()));
    death.insert("queue".into(), AMQPValue::LongString(corner.queue.as_str().into()));
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::FieldTable(death)])));
    let properties = BasicProperties::default().with_correlation_id(running.as_str().into()).with_headers(headers);
    assert!(publish(&url, "", &dead, "[]", properties));
    given_up(&corner.state("sleep", &running, "FAILURE"), &["waited in the queue"]);
    gate.open();
    assert_eq!(corner.state("sleep", &running, "SUCCESS")["result"], json!({"slept": 0.5}));
    drop(worker);

    let log = corner.gateway.log();
    assert!(log.contains("names no task is dropped") && log.contains("unknown task is dropped"), "{log}");
}

#[test]
fn a_queue_of_dead_letters_that_exists_is_used_as_it_is() {
    let dead = queue("dead-as-it-is");
    let rabbit = crate::rabbit::Rabbit::shared();
    rabbit.declare(&dead, &[("x-max-length", AMQPValue::LongInt(1000))]);
    let service = format!(
        "dead_letter_queue = \"{dead}\"\n\
         queue_arguments = {{ x-message-ttl = 1, x-dead-letter-exchange = \"\", x-dead-letter-routing-key = \"{dead}\" }}"
    );
    let corner = Corner::new("as-it-is", "", &service, "");
    let uuid = corner.submit("echo", &[]);
    given_up(&corner.end("echo", &uuid), &["waited in the queue"]);
    assert_eq!(corner.part("queues"), (200, json!("ok")));
}
