//! `service-gateway scale`: has as many workers as the gateway says there should be.
//!
//! Every `scaling.interval` the daemon asks the gateway (`GET /needs`), looks which of its workers live, and starts or
//! stops some. What the gateway cannot tell is no reason to do anything.
//!
//! | concept | file |
//! |---|---|
//! | who is to be started and stopped; pure | `crew` |
//! | what it has started, over restarts, and that no other daemon of this file acts | `memory` |
//! | starting, stopping, listing: processes here, or an operator's commands | `actuator`, `local`, `command` |
//!
//! Only one of several daemons acts. Where the store is a PostgreSQL it is the one that holds the lease there
//! ([`crate::store::Leader`]), else the one that holds the lock beside the state file; the others stand by.

mod actuator;
mod command;
mod crew;
mod local;
mod memory;

pub(crate) use memory::{Memory, MemoryError};

use actuator::Actuator;
use crew::{Action, Limits, Need, Times};
use gateway_config::{Config, StoreUrl};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::store::Leader;

/// Says why nothing can be scaled as configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScaleError {
    /// A service that is not configured.
    #[error("no service {0:?} is configured")]
    NoService(String),
    /// Nobody could start its workers.
    #[error(
        "services.{0} has neither commands to start workers ([services.{0}.scaling] spawn, stop, list) nor a \
         [services.{0}.worker] to run here"
    )]
    NoEngine(String),
    /// The gateway runs the workers itself.
    #[error("broker.url is \"embedded\": `serve` runs the workers itself")]
    Embedded,
    /// The place of the lease.
    #[error("store: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The state file.
    #[error("{0}")]
    Memory(#[from] MemoryError),
}

/// One service that is scaled.
struct Post {
    actuator: Actuator,
    limits: Limits,
}

/// The daemon.
pub(crate) struct Scaler {
    posts: BTreeMap<String, Post>,
    memory: Memory,
    leader: Option<Leader>,
    total: u32,
    /// This daemon was the one that acts, last time.
    acting: bool,
}

impl Scaler {
    /// For these services, or for all that can be scaled. `file`: the configuration, for workers that run here.
    pub(crate) fn new(config: &Config, file: Option<PathBuf>, names: &[String]) -> Result<Self, ScaleError> {
        if config.broker.url == gateway_config::BrokerUrl::Embedded {
            return Err(ScaleError::Embedded);
        }
        let mut posts = BTreeMap::new();
        for name in names {
            if !config.services.contains_key(name) {
                return Err(ScaleError::NoService(name.clone()));
            }
        }
        for (name, service) in &config.services {
            if !names.is_empty() && !names.contains(name) {
                continue;
            }
            let Some(actuator) = Actuator::of(name, service, file.clone()) else {
                match names.is_empty() {
                    true => continue,
                    false => return Err(ScaleError::NoEngine(name.clone())),
                }
            };
            let scaling = &service.scaling;
            let times = Times {
                start: milliseconds(scaling.start_time),
                // Twice what it may take, and one look more.
                report: milliseconds(2 * scaling.start_time + config.scaling.interval),
            };
            let limits = Limits { most: scaling.max_workers, times };
            posts.insert(name.clone(), Post { actuator, limits });
        }
        if posts.is_empty() {
            return Err(ScaleError::NoEngine("*".to_owned()));
        }
        let leader = match &config.store.url {
            StoreUrl::Postgres(url) => Some(Leader::new(url.expose())?),
            StoreUrl::Sqlite(_) | StoreUrl::SqliteMemory => None,
        };
        let memory = Memory::at(&config.scaling.state);
        Ok(Self { posts, memory, leader, total: config.scaling.max_workers, acting: false })
    }

    /// May this daemon act now? Tells when that changes.
    pub(crate) async fn holds(&mut self) -> Result<bool, ScaleError> {
        let locked = self.memory.lock()?;
        let holds = locked
            && match &mut self.leader {
                Some(leader) => leader.hold().await?,
                None => true,
            };
        if holds != self.acting {
            match holds {
                true => tracing::info!("this daemon acts"),
                false => tracing::info!("another daemon acts: standing by"),
            }
            self.acting = holds;
        }
        Ok(holds)
    }

    /// One round: `needs` is the gateway's answer to `GET /needs`, `now` in milliseconds since 1970.
    pub(crate) async fn act(&mut self, needs: &Value, now: i64) -> Result<(), ScaleError> {
        for (service, post) in &mut self.posts {
            let Some(need) = read(&needs["services"][service]) else {
                tracing::warn!(service, "the gateway says nothing of this service: nothing is done");
                continue;
            };
            let crew = self.memory.crew(service);
            let alive = match post.actuator.list(crew).await {
                Ok(alive) => alive,
                Err(why) => {
                    tracing::warn!(service, why, "which workers there are is not known: nothing is done");
                    continue;
                }
            };
            crew.found(&alive, &prefix(service), now, &post.limits);
            // All services share what there may be; this one's own are counted anew.
            let others = self.memory.present() - self.memory.crew(service).present();
            let limits = Limits { most: post.limits.most.min(self.total.saturating_sub(others)), ..post.limits };
            let actions = self.memory.crew(service).plan(need, now, &limits);
            for action in actions {
                // Starting and stopping take their time: another may have taken over meanwhile.
                if let Some(leader) = &mut self.leader {
                    match leader.hold().await {
                        Ok(true) => {}
                        Ok(false) => return Ok(()),
                        Err(error) => {
                            tracing::warn!(%error, "whether another has taken over is not known: nothing more is done now");
                            return Ok(());
                        }
                    }
                }
                match action {
                    Action::Start => start(service, post, &mut self.memory, now).await?,
                    Action::Stop(name, why) => {
                        tracing::info!(service, worker = name, why, "a worker is told to finish and end");
                        let crew = self.memory.crew(service);
                        match post.actuator.stop(&name, crew).await {
                            Ok(()) => crew.stopping(&name, now),
                            Err(why) => tracing::warn!(service, worker = name, why, "a worker could not be stopped"),
                        }
                    }
                }
                self.memory.save()?;
            }
            self.memory.save()?;
        }
        Ok(())
    }
}

/// Written down before it is begun: what is started is never forgotten.
async fn start(service: &str, post: &mut Post, memory: &mut Memory, now: i64) -> Result<(), ScaleError> {
    let name = format!("{}{:08x}", prefix(service), rand::random::<u32>());
    memory.crew(service).hire(&name, now);
    memory.save()?;
    match post.actuator.spawn(&name).await {
        Ok(process) => {
            tracing::info!(service, worker = name, "a worker is started");
            memory.crew(service).is_process(&name, process);
        }
        Err(why) => {
            tracing::warn!(service, worker = name, why, "a worker could not be started");
            memory.crew(service).failed(&name, now);
        }
    }
    Ok(())
}

/// How the names of our workers begin: letters, digits and `-` alone, so that every engine takes them. A service whose
/// name had to be changed for it gets a few digits of its own, so that no two have the same.
fn prefix(service: &str) -> String {
    let plain: String = service
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    if plain == service {
        return format!("sg-{plain}-");
    }
    let digest = Sha256::digest(service.as_bytes());
    format!("sg-{plain}-{:02x}{:02x}-", digest[0], digest[1])
}

/// Is this the name of a worker whose names begin so? (`sg-words-` begins those of `words-de`, too.)
fn is_of(name: &str, prefix: &str) -> bool {
    let own = name.strip_prefix(prefix);
    own.is_some_and(|own| own.len() == 8 && own.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn read(needs: &Value) -> Option<Need> {
    let number = |key: &str| needs[key].as_u64().and_then(|number| u32::try_from(number).ok());
    Some(Need { desired: number("desired_workers")?, workers: number("workers")? })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 8)
}
