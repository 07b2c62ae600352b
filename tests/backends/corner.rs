//! A gateway, its queue and its workers, for one test.

use crate::{
    gate::Gate,
    rabbit::Rabbit,
    support::{Gateway, get, is_end, status, submit, until},
};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// For what happens only after others' time limits and pauses.
pub(crate) const LONG: Duration = Duration::from_secs(120);

const SERVICES: [&str; 7] = ["call", "echo", "add_progress", "fail", "sleep", "reject", "reject_loudly"];

/// Workers are to be dropped before it.
pub(crate) struct Corner {
    pub(crate) broker: Rabbit,
    /// The tasks' queue.
    pub(crate) queue: String,
    pub(crate) gateway: Gateway,
}

impl Corner {
    /// A gateway at the node of all, connected; it sends nothing again only because a busy machine lets it wait. `broker`
    /// is added to `[broker]`, `service` to each service, `more` to the whole; `@QUEUE@` in them is the tasks' queue.
    pub(crate) fn new(name: &str, broker: &str, service: &str, more: &str) -> Self {
        let (rabbit, queue) = (Rabbit::shared(), queue(name));
        let mut text = format!(
            "[broker]\nurl = \"{}\"\npublish_timeout = \"60s\"\n{broker}\n[auth]\nmode = \"none\"\n",
            rabbit.url()
        );
        for name in SERVICES {
            text += &format!("[services.{name}]\nqueue = \"@QUEUE@\"\nrequires_document = false\n{service}\n");
        }
        let gateway = Gateway::start(&(text + more).replace("@QUEUE@", &queue));
        let corner = Self { broker: rabbit, queue, gateway };
        corner.connected();
        corner
    }

    #[track_caller]
    pub(crate) fn submit(&self, service: &str, form: &[(&str, &str)]) -> String {
        submit(&self.gateway, service, form)
    }

    #[track_caller]
    pub(crate) fn status(&self, service: &str, uuid: &str) -> Value {
        status(&self.gateway, service, uuid)
    }

    /// Waits until the broker has confirmed the task.
    #[track_caller]
    pub(crate) fn sent(&self, service: &str, uuid: &str) {
        until(LONG, "the broker has the task", || self.status(service, uuid)["sent"].is_string().then_some(()));
    }

    /// Follows a task to its end, however long; gives its last status.
    #[track_caller]
    pub(crate) fn end(&self, service: &str, uuid: &str) -> Value {
        until(LONG, &format!("the end of {service} {uuid}"), || Some(self.status(service, uuid)).filter(is_end))
    }

    /// Waits for a state.
    #[track_caller]
    pub(crate) fn state(&self, service: &str, uuid: &str, state: &str) -> Value {
        let what = format!("{service} {uuid} is {state}");
        until(LONG, &what, || Some(self.status(service, uuid)).filter(|status| status["status"] == state))
    }

    /// What `/readyz` says of a part: its fault, null if there is none; and the answer's status.
    pub(crate) fn part(&self, name: &str) -> (u16, Value) {
        let answer = get(&format!("{}/readyz", self.gateway.url()));
        (answer.status, answer.json()["parts"][name].clone())
    }

    /// Holds the task to be in this state, and then to be EXPIRED, which it must not be before results were `kept` for
    /// that long; of when it came into its state is known that it was after `since`.
    #[track_caller]
    pub(crate) fn kept(&self, (service, uuid): (&str, &str), state: &str, since: Instant, kept: Duration) -> Value {
        let seen = until(LONG, &format!("{service} {uuid} is {state}"), || {
            let status = self.status(service, uuid);
            // Looked at late, by a busy machine.
            let late = status["status"] == "EXPIRED" && since.elapsed() >= kept;
            Some(status).filter(|status| status["status"] == state || late)
        });
        self.state(service, uuid, "EXPIRED");
        seen
    }

    pub(crate) fn connected(&self) {
        until(LONG, "the broker is back", || (self.part("broker").0 == 200).then_some(()));
    }

    /// Two clients that ask again and again until the task has ended: what each saw, as text, without repetitions. The
    /// task waits after each of its steps until both have seen it.
    pub(crate) fn watched_by_two(&self, service: &str, uuid: &str, gate: &Gate) -> [Vec<String>; 2] {
        let seen_by = Mutex::new(HashMap::<String, usize>::new());
        let has_seen = |step: f64| {
            let (mut seen_by, step) = (seen_by.lock().unwrap(), step.to_string());
            let count = seen_by.entry(step.clone()).or_default();
            *count += 1;
            if *count == 2 {
                gate.open_step(step);
            }
        };
        let watch = || {
            let mut seen: Vec<String> = Vec::new();
            until(LONG, &format!("the end of {service} {uuid}"), || {
                let status = self.status(service, uuid);
                let current = status["result"]["current"].as_f64();
                let shown = match current {
                    Some(current) => format!("{} {current}", status["status"].as_str().unwrap()),
                    None => status["status"].as_str().unwrap().to_owned(),
                };
                if seen.last() != Some(&shown) {
                    seen.push(shown);
                    current.map(&has_seen);
                }
                is_end(&status).then_some(())
            });
            seen
        };
        thread::scope(|scope| [scope.spawn(watch), scope.spawn(watch)].map(|client| client.join().unwrap()))
    }
}

/// A name that nobody else uses.
pub(crate) fn queue(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("sg-test.{name}.{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// One exchange with a broker, on a connection of its own.
pub(crate) fn ask<T, F>(url: &str, exchange: impl FnOnce(Channel) -> F) -> T
where
    F: Future<Output = lapin::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let asking = async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let answer = exchange(connection.create_channel().await?).await;
            // The answer counts, not the farewell.
            let _ = connection.close(200, "done".into()).await;
            answer
        };
        tokio::time::timeout(LONG, asking).await.expect("the broker answers in time").unwrap()
    })
}

/// Publishes a message; tells whether any queue took it.
pub(crate) fn publish(url: &str, exchange: &str, key: &str, body: &str, properties: BasicProperties) -> bool {
    let (exchange, key, body) = (exchange.to_owned(), key.to_owned(), body.as_bytes().to_vec());
    let confirmed = ask(url, async move |channel: Channel| {
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        channel.basic_publish(exchange.into(), key.into(), options, &body, properties).await?.await
    });
    match confirmed {
        Confirmation::Ack(returned) => returned.is_none(),
        other => panic!("{other:?}"),
    }
}
