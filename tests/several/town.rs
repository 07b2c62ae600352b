//! A database, a queue and a worker, and gateways that share them.

use crate::{
    celery::Worker,
    postgres::Postgres,
    proxy::Proxy,
    rabbit::Rabbit,
    support::{Answer, Gateway, get, is_end, request, status, until},
};
use serde_json::Value;
use std::{collections::HashMap, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// Longer than a lease and all that follows it.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The tasks of `celery_worker.py` that are used here, each a service of the same name.
const SERVICES: [&str; 2] = ["echo", "sleep"];

/// Dropped, the worker ends first.
pub(crate) struct Town {
    worker: Option<Worker>,
    directory: TempDir,
    pub(crate) store: Postgres,
    pub(crate) broker: Rabbit,
    pub(crate) queue: String,
}

impl Town {
    pub(crate) fn new(store: Postgres) -> Self {
        let directory = TempDir::with_prefix("sg-test-several-").unwrap();
        let queue = format!("sg-test.several.{}", uuid::Uuid::now_v7());
        Self { worker: None, directory, store, broker: Rabbit::shared(), queue }
    }

    /// A gateway, connected to all.
    pub(crate) fn gateway(&self) -> Gateway {
        let gateway = self.gateway_at(self.broker.url());
        ready(&gateway);
        gateway
    }

    /// A gateway that reaches the broker through a network that can be cut; connected to all.
    pub(crate) fn gateway_behind_a_proxy(&self) -> (Gateway, Proxy) {
        let mut url = url::Url::parse(self.broker.url()).unwrap();
        let proxy = Proxy::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
        url.set_ip_host(proxy.address().ip()).unwrap();
        url.set_port(Some(proxy.address().port())).unwrap();
        let gateway = self.gateway_at(url.as_str());
        ready(&gateway);
        (gateway, proxy)
    }

    fn gateway_at(&self, broker: &str) -> Gateway {
        let mut toml = format!(
            "[broker]\nurl = \"{broker}\"\npublish_timeout = \"60s\"\n[store]\nurl = \"{}\"\n[auth]\nmode = \"none\"\n\
             [telemetry]\nlog = \"info,service_gateway=debug\"\n",
            self.store.url()
        );
        for service in SERVICES {
            toml += &format!("[services.{service}]\nqueue = \"{}\"\nrequires_document = false\n", self.queue);
        }
        Gateway::start(&toml)
    }

    /// A file of this name beside the worker.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the broker has a task.
    #[track_caller]
    pub(crate) fn sent(&self, gateway: &Gateway, service: &str, uuid: &str) {
        let sent = || status(gateway, service, uuid)["sent"].is_string().then_some(());
        until(LONG, "the broker has the task", sent);
    }

    /// Starts the worker, which does not begin before it was told that these tasks were revoked: one process.
    pub(crate) fn work_after_hearing(&mut self, revoked: &[String]) {
        let worker = Worker::start_after_hearing(&self.broker, &self.queue, self.directory.path(), revoked);
        self.worker = Some(worker);
    }

    /// Starts the worker: two processes.
    pub(crate) fn work(&mut self) {
        let arguments = ["--concurrency=2"];
        self.worker = Some(Worker::start(&self.broker, &self.queue, self.directory.path(), &arguments));
    }

    /// Has the worker done this task?
    pub(crate) fn has_done(&self, uuid: &str) -> bool {
        let log = self.worker.as_ref().expect("a worker works").log();
        log.lines().any(|line| line.contains(&format!("[{uuid}] succeeded")))
    }

    /// How often the worker got each of these tasks.
    pub(crate) fn runs(&self, uuids: &[String]) -> HashMap<String, usize> {
        let log = self.worker.as_ref().expect("a worker works").log();
        let mut runs: HashMap<_, _> = uuids.iter().map(|uuid| (uuid.clone(), 0)).collect();
        // Task worker.echo[UUID] received
        for line in log.lines().filter(|line| line.ends_with(" received")) {
            let uuid = line.rsplit_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(uuid, _)| uuid);
            if let Some(count) = uuid.and_then(|uuid| runs.get_mut(uuid)) {
                *count += 1;
            }
        }
        runs
    }

    /// Follows each task to SUCCESS at this gateway, and holds it to be run as often as its `attempts` say at most.
    /// Gives how many were sent more than once.
    #[track_caller]
    pub(crate) fn all_succeed(&self, gateway: &Gateway, uuids: &[String]) -> usize {
        let mut again = 0;
        let mut attempts = Vec::new();
        for uuid in uuids {
            let end = end(gateway, "echo", uuid);
            assert_eq!(end["status"], "SUCCESS", "{end}");
            attempts.push(end["attempts"].as_u64().unwrap() as usize);
        }
        let runs = self.runs(uuids);
        for (uuid, attempts) in uuids.iter().zip(attempts) {
            assert!((1..=attempts).contains(&runs[uuid]), "{uuid}: {} runs, {attempts} attempts", runs[uuid]);
            again += usize::from(attempts > 1);
        }
        again
    }

    /// For how long the gateways have their leases at least.
    pub(crate) fn shortest_lease(&self) -> Duration {
        let left = "SELECT min(lease_until) - (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
                    FROM service_gateway.gateway";
        Duration::from_millis(self.store.number(left).try_into().unwrap_or(0))
    }

    /// Waits until nothing is left to be sent.
    #[track_caller]
    pub(crate) fn nothing_waits(&self) {
        let waiting = || self.store.number("SELECT count(*) FROM service_gateway.outbox");
        until(LONG, "the outbox is empty", || (waiting() == 0).then_some(()));
    }
}

/// Waits until a gateway can use everything.
#[track_caller]
pub(crate) fn ready(gateway: &Gateway) {
    until(LONG, "the gateway is ready", || (get(&format!("{}/readyz", gateway.url())).status == 200).then_some(()));
}

/// Waits until a gateway whose network was cut has noticed it: before that it sends into a connection that is gone,
/// which counts as an attempt.
#[track_caller]
pub(crate) fn cannot_publish(gateway: &Gateway) {
    until(LONG, "the gateway has noticed", || {
        let parts = get(&format!("{}/readyz", gateway.url())).json()["parts"].clone();
        parts["broker"].as_str()?.contains("publish: ").then_some(())
    });
}

/// Follows a task to its end.
#[track_caller]
pub(crate) fn end(gateway: &Gateway, service: &str, uuid: &str) -> Value {
    until(LONG, &format!("the end of {uuid}"), || Some(status(gateway, service, uuid)).filter(is_end))
}

/// Waits for a state.
#[track_caller]
pub(crate) fn state(gateway: &Gateway, service: &str, uuid: &str, state: &str) {
    let what = format!("{uuid} is {state}");
    until(LONG, &what, || (status(gateway, service, uuid)["status"] == state).then_some(()));
}

/// Submits an `echo` once, under this key; an `Err` where there is no answer or no uuid.
pub(crate) fn try_submit(url: &str, key: &str) -> Result<String, String> {
    let answer = request("POST", &format!("{url}/echo/annotate")).header("Idempotency-Key", key).try_send()?;
    match uuid(&answer) {
        Some(uuid) => Ok(uuid),
        None => Err(format!("{}: {}", answer.status, answer.text())),
    }
}

fn uuid(answer: &Answer) -> Option<String> {
    if answer.status == 200 { answer.json()["uuid"].as_str().map(str::to_owned) } else { None }
}
