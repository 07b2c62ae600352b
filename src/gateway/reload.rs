//! Another configuration while the gateway runs.

use super::{FIRST_KEYS, Gateway, compose, queues};
use crate::{broker::Reload, keys::Published, locate, setup, setup::StartError};
use gateway_config::{BrokerUrl, Config, PageSource, Telemetry, differences};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::timeout;

/// How long a reload waits for a broker to take its queues.
const BROKER: Duration = Duration::from_secs(5);

/// What a reload has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The paths of the keys that have a new value in use, as `services.words.worker.timeout`.
    pub changed: Vec<String>,
    /// The paths of the keys whose new values count from the next start on: the old ones stay in use until then.
    pub restart: Vec<String>,
}

impl Gateway {
    /// Takes another checked configuration into use, as a whole or not at all; requests and tasks under way are not
    /// disturbed.
    ///
    /// Services may come, change and go. A service that has gone accepts nothing more (400, code 202), but what it has
    /// accepted is worked on and can be asked for and cancelled as before, until the process ends. What sockets, files
    /// and connections hang on (`server`, `broker`, `store`, `files`, most of `telemetry`) stays as it is: see
    /// [`Reloaded::restart`].
    ///
    /// # Errors
    /// What could not be made from it; then nothing has changed. It is also told as a warning by [`Gateway::readiness`].
    pub async fn reload(&self, config: &Config) -> Result<Reloaded, StartError> {
        let reloaded = self.exchange(config.clone().completed()).await;
        self.refused(reloaded.is_err());
        reloaded
    }

    /// Makes [`Gateway::readiness`] warn (or stop warning) that the last configuration was not taken: for whoever reads
    /// one and finds faults in it.
    pub fn refused(&self, refused: bool) {
        self.core.desk.refused.store(refused, Relaxed);
    }

    async fn exchange(&self, mut wanted: Config) -> Result<Reloaded, StartError> {
        let core = &self.core;
        // "Any port" is the one that the system has chosen at the start: nothing else is asked for.
        if let (0, Some(listening)) = (wanted.server.listen.port(), core.listening) {
            wanted.server.listen.set_port(listening.port());
        }
        let mut current = core.config.lock().await;
        let restart = waiting(&current, &wanted);
        let config = kept(&current, wanted);
        let mut changed = differences(&current, &config);
        changed.retain(|path| !restart.contains(path));
        // What pages are read from may have changed, though its name has not.
        if changed.is_empty() && !reads_pages(&config) {
            return Ok(Reloaded { changed, restart });
        }

        // All that may fail comes first.
        let desk = &core.desk;
        let plan = desk.plan.load().next(&config, desk.store.installation());
        let policy = locate::policy(&config, core.listening)?;
        let steps = locate::steps(&config, core.listening)?;
        let (keys, fresh) = self.keys(&current, &config)?;
        let recorder = desk.recorder.load().grown(plan.names());
        let before = self.materials.load();
        let shelf = (before.shelf.clone(), recorder.clone(), before.sampler);
        let materials = compose(&config, desk, &plan, policy.clone(), shelf, keys.as_ref(), core.debug)?;
        let reload = Reload { config: config.clone(), policy, steps };
        let broker = core.broker.prepare(reload)?;

        desk.plan.store(Arc::new(plan));
        desk.recorder.store(Arc::new(recorder));
        // A stopped engine has told its reason elsewhere.
        let _ = core.mailbox.queues(queues(&config)).await;
        // Queues and slots are there before the first task that needs them.
        // They are tried for longer than a reload waits for them.
        let _ = timeout(BROKER, core.runtime.spawn(broker)).await;
        if let Some(keys) = keys.as_ref().filter(|_| fresh) {
            let tended = core.tend(keys.clone());
            let _ = timeout(FIRST_KEYS, keys.tried()).await;
            *core.tended() = Some(tended);
        } else if keys.is_none() {
            *core.tended() = None;
        }
        desk.keys.store(keys.map(Arc::new));
        self.materials.store(Arc::new(materials));
        *current = config;
        Ok(Reloaded { changed, restart })
    }

    /// The public keys, and whether they are to be fetched anew.
    fn keys(&self, before: &Config, after: &Config) -> Result<(Option<Published>, bool), StartError> {
        let wanted = setup::keys(after)?;
        let known = self.core.desk.keys.load_full().filter(|_| before.auth.jwks_url == after.auth.jwks_url);
        Ok(match (wanted, known) {
            (Some(_), Some(known)) => (Some((*known).clone()), false),
            (wanted, _) => (wanted, true),
        })
    }
}

/// Is a page a file?
fn reads_pages(config: &Config) -> bool {
    let all = std::iter::once(&config.platform.pages).chain(config.services.values().map(|service| &service.pages));
    all.flat_map(|pages| pages.iter()).any(|(_, page)| matches!(page, Some(PageSource::File(_))))
}

/// The paths of the keys that count from the next start on.
fn waiting(before: &Config, after: &Config) -> Vec<String> {
    let letters = |config: &Config| -> BTreeSet<String> {
        config
            .services
            .values()
            .map(|service| service.dead_letter_queue.clone())
            .filter(|queue| !queue.is_empty())
            .collect()
    };
    let known = letters(before);
    let mut paths: Vec<_> = differences(before, after).into_iter().filter(|path| is_fixed(path)).collect();
    if after.broker.url != BrokerUrl::Embedded {
        let unheard = after.services.iter().filter(|(_, service)| {
            !service.dead_letter_queue.is_empty() && !known.contains(&service.dead_letter_queue)
        });
        paths.extend(unheard.map(|(name, _)| format!("services.{name}.dead_letter_queue")));
    }
    paths
}

fn is_fixed(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or_default();
    matches!(section, "server" | "broker" | "store" | "files") || section == "telemetry" && path != "telemetry.metrics"
}

/// The new configuration, with the old values of what is fixed.
fn kept(before: &Config, after: Config) -> Config {
    Config {
        server: before.server.clone(),
        broker: before.broker.clone(),
        store: before.store.clone(),
        files: before.files.clone(),
        telemetry: Telemetry { metrics: after.telemetry.metrics, ..before.telemetry.clone() },
        ..after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn config(text: &str) -> Config {
        let file = Some((std::path::Path::new("test.toml"), text));
        gateway_config::parse(file, [], &[("auth.mode", "none")]).expect("a configuration").config
    }

    #[test]
    fn what_hangs_on_sockets_and_files_waits_for_a_restart() {
        let before = config("[services.a]\n");
        let after = config(
            "[server]\nlisten = \"127.0.0.1:9\"\n[telemetry]\nmetrics = false\nlog = \"debug\"\n[store]\nkeep_results = \"3h\"\n\
             [broker]\nurl = \"amqp://u:new@h\"\n[services.a]\nversion = \"2\"\ndead_letter_queue = \"dead\"\n[services.b]\n",
        );
        let fixed =
            ["server.listen", "broker.url", "store.keep_results", "telemetry.log", "services.a.dead_letter_queue"];
        assert_eq!(waiting(&before, &after), fixed);
        let kept = kept(&before, after);
        let changed = ["telemetry.metrics", "services.a.version", "services.a.dead_letter_queue", "services.b"];
        assert_eq!(differences(&before, &kept), changed);
    }

    #[test]
    fn an_index_is_a_services_as_long_as_the_process_lives() {
        let id = uuid::Uuid::nil();
        let first = Plan::new(&config("[services.b]\n[services.d]\n"), id);
        let second = first.next(&config("[services.a]\n[services.d]\nroute = \"x\"\n"), id);
        let third = second.next(&config("[services.b]\n[services.c]\n"), id);
        let index = |plan: &Plan, name: &str| plan.service(name).map(|service| service.layer.index);
        assert_eq!((index(&first, "b"), index(&first, "d"), index(&first, "a")), (Some(0), Some(1), None));
        assert_eq!((index(&second, "b"), index(&second, "d"), index(&second, "a")), (Some(0), Some(1), Some(2)));
        assert!(second.open("b").is_none() && second.open("d").is_some());
        assert_eq!((index(&third, "b"), index(&third, "c"), index(&third, "d")), (Some(0), Some(3), Some(1)));
        assert!(third.open("b").is_some() && third.open("a").is_none() && third.open("d").is_none());
        assert_eq!(third.names().len(), 4);
        assert_eq!(third.retired().len(), 2);

        // A route that somebody else has taken is theirs, and no fault.
        assert!(setup::routes(&third.next(&config("[services.e]\nroute = \"b\"\n"), id)).is_ok());
    }
}
