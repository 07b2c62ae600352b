//! The running gateway: configuration in, layers out.

mod attend;
mod reload;

pub use reload::Reloaded;

use crate::{
    broker::{self, Broker, StartBroker},
    engine::{self, Cache, View},
    files::Shelf,
    keeper::{Desk, Installation, Keeper, Sender},
    keys::Published,
    locate::{self, Documents},
    meters::{Meters, keep_looking},
    needs::Assessor,
    plan::Plan,
    setup::{self, StartError},
    stack::{GatewayLayer, Materials, Nothing, Stack},
    store::{Keep, LeaseTimes, Postgres, Sqlite, Store},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use gateway_config::{BrokerUrl, Config, StoreUrl};
use gateway_contract::{Facts, Readiness, Sampler};
use gateway_life::Limits;
use gateway_metrics::Recorder;
use gateway_worker::GuardCommand;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_layer::Layer;

/// How long a start waits for the issuer's public keys.
const FIRST_KEYS: Duration = Duration::from_secs(2);
/// How long it waits for the broker.
const FIRST_CONTACT: Duration = Duration::from_secs(3);

/// What a host may choose beside the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// How to start the guard of a worker's program. Default: this executable with the argument `guard`, which the
    /// program `service-gateway` answers. A host that mounts the gateway and runs programs with the embedded broker
    /// calls [`guard_main`](crate::guard_main) at the beginning of its own `main`, or names the program here.
    pub guard: GuardCommand,
    /// Where our own server listens, if the gateway has one: its temporary files are admitted as documents, and a workflow's
    /// steps are submitted there. Default: nowhere; then `server.public_url` says where we are.
    pub listening: Option<SocketAddr>,
    /// Where several gateways share a PostgreSQL: how long one that gives no sign keeps its messages. The same for all.
    /// Default: 20 s.
    pub lease: LeaseTimes,
    /// Are the causes of refusals, and where in the source they were made, shown to clients? Default: no.
    pub debug: bool,
    /// Which traces are recorded, as spans of `tracing` (target [`SPANS`](gateway_contract::SPANS)) for your subscriber.
    /// Default: none is begun; what callers bring is passed on to workers.
    pub sampler: Sampler,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            guard: GuardCommand::this_binary(),
            listening: None,
            lease: LeaseTimes::default(),
            debug: false,
            sampler: Sampler::default(),
        }
    }
}

/// A running gateway. Clones are handles of the same one; it stops when [`Gateway::stop`] is called or the last handle
/// is dropped.
#[derive(Clone)]
pub struct Gateway {
    materials: Arc<ArcSwap<Materials>>,
    core: Arc<Core>,
}

struct Core {
    desk: Arc<Desk>,
    broker: Arc<dyn Broker>,
    mailbox: engine::Mailbox,
    failed: watch::Receiver<Option<Arc<str>>>,
    /// The configuration in use.
    config: tokio::sync::Mutex<Config>,
    debug: bool,
    listening: Option<SocketAddr>,
    /// The runtime of the gateway's own thread.
    runtime: Handle,
    /// Ends the fetching of the public keys in use.
    tended: Mutex<Option<DropGuard>>,
    shutdown: CancellationToken,
    thread: Mutex<Option<JoinHandle<()>>>,
    _stop_when_dropped: DropGuard,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens the store, starts broker and engine on a thread of their own, and takes up what the last process left.
    /// A broker that is away is no error: it is tried again for ever, and [`Gateway::readiness`] says so.
    pub async fn start(config: &Config, options: Options) -> Result<Self, StartError> {
        let mut config = config.clone().completed();
        // Where the system has chosen the port, this is it.
        config.server.listen = options.listening.unwrap_or(config.server.listen);
        let store = open_store(&config, options.lease).await?;
        let plan = Arc::new(ArcSwap::from_pointee(Plan::new(&config, store.installation())));
        let policy = locate::policy(&config, options.listening)?;
        let keys = setup::keys(&config)?;
        let recorder = setup::recorder(&plan.load());
        let meters = Meters::new(plan.load().services().iter().map(|service| service.name()));
        let (mailbox, letters) = engine::mailbox();
        let shutdown = CancellationToken::new();
        // Whatever fails from here on: the thread that was begun ends.
        let stop_when_dropped = shutdown.clone().drop_guard();
        let (failed_sender, failed) = watch::channel(None);
        let keep = keep(&config);
        let shared = store.sharing().is_some();
        let cache = Arc::new(if shared { Cache::shared(keep.results) } else { Cache::default() });
        let view = Arc::new(View::new(plan.clone()));

        let shelf = Shelf::new(&config);
        let (started, starting) = oneshot::channel();
        let (thread, runtime) = {
            let start = StartBroker {
                config: config.clone(),
                plan: plan.clone(),
                policy: policy.clone(),
                steps: locate::steps(&config, options.listening)?,
                guard: options.guard,
                store: store.clone(),
                cache: cache.clone(),
                mailbox: mailbox.clone(),
                shelf: shelf.clone(),
                meters: meters.clone(),
            };
            let parts = |broker| engine::Parts {
                store: store.clone(),
                broker,
                cache: cache.clone(),
                view: view.clone(),
                meters: meters.clone(),
                limits: limits(&config, shared),
                failed: failed_sender,
                shutdown: shutdown.clone(),
            };
            let background = Background { start, keep, shelf: shelf.clone(), lease: options.lease, started };
            background.spawn(letters, parts)?
        };
        let broker = starting.await.map_err(|_| StartError::Thread)??;
        let assessor = Arc::new(Assessor::new(plan.clone(), store.clone(), broker.clone()));
        tokio::spawn(assessor.clone().tend(shutdown.clone()));
        let desk = Arc::new(Desk {
            store,
            broker: broker.clone(),
            mailbox: mailbox.clone(),
            cache,
            view,
            plan: plan.clone(),
            recorder: ArcSwap::from_pointee(recorder.clone()),
            assessor,
            meters,
            failed: failed.clone(),
            keys: ArcSwapOption::new(keys.clone().map(Arc::new)),
            refused: AtomicBool::new(false),
            draining: CancellationToken::new(),
        });
        let parts = (shelf, recorder, options.sampler);
        let materials = compose(&config, &desk, &plan.load(), policy, parts, keys.as_ref(), options.debug)?;
        let core = Core {
            desk,
            broker,
            mailbox,
            failed,
            config: tokio::sync::Mutex::new(config),
            debug: options.debug,
            listening: options.listening,
            runtime,
            tended: Mutex::default(),
            thread: Mutex::new(Some(thread)),
            _stop_when_dropped: stop_when_dropped,
            shutdown,
        };
        // So that what needs the broker is not refused at first; one that is away is no reason not to start.
        let _ = tokio::time::timeout(FIRST_CONTACT, core.broker.tried()).await;
        if let Some(keys) = keys {
            let tended = core.tend(keys.clone());
            // So that the first token does not come too early; a server that is away is no reason not to start.
            let _ = tokio::time::timeout(FIRST_KEYS, keys.tried()).await;
            *core.tended() = Some(tended);
        }
        Ok(Self { materials: Arc::new(ArcSwap::from_pointee(materials)), core: Arc::new(core) })
    }

    /// In front of an application: what is not ours goes through untouched.
    pub fn layer(&self) -> GatewayLayer {
        GatewayLayer { materials: self.materials.clone(), alone: false }
    }

    /// Alone: what is not ours is refused by us.
    pub fn service(&self) -> Stack<Nothing> {
        GatewayLayer { materials: self.materials.clone(), alone: true }.layer(Nothing)
    }

    /// Does the gateway's own thread still do its work? Resolves when it has answered, or never.
    pub async fn alive(&self) {
        // One that has ended refuses at once.
        if self.core.runtime.spawn(async {}).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What the gateway's own thread has to do: tasks that live in it, and those that wait for their turn.
    pub fn load(&self) -> (usize, usize) {
        let metrics = self.core.runtime.metrics();
        (metrics.num_alive_tasks(), metrics.global_queue_depth())
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> String {
        Installation(self.core.desk.clone()).metrics()
    }

    /// What works and what does not.
    pub fn readiness(&self) -> Readiness {
        Installation(self.core.desk.clone()).readiness()
    }

    /// Everything that is counted, as `/metrics` shows it.
    pub fn families(&self) -> Vec<gateway_metrics::Family> {
        Installation(self.core.desk.clone()).families()
    }

    /// Resolves, with the reason, once the store (or the gateway's own thread) has failed: nothing more can be accepted by
    /// this process, and our routes answer 503. `service-gateway serve` then ends; a host may go on without us.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.core.failed.clone();
        let why = failed.wait_for(Option::is_some).await.ok().map(|why| why.clone().unwrap_or_default());
        match why {
            Some(why) => why,
            // Stopped without a failure: never resolves.
            None => std::future::pending().await,
        }
    }

    /// Makes `/readyz` say 503, so that a proxy looks elsewhere, while requests are still answered.
    pub fn drain(&self) {
        self.core.desk.draining.cancel();
    }

    /// Hands running tasks back to the store, writes what is left to write, and ends the gateway's thread.
    pub async fn stop(&self) {
        self.drain();
        // What is not sent by now is left to the next process, or to another gateway.
        let _ = self.core.mailbox.hold().await;
        self.core.broker.close().await;
        self.core.shutdown.cancel();
        let thread = self.core.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was logged by the runtime; there is nothing left to stop.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Core {
    /// Fetches these keys until the guard is dropped or the gateway stops.
    fn tend(&self, keys: Published) -> DropGuard {
        let stop = self.shutdown.child_token();
        self.runtime.spawn(keys.tend(stop.clone()));
        stop.drop_guard()
    }

    fn tended(&self) -> std::sync::MutexGuard<'_, Option<DropGuard>> {
        // Whole even if a holder panicked: it is only replaced.
        self.tended.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What the layers are made of. Pure, but for reading page files.
fn compose(
    config: &Config,
    desk: &Arc<Desk>,
    plan: &Plan,
    policy: gateway_outside::Policy,
    (shelf, recorder, sampler): (Shelf, Recorder, Sampler),
    keys: Option<&Published>,
    debug: bool,
) -> Result<Materials, StartError> {
    Ok(Materials {
        routes: Arc::new(setup::routes(plan)?),
        sampler,
        recorder,
        policy: Arc::new(setup::policy(config, keys)?),
        keeper: Keeper(desk.clone()),
        installation: Installation(desk.clone()),
        pages: Arc::new(setup::pages(config, plan)?),
        metrics: config.telemetry.metrics,
        shelf,
        max_file: config.files.max_file.bytes(),
        max_body: config.server.max_body.bytes() as usize,
        documents: Documents::new(config, policy),
        sender: Sender(desk.clone()),
        steps: steps(config),
        debug,
    })
}

/// The gateway's own thread: engine, broker and sweeper on one single-threaded runtime.
struct Background {
    start: StartBroker,
    keep: Keep,
    shelf: Shelf,
    lease: LeaseTimes,
    started: oneshot::Sender<Result<Arc<dyn Broker>, StartError>>,
}

impl Background {
    fn spawn(
        self,
        letters: engine::Letters,
        parts: impl FnOnce(Arc<dyn Broker>) -> engine::Parts,
    ) -> Result<(JoinHandle<()>, Handle), StartError> {
        let Self { start, keep, shelf, lease, started } = self;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Runtime)?;
        let (store, mailbox, cache) = (start.store.clone(), start.mailbox.clone(), start.cache.clone());
        let (plan, meters) = (start.plan.clone(), start.meters.clone());
        let broker = {
            let _runtime = runtime.enter();
            broker::start(start)?
        };
        let parts = parts(broker.clone());
        let (shutdown, failed) = (parts.shutdown.clone(), parts.failed.clone());
        let run = async move {
            let mut others = JoinSet::new();
            tokio::spawn(shelf.tend(shutdown.clone()));
            let engine = tokio::spawn(engine::drive(parts, letters));
            match broker.begin().await {
                Ok(()) => {
                    if let Some(sharing) = store.sharing() {
                        let (broker, mailbox, shutdown) = (broker.clone(), mailbox.clone(), shutdown.clone());
                        others.spawn(engine::keep_lease(sharing, broker, mailbox, lease.renew, shutdown));
                    }
                    tokio::spawn(keep_looking(meters, store.clone(), broker.clone(), plan, shutdown.clone()));
                    others.spawn(engine::sweep(store, broker.clone(), mailbox, cache, keep, shutdown));
                    // Nobody waits any more if the host gave up starting.
                    let _ = started.send(Ok(broker));
                }
                Err(error) => {
                    let _ = started.send(Err(error.into()));
                    return;
                }
            }
            attend::attend(engine, others, &failed).await;
        };
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name("gateway".into())
            .spawn(move || runtime.block_on(run))
            .map_err(StartError::Runtime)?;
        Ok((thread, handle))
    }
}

async fn open_store(config: &Config, lease: LeaseTimes) -> Result<Arc<dyn Store>, StartError> {
    let file = match &config.store.url {
        StoreUrl::Sqlite(file) => Some(file.clone()),
        StoreUrl::SqliteMemory => None,
        StoreUrl::Postgres(url) => return Ok(Arc::new(Postgres::open(url.expose(), lease, engine::now()).await?)),
    };
    let open = move || Sqlite::open(file.as_deref(), engine::now());
    let store = tokio::task::spawn_blocking(open).await.map_err(|_| StartError::Thread)??;
    Ok(Arc::new(store))
}

/// The routes of all services, where the embedded broker runs the chains: it knows no others.
fn steps(config: &Config) -> Option<Arc<[Box<str>]>> {
    let routes = config.services.values().map(|service| service.route.as_str().into());
    (config.broker.url == BrokerUrl::Embedded).then(|| routes.collect())
}

fn limits(config: &Config, shared: bool) -> Limits {
    Limits {
        outbox_depth: config.broker.outbox_depth as usize,
        queues: queues(config),
        shared,
        store_is_queue: config.broker.url == BrokerUrl::Embedded,
        ..Limits::default()
    }
}

fn queues(config: &Config) -> HashMap<Arc<str>, Arc<str>> {
    config.services.iter().map(|(name, service)| (name.as_str().into(), service.queue.as_str().into())).collect()
}

fn keep(config: &Config) -> Keep {
    let milliseconds = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
    Keep {
        results: milliseconds(config.store.keep_results),
        records: milliseconds(config.store.keep_records),
        silence: milliseconds(config.store.task_timeout),
        keys: 0,
        jumps: Vec::new(),
    }
}
