//! An old worker: Celery itself where the machine has a Python for it, else frames recorded from it.

use crate::{
    celery::{Program, Worker},
    corner::Corner,
    gate::Gate,
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use std::{thread, time::Duration};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Versions, with the variable of the rig that names their command, and what was recorded of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    pub(crate) name: &'static str,
    pub(crate) protocol: u8,
    variable: &'static str,
    frames: &'static str,
}

pub(crate) const CELERY_3_1: Version = Version {
    name: "3.1",
    protocol: 1,
    variable: "SG_TEST_CELERY_31",
    frames: include_str!("../../src/celery/golden/results-3.1.json"),
};

pub(crate) const CELERY_4_3: Version = Version {
    name: "4.3",
    protocol: 2,
    variable: "SG_TEST_CELERY_43",
    frames: include_str!("../../src/celery/golden/results-4.3.json"),
};

impl Version {
    /// A worker on the corner's queue, ready: Celery itself, if the machine can run it.
    pub(crate) fn worker(self, corner: &Corner) -> Old {
        if std::env::var(self.variable).is_err() {
            #[allow(clippy::print_stderr)] // to the person who reads what was tested
            {
                eprintln!("no Python for Celery {}: its recorded frames are played", self.name);
            }
            return self.played(corner);
        }
        let program = Program { celery: self.variable, app: "old_worker", environment: Vec::new() };
        Old::Real(Worker::start_as(program, &corner.broker, &corner.queue, corner.gateway.directory(), &[]))
    }

    /// Plays what was recorded of such a worker.
    pub(crate) fn played(self, corner: &Corner) -> Old {
        Old::Played(Player::start(self, corner.broker.url(), &corner.queue))
    }

    /// The recorded bodies of a task like this one.
    fn bodies(self, task: &str) -> Vec<String> {
        let frames: Vec<Value> = serde_json::from_str(self.frames).unwrap();
        let mut bodies = frames.iter().map(|frame| frame["body"].as_str().unwrap());
        let word = match task {
            "worker.add_progress" => "prog",
            "worker.fail" => "DownloadError",
            "worker.sleep" => "\"started\": true",
            // Not recorded: it says nothing.
            _ => return Vec::new(),
        };
        let like: Value = serde_json::from_str(bodies.find(|body| body.contains(word)).unwrap()).unwrap();
        let id = like["task_id"].as_str().unwrap();
        let of_it = frames.iter().filter(|frame| frame["body"].as_str().unwrap().contains(id));
        of_it.map(|frame| frame["body"].as_str().unwrap().replace(id, "@ID@")).collect()
    }
}

/// Dropped, it ends.
#[allow(dead_code)] // held, not read
pub(crate) enum Old {
    Real(Worker),
    Played(Player),
}

/// A worker that says what was recorded, in the way that was recorded: each result to the exchange `celeryresults`, after
/// declaring the task's queue with these very arguments.
pub(crate) struct Player {
    _stop: DropGuard,
}

impl Player {
    fn start(version: Version, url: &str, queue: &str) -> Self {
        let (url, queue, stop) = (url.to_owned(), queue.to_owned(), CancellationToken::new());
        let stopped = stop.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    ended = play(version, &url, &queue) => ended.unwrap(),
                }
            });
        });
        Self { _stop: stop.drop_guard() }
    }
}

async fn play(version: Version, url: &str, queue: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut tasks =
        channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    while let Some(task) = futures_util::StreamExt::next(&mut tasks).await {
        let task = task?;
        task.ack(BasicAckOptions::default()).await?;
        let (id, name) = named(&task, version.protocol);
        let misc = misc(&task, version.protocol);
        for body in version.bodies(&name) {
            say(&channel, &id, &body.replace("@ID@", &id)).await?;
            let told: Value = serde_json::from_str(&body).unwrap();
            let gate = match (misc["hold"].as_str(), misc["gate"].as_str(), told["result"]["current"].as_u64()) {
                (Some(hold), _, Some(current)) => format!("{hold}{current}"),
                (_, Some(gate), _) => gate.to_owned(),
                _ => continue,
            };
            while Gate::keeps(&gate) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    Ok(())
}

/// What the client has submitted beside the document.
fn misc(task: &Delivery, protocol: u8) -> Value {
    let body: Value = serde_json::from_slice(&task.data).unwrap();
    let arguments = if protocol == 1 { &body["args"] } else { &body[0] };
    arguments[0]["service"]["misc"].clone()
}

/// The task's id and name, as a worker of that protocol finds them.
fn named(task: &Delivery, protocol: u8) -> (String, String) {
    if protocol == 1 {
        let body: Value = serde_json::from_slice(&task.data).unwrap();
        return (body["id"].as_str().unwrap().to_owned(), body["task"].as_str().unwrap().to_owned());
    }
    let headers = task.properties.headers().clone().unwrap();
    let text = |name: &str| headers.inner()[name].as_long_string().unwrap().to_string();
    (text("id"), text("task"))
}

async fn say(channel: &Channel, id: &str, body: &str) -> lapin::Result<()> {
    let key = id.replace('-', "");
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let none = FieldTable::default;
    channel.exchange_declare("celeryresults".into(), ExchangeKind::Direct, durable, none()).await?;
    let mut arguments = none();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(86_400_000));
    let options = QueueDeclareOptions { durable: true, auto_delete: true, ..Default::default() };
    channel.queue_declare(key.as_str().into(), options, arguments).await?;
    let options = QueueBindOptions::default();
    channel.queue_bind(key.as_str().into(), "celeryresults".into(), key.as_str().into(), options, none()).await?;
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_correlation_id(id.into())
        .with_delivery_mode(2)
        .with_priority(0)
        .with_headers(none());
    let options = BasicPublishOptions::default();
    channel.basic_publish("celeryresults".into(), key.into(), options, body.as_bytes(), properties).await?;
    Ok(())
}
