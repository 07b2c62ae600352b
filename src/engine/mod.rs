//! Drives [`gateway_life::Engine`] with clock, store and broker: one thread, one commit under way at a time.
//!
//! Whoever has something to tell sends it through a [`Mailbox`]; the channel is bounded, so a slow store slows down
//! submissions and acknowledgements instead of filling the memory.

mod cache;
mod lease;
mod sweep;
mod told;
mod view;

pub use cache::Cache;
pub use lease::keep_lease;
pub use sweep::sweep;
pub use view::View;

use crate::{
    broker::{Broker, Receipt},
    meters::Meters,
    store::{Sharing, Store, StoreError},
};
use gateway_life::{
    Accept, Answer, CommitFault, Effect, Engine, Fact, Heard, Input, Limits, Millis, Waiting, Write, Written,
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Inputs that may wait for the engine.
const MAILBOX: usize = 4096;
/// Inputs taken at once.
const AT_ONCE: usize = 1024;
/// How long the last writes may take when the gateway stops.
const LAST_WRITES: Duration = Duration::from_secs(10);

type Client = oneshot::Sender<Answer>;
type Event = Input<Client, Receipt>;

/// Now, in milliseconds since 1970 (UTC).
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}

/// The engine did not answer: it has stopped, because its store failed or the gateway is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway is stopping")]
pub struct Stopped;

/// Where the engine is told things.
#[derive(Debug, Clone)]
pub struct Mailbox(mpsc::Sender<Event>);

impl Mailbox {
    /// Accepts a task durably, or says why not.
    pub async fn submit(&self, accept: Accept) -> Result<Answer, Stopped> {
        self.ask(|client| Input::Submit(client, Box::new(accept))).await
    }

    /// Cancels a task of that service.
    pub async fn cancel(&self, id: Uuid, service: Arc<str>) -> Result<Answer, Stopped> {
        self.ask(|client| Input::Cancel(client, id, service)).await
    }

    /// Takes the task of that service that has been due for longest (embedded broker).
    pub async fn claim(&self, service: Arc<str>) -> Result<Answer, Stopped> {
        self.ask(|client| Input::Claim(client, service)).await
    }

    /// Tells what was learnt; the receipt is told when it is durable.
    pub async fn heard(&self, id: Uuid, fact: Fact, receipt: Option<Receipt>) -> Result<(), Stopped> {
        self.tell(Input::Heard(Heard { id, fact, receipt })).await
    }

    /// Tells what became of a publication.
    pub async fn landed(&self, id: Uuid, fate: gateway_life::Fate) -> Result<(), Stopped> {
        self.tell(Input::Landed(id, fate)).await
    }

    /// The broker can be reached (again).
    pub async fn connected(&self) -> Result<(), Stopped> {
        self.tell(Input::Connected).await
    }

    /// The queue of each service that has another name than its service, from now on.
    pub async fn queues(&self, queues: HashMap<Arc<str>, Arc<str>>) -> Result<(), Stopped> {
        self.tell(Input::Queues(queues)).await
    }

    /// Nothing more is to be published: the gateway is about to stop.
    pub async fn hold(&self) -> Result<(), Stopped> {
        self.tell(Input::Lease(None)).await
    }

    /// A message found in the store, at start or when another gateway was gone.
    pub async fn restored(&self, message: Waiting) -> Result<(), Stopped> {
        self.tell(Input::Restored(message)).await
    }

    async fn tell(&self, event: Event) -> Result<(), Stopped> {
        self.0.send(event).await.map_err(|_| Stopped)
    }

    async fn ask(&self, event: impl FnOnce(Client) -> Event) -> Result<Answer, Stopped> {
        let (client, answer) = oneshot::channel();
        self.tell(event(client)).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Makes a mailbox and what reads it.
pub fn mailbox() -> (Mailbox, Letters) {
    let (sender, letters) = mpsc::channel(MAILBOX);
    (Mailbox(sender), Letters(letters))
}

/// The engine's end of the [`Mailbox`].
#[derive(Debug)]
pub struct Letters(mpsc::Receiver<Event>);

/// What an engine works with.
pub struct Parts {
    /// What is durable.
    pub store: Arc<dyn Store>,
    /// Who brings tasks to workers.
    pub broker: Arc<dyn Broker>,
    /// What `status` is answered from.
    pub cache: Arc<Cache>,
    /// How tasks are shown.
    pub view: Arc<View>,
    /// What is counted.
    pub meters: Meters,
    /// Bounds.
    pub limits: Limits,
    /// Set once the store has failed, to why.
    pub failed: watch::Sender<Option<Arc<str>>>,
    /// Ends the engine once its mailbox is empty.
    pub shutdown: CancellationToken,
}

/// Runs the engine until it is shut down or the store fails.
pub async fn drive(parts: Parts, letters: Letters) {
    let engine = Engine::new(parts.limits.clone());
    let sharing = parts.store.sharing();
    let term = Some(0);
    Driver {
        parts,
        engine,
        effects: Vec::new(),
        commit: None,
        begun: None,
        reload: None,
        sharing,
        term,
        failing: false,
    }
    .run(letters.0)
    .await;
}

type Reload = gateway_contract::BoxFuture<Result<Vec<Waiting>, StoreError>>;
type Commit = gateway_contract::BoxFuture<Result<Vec<Written>, CommitFault>>;

struct Driver {
    parts: Parts,
    engine: Engine<Client, Receipt>,
    effects: Vec<Effect<Client, Receipt>>,
    commit: Option<Commit>,
    /// When the commit under way was begun.
    begun: Option<Instant>,
    reload: Option<Reload>,
    sharing: Option<Arc<dyn Sharing>>,
    /// The term of the lease as the engine knows it.
    term: Option<u64>,
    /// The store did not take the last commit.
    failing: bool,
}

impl Driver {
    async fn run(mut self, mut letters: mpsc::Receiver<Event>) {
        let mut batch = Vec::with_capacity(AT_ONCE);
        let shutdown = self.parts.shutdown.clone();
        let mut over = std::pin::pin!(async move {
            shutdown.cancelled().await;
            tokio::time::sleep(LAST_WRITES).await;
        });
        loop {
            let tick = self.engine.next_tick();
            tokio::select! {
                biased;
                result = async { self.commit.as_mut().expect("checked by the guard").await }, if self.commit.is_some() => {
                    self.commit = None;
                    self.committed(result);
                }
                found = async { self.reload.as_mut().expect("checked by the guard").await }, if self.reload.is_some() => {
                    self.reload = None;
                    self.step(Input::Reloaded(found.map_err(|error| error.to_string().into())));
                }
                count = letters.recv_many(&mut batch, AT_ONCE) => if count == 0 { break },
                () = until(tick), if tick.is_some() => self.step(Input::Tick),
                () = self.parts.shutdown.cancelled(), if self.commit.is_none() && self.engine.queued() == 0 => break,
                () = &mut over => {
                    tracing::warn!("the store did not take the last writes in time; they are made up for after a restart");
                    break;
                }
            }
            for event in batch.drain(..) {
                self.step(event);
            }
            // Under a steady load the mailbox is never empty, and the branch above never taken.
            if self.engine.next_tick().is_some_and(|at| at <= now()) {
                self.step(Input::Tick);
            }
            self.look_at_lease();
            self.engine.drop_gone(Client::is_closed);
            self.engine.flush(now(), &mut self.effects);
            self.parts.meters.outbox(self.engine.outbox_len());
            self.perform();
        }
        if let Some(sharing) = self.sharing
            && let Err(error) = sharing.release(self.engine.untried()).await
        {
            tracing::warn!(%error, "messages were not released: others take them over when the lease is over");
        }
    }

    /// Before anything is published: a process that was stopped for a while finds its lease over.
    fn look_at_lease(&mut self) {
        let Some(sharing) = &self.sharing else { return };
        let term = sharing.lease().term();
        if term == self.term {
            return;
        }
        self.term = term;
        match term {
            Some(term) => tracing::info!(term, "the lease begins again: messages are compared with the store"),
            None => tracing::warn!("the lease is over: nothing is published until it is renewed"),
        }
        self.step(Input::Lease(term));
    }

    fn step(&mut self, event: Event) {
        self.engine.step(now(), event, &mut self.effects);
    }

    /// The cache is filled in commit order, before anybody who waited is told.
    fn committed(&mut self, result: Result<Vec<Written>, CommitFault>) {
        let begun = self.begun.take().unwrap_or_else(Instant::now);
        if result.is_err() {
            self.parts.meters.not_committed();
        }
        match &result {
            Ok(written) => {
                tracing::trace!(target: "service_gateway::engine::commit", writes = written.len(), "committed");
                self.parts.meters.committed(written, begun.elapsed());
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the store commits again");
                }
                for written in written {
                    match written {
                        Written::Accepted(task) | Written::Claimed(task, _) => self.show(task),
                        Written::Applied(task, change) if change.changed => {
                            self.show(task);
                            if change.ended {
                                told::ended(task, begun);
                            }
                            if task.state.is_end() {
                                self.parts.broker.ended(task);
                            }
                        }
                        _ => {}
                    }
                }
            }
            Err(fault) if self.failing => tracing::debug!(fault = fault.why(), "the store did not commit again"),
            Err(fault) => {
                self.failing = true;
                tracing::error!(fault = fault.why(), "the store did not commit; this is told once");
            }
        }
        self.step(Input::Committed(result));
    }

    fn show(&self, task: &gateway_life::Task) {
        if let Some(snapshot) = self.parts.view.snapshot(task) {
            self.parts.cache.committed(task, Arc::new(snapshot), now());
        }
    }

    fn perform(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Commit(writes) => {
                    self.begun = Some(Instant::now());
                    self.commit = Some(begin(&self.parts, writes));
                }
                Effect::Publish(publish) => {
                    if publish.attempt > 1 {
                        self.parts.meters.published_again(&publish.message.service);
                    }
                    self.parts.broker.publish(publish);
                }
                Effect::Reload => self.reload = Some(self.parts.store.outbox()),
                Effect::Due(service, at) => self.parts.broker.due(&service, at),
                Effect::Revoke(id, service) => self.parts.broker.revoke(id, &service),
                Effect::Ack(receipt) => receipt.written(),
                // Of another installation with this reply queue, or of a record that is no longer kept.
                Effect::Stray(id) => {
                    self.parts.meters.stray();
                    tracing::warn!(uuid = %id, "what was heard of an unknown task is dropped");
                }
                // Its slot or its broker keeps it for the next process.
                Effect::Return(receipt) => drop(receipt),
                Effect::Answer(client, answer) => {
                    // The client may have gone away: its task is accepted all the same.
                    let _ = client.send(answer);
                }
                Effect::Stop(why) => {
                    tracing::error!(%why, "the store has failed: nothing more is accepted by this process");
                    self.parts.failed.send_replace(Some(Arc::from(why)));
                }
            }
        }
    }
}

fn begin(parts: &Parts, writes: Vec<Write>) -> Commit {
    parts.store.commit(now(), writes)
}

async fn until(at: Option<Millis>) {
    let wait = at.map_or(0, |at| at - now()).clamp(0, 60_000);
    tokio::time::sleep(Duration::from_millis(wait as u64)).await;
}
