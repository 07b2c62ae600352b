//! RabbitMQ and Celery workers: the engine's publications out, the workers' reports in.

mod bound;
mod dead;
mod flights;
mod hear;
mod kept;
mod reload;
mod revoke;
mod send;

use super::{Broker, Queued, Reload, SILENT, StartBroker};
use crate::{
    engine::{Cache, Mailbox, now},
    meters::Meters,
    plan::Plan,
    setup::StartError,
    store::{Lease, Store, StoreError},
};
use arc_swap::ArcSwap;
use bound::Bound;
use flights::Flights;
use gateway_amqp::{Address, Client, ControlError, Inbox, Kind, Link, QueueSpec, QueueState, Settings, State};
use gateway_celery::Field;
use gateway_config::{Argument, Config, QueueType, ResultBackend, Service};
use gateway_contract::{BoxFuture, Part};
use gateway_life::{Delivery, Fate, Millis, Publish, Task, Waiting};
use revoke::Revoker;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Publications that may wait for their turn; the engine's own window is smaller.
const PUBLICATIONS: usize = 4096;
/// How long a question about a queue may take before its answer is "unknown".
const QUESTION: Duration = Duration::from_secs(2);
/// How long confirms that are out are waited for at the end.
const GRACE: Duration = Duration::from_secs(5);

/// RabbitMQ, as the engine sees it.
pub struct Amqp {
    shared: Arc<Shared>,
    publications: mpsc::Sender<Publish>,
    revoker: Revoker,
    /// What [`Broker::begin`] starts with.
    start: Mutex<Option<Start>>,
}

struct Start {
    inbox: Inbox,
    publications: mpsc::Receiver<Publish>,
    revokes: revoke::Orders,
    releases: Option<mpsc::Receiver<bound::Release>>,
    kept: Option<gateway_redis::Inbox>,
}

struct Shared {
    client: Client,
    plan: Arc<ArcSwap<Plan>>,
    store: Arc<dyn Store>,
    /// Where several gateways share the store: how far this one may publish.
    lease: Option<Lease>,
    cache: Arc<Cache>,
    mailbox: Mailbox,
    meters: Meters,
    flights: Flights,
    /// Where workers send each task's results to a queue of its own.
    bound: Option<Bound>,
    /// Where they keep them in Redis.
    redis: Option<gateway_redis::Client>,
    /// How long after its end a task's result is kept.
    keep: Millis,
    /// A worker sends results that die with the broker.
    fleeting: AtomicBool,
    closing: CancellationToken,
    tracker: TaskTracker,
}

impl Amqp {
    /// Begins to connect, on the current runtime. Nothing is sent before [`Broker::begin`].
    pub fn new(start: StartBroker, url: &str) -> Result<Self, StartError> {
        let StartBroker { config, plan, store, cache, mailbox, meters, .. } = start;
        let address = Address::parse(url).map_err(|error| StartError::Broker(error.to_string()))?;
        let reply_queue = plan.load().reply_queue.clone();
        let settings = Settings {
            publish_timeout: config.broker.publish_timeout,
            queues: config.services.values().map(queue).collect(),
            dead_letters: dead_letters(&config),
            ..Settings::new(address, "service-gateway", reply_queue)
        };
        let (client, inbox) = Client::start(settings);
        let (revoker, revokes) = revoke::revoker();
        let queues = config.broker.result_backend == ResultBackend::Amqp;
        let (bound, releases) = queues.then(|| bound::bound(config.broker.result_expires)).unzip();
        let (redis, kept) = match &config.broker.result_backend {
            ResultBackend::Redis(url) => Some(kept::start(url)?),
            ResultBackend::Rpc | ResultBackend::Amqp => None,
        }
        .unzip();
        let (publications, receiver) = mpsc::channel(PUBLICATIONS);
        let shared = Shared {
            client,
            plan,
            lease: store.sharing().map(|sharing| sharing.lease()),
            store,
            cache,
            mailbox,
            flights: Flights::new(meters.clone()),
            meters,
            bound,
            redis,
            keep: Millis::try_from(config.store.keep_results.as_millis()).unwrap_or(Millis::MAX / 4),
            fleeting: AtomicBool::new(false),
            closing: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            publications,
            revoker,
            start: Mutex::new(Some(Start { inbox, publications: receiver, revokes, releases, kept })),
        })
    }
}

/// Services may share a queue of dead letters.
fn dead_letters(config: &Config) -> Vec<String> {
    let named: BTreeSet<_> = config.services.values().map(|service| service.dead_letter_queue.as_str()).collect();
    named.into_iter().filter(|queue| !queue.is_empty()).map(str::to_owned).collect()
}

/// A service's queue, declared as configured.
pub(crate) fn queue(service: &Service) -> QueueSpec {
    let field = |argument: &Argument| match argument {
        Argument::Text(text) => Field::Text(text.clone()),
        Argument::Flag(flag) => Field::Bool(*flag),
        // The wire knows 32 bits here; a larger number is no limit that a queue could have.
        Argument::Int(number) => Field::Int((*number).clamp(i32::MIN.into(), i32::MAX.into()) as i32),
    };
    QueueSpec {
        name: service.queue.clone(),
        kind: match service.queue_type {
            QueueType::Classic => Kind::Classic,
            QueueType::Quorum => Kind::Quorum,
        },
        arguments: service.queue_arguments.iter().map(|(name, value)| (name.clone(), field(value))).collect(),
    }
}

impl Broker for Amqp {
    /// Hands the engine what the last process had not seen confirmed, then begins to send and to listen.
    fn begin(&self) -> BoxFuture<Result<(), StoreError>> {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (shared, revoker) = (self.shared.clone(), self.revoker.clone());
        Box::pin(async move {
            let Some(Start { inbox, publications, revokes, releases, kept }) = start else { return Ok(()) };
            for waiting in shared.store.outbox().await? {
                // It may have been published just before the last process ended: what is sent again is counted before.
                let waiting = Waiting { attempts: waiting.attempts.max(1), ..waiting };
                if shared.mailbox.restored(waiting).await.is_err() {
                    return Ok(());
                }
            }
            // Workers that were away then, and start now, do not know.
            let since = now() - revoke::REMEMBERED_FOR.as_millis() as Millis;
            for (id, service) in shared.store.revoked(since, revoke::REMEMBERED).await? {
                revoker.remember(id, &service);
            }
            let spawn = |name, task: BoxFuture<()>| {
                let closing = shared.closing.clone();
                shared.tracker.spawn(async move {
                    tokio::select! {
                        () = closing.cancelled() => {}
                        () = task => tracing::debug!(name, "ended"),
                    }
                });
            };
            let Inbox { outcomes, deliveries, dead_letters, events } = inbox;
            spawn("publications", Box::pin(send::publications(shared.clone(), publications)));
            // Ends by itself, once every outcome has been told: so it is not cut short at the end.
            shared.tracker.spawn(send::outcomes(shared.clone(), outcomes));
            spawn("connections", Box::pin(send::connections(shared.clone(), revoker.clone())));
            spawn("deliveries", Box::pin(hear::deliveries(shared.clone(), deliveries)));
            if let Some(releases) = releases {
                spawn("releases", Box::pin(bound::releases(shared.clone(), releases)));
                spawn("old bindings", Box::pin(bound::restore(shared.clone())));
            }
            if let Some(inbox) = kept {
                spawn("kept results", Box::pin(kept::results(shared.clone(), inbox, shared.keep)));
            }
            spawn("dead letters", Box::pin(dead::letters(shared.clone(), dead_letters)));
            spawn("events", Box::pin(hear::events(shared.clone(), events, revoker)));
            spawn("revokes", Box::pin(revoke::run(shared.clone(), revokes)));
            Ok(())
        })
    }

    fn publish(&self, publish: Publish) {
        if let Err(refused) = self.publications.try_send(publish) {
            // Closing, or many were cancelled whose publications still wait for the broker: it is tried again.
            let (id, mailbox) = (refused.into_inner().message.id, self.shared.mailbox.clone());
            tokio::spawn(async move { mailbox.landed(id, Fate::NotSent).await });
        }
    }

    fn due(&self, _: &Arc<str>, _: Millis) {
        // Messages leave the store by `publish` alone.
    }

    fn revoke(&self, id: Uuid, service: &Arc<str>) {
        self.revoker.revoke(id, service);
    }

    fn ended(&self, task: &Task) {
        if let Some(bound) = &self.shared.bound {
            bound.ended(task);
        }
    }

    fn workers(&self, service: &str) -> BoxFuture<Option<u32>> {
        let state = self.queue_state(service);
        Box::pin(async move { state.await.ok().map(|state| state.consumers) })
    }

    fn queued(&self, service: &str) -> BoxFuture<Option<Queued>> {
        let state = self.queue_state(service);
        let slots = self.shared.plan.load().service(service).map_or(1, |service| service.worker_slots());
        Box::pin(async move {
            let queued = |messages: u32, workers| Queued { messages: messages.into(), workers, slots, others: true };
            match state.await {
                Ok(state) => Some(queued(state.messages, state.consumers)),
                Err(ControlError::NoSuchQueue) => Some(queued(0, 0)),
                Err(_) => None,
            }
        })
    }

    fn hopeless(&self, task: &Task) -> BoxFuture<Option<String>> {
        let state = self.queue_state(&task.service);
        let sent = task.delivery == Delivery::Settled;
        Box::pin(async move {
            let why = match (state.await, sent) {
                (Ok(state), true) if state.messages > 0 => return None,
                (Ok(_), true) => SILENT,
                (Err(ControlError::NoSuchQueue), true) => {
                    "the queue that it waited in is gone, and no worker spoke of it"
                }
                (Err(_), true) => return None,
                // What was not sent for so long is not waited for any more, whatever the reason.
                (Ok(_), false) => "the broker did not take it",
                (Err(ControlError::NoSuchQueue), false) => "there was no queue for it",
                (Err(_), false) => "the broker could not be reached, and it was never sent",
            };
            Some(why.to_owned())
        })
    }

    fn prepare(&self, reload: Reload) -> Result<BoxFuture<()>, StartError> {
        let queues: Vec<_> = reload.config.services.values().map(queue).collect();
        Ok(Box::pin(reload::declare(self.shared.clone(), queues)))
    }

    fn tried(&self) -> BoxFuture<()> {
        let mut state = self.shared.client.state();
        let tried = |state: &State| {
            [&state.publish, &state.consume, &state.control].iter().all(|link| **link != Link::Down(None))
        };
        Box::pin(async move {
            // A client that has ended is not waited for.
            let _ = state.wait_for(tried).await;
        })
    }

    fn parts(&self) -> Vec<Part> {
        let state = self.shared.client.state().borrow().clone();
        let links = [("publish", &state.publish), ("consume", &state.consume), ("control", &state.control)];
        let down: Vec<_> =
            links.iter().filter_map(|(name, link)| link.fault().map(|why| format!("{name}: {why}"))).collect();
        let fault = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join("; "));
        let queues = state.faults.iter().map(|(queue, why)| format!("{queue}: {why}")).collect();
        let fleeting = self.shared.fleeting.load(Relaxed).then(|| {
            "a worker sends results that are lost if the broker restarts: set result_persistent=True there".to_owned()
        });
        let silent = self.shared.redis.as_ref().and_then(|redis| redis.fault().borrow().clone());
        let silent = silent.map(|why| format!("results are not heard from Redis: {why}"));
        vec![
            Part { name: "broker", fault: fault(down), essential: true },
            Part { name: "queues", fault: fault(queues), essential: false },
            Part { name: "results", fault: silent.or(fleeting), essential: false },
        ]
    }

    fn close(&self) -> BoxFuture<()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared.closing.cancel();
            if let Some(redis) = &shared.redis {
                redis.close().await;
            }
            shared.client.close(GRACE).await;
            shared.tracker.close();
            shared.tracker.wait().await;
        })
    }
}

impl Amqp {
    fn queue_state(&self, service: &str) -> BoxFuture<Result<QueueState, ControlError>> {
        let client = self.shared.client.clone();
        let queue = self.shared.plan.load().service(service).map(|service| service.config.queue.clone());
        Box::pin(async move {
            // A service that is not configured any more has no queue of ours.
            let queue = queue.ok_or(ControlError::NoSuchQueue)?;
            tokio::time::timeout(QUESTION, client.queue(&queue)).await.unwrap_or(Err(ControlError::NotConnected))
        })
    }
}
