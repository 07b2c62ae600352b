//! The tables of the configuration, one a file. A line in a `table!` is the one source of a key: its name, its type,
//! its default and what it means.

mod about;
mod auth;
mod broker;
mod documents;
mod files;
mod pages;
mod scaling;
mod server;
mod service;
mod store;
mod telemetry;
mod worker;

pub use about::{About, Platform};
pub use auth::{Algorithm, Auth, Mode, PublicVerb};
pub use broker::Broker;
pub use documents::{Annotations, Documents};
pub use files::Files;
pub use pages::{PageSource, Pages};
pub use scaling::{Scaling, ScalingPolicy, ServiceScaling};
pub use server::Server;
pub use service::{Argument, QueueType, Service, Signal};
pub use store::Store;
pub use telemetry::{LogFormat, Telemetry};
pub(crate) use worker::WORKFLOW;
pub use worker::{OnLost, Pattern, Worker};

use crate::schema::{Field, table};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, time::Duration};

table! {
    /// The whole configuration. [`Config::default`] is what an empty file means.
    ///
    /// Serializes with durations and sizes as one writes them and every secret as `***`.
    pub struct Config {
        /// The HTTP server.
        pub server: Server = Server::default(),
        /// The message broker that carries tasks to workers.
        pub broker: Broker = Broker::default(),
        /// Where tasks are written down.
        pub store: Store = Store::default(),
        /// Who is admitted.
        pub auth: Auth = Auth::default(),
        /// The storage service, and which document URLs may be sent to workers.
        pub documents: Documents = Documents::default(),
        /// The annotation storage service.
        pub annotations: Annotations = Annotations::default(),
        /// Temporary files.
        pub files: Files = Files::default(),
        /// Logs, traces, metrics.
        pub telemetry: Telemetry = Telemetry::default(),
        /// What the CANARIE pages say about the whole installation.
        pub platform: Platform = Platform::default(),
        /// How many workers are asked for, over all services.
        pub scaling: Scaling = Scaling::default(),
        /// The services by the names of their tables.
        pub services: BTreeMap<String, Service> = BTreeMap::new(),
    }
}

impl Config {
    /// Fills in what depends on another value: a service's route, task and queue left empty are its table's name.
    /// The workflow service has a worker of ours even if no table says so.
    /// Host names and schemes become lower case, and `server.public_url` loses its last slash.
    /// Loading does this; call it for a configuration made by hand. Doing it twice changes nothing.
    #[must_use]
    pub fn completed(mut self) -> Self {
        self.server.public_url = self.server.public_url.map(|url| url.trimmed());
        for text in self.documents.schemes.iter_mut().chain(&mut self.documents.allow_hosts) {
            *text = text.to_lowercase();
        }
        for about in self.services.values_mut().map(|service| &mut service.about).chain([&mut self.platform.about]) {
            for tag in &mut about.tags {
                *tag = tag.trim().to_owned();
            }
        }
        for (name, service) in &mut self.services {
            if name == WORKFLOW {
                service.worker.get_or_insert_with(Worker::of_workflows);
            }
            for text in [&mut service.route, &mut service.task, &mut service.queue] {
                if text.is_empty() {
                    text.clone_from(name);
                }
            }
        }
        self
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.show().serialize(serializer)
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn minutes(count: u64) -> Duration {
    seconds(60 * count)
}

const fn hours(count: u64) -> Duration {
    minutes(60 * count)
}

const fn days(count: u64) -> Duration {
    hours(24 * count)
}

/// A list of texts.
fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}
