//! Workers with the redis result backend: the last state of each task is kept in Redis, and published when it changes.
//!
//! What is published is heard at once. What was published while we were away (either of us) is read from where it is
//! kept: whenever the connection is made, for every task of which something may still be reported.

use super::{Shared, hear};
use crate::{broker::Receipt, engine::now, setup::StartError};
use bytes::Bytes;
use gateway_celery::report;
use gateway_config::SecretUrl;
use gateway_life::Millis;
use gateway_redis::{Address, Client, Heard, Inbox, Published, Session, Settings};
use quick_cache::unsync;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

/// KiB of states that may be on their way into the store at once, and the least that one counts for.
const UNWRITTEN: usize = 64 * 1024;
const LEAST: usize = 128;
/// Tasks asked of the store at once, and states asked of Redis at once: these may be large.
const TASKS: usize = 1024;
const STATES: usize = 32;
/// Other people's tasks that are known to be theirs.
const STRANGERS: usize = 10_000;
/// How long until something that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Begins to connect, on the current runtime. Other installations and applications may use the same Redis: our ids are
/// UUIDv7 and Celery's own are UUIDv4, so that most of theirs are told apart without a look into the store.
pub(super) fn start(url: &SecretUrl) -> Result<(Client, Inbox), StartError> {
    let address = Address::parse(url.expose()).map_err(|error| StartError::Broker(error.to_string()))?;
    let ours = |id: Uuid| id.get_version_num() == 7;
    Ok(Client::start(Settings { ours, limit: hear::LARGEST, ..Settings::new(address) }))
}

/// Hears and reads results until the gateway closes. Presumed ends are reported of for `keep` milliseconds.
pub(super) async fn results(shared: Arc<Shared>, inbox: Inbox, keep: Millis) {
    let reader = Reader {
        shared,
        inbox,
        keep,
        strangers: unsync::Cache::new(STRANGERS),
        unwritten: Arc::new(Semaphore::new(UNWRITTEN)),
    };
    reader.run().await;
}

/// Nobody is there any more to whom anything could be told.
struct Closed;

struct Reader {
    shared: Arc<Shared>,
    inbox: Inbox,
    keep: Millis,
    strangers: unsync::Cache<Uuid, ()>,
    unwritten: Arc<Semaphore>,
}

impl Reader {
    async fn run(mut self) {
        while let Some(heard) = self.inbox.recv().await {
            let told = match heard {
                Heard::Result(result) => self.hear(result).await,
                Heard::Connected(session) => self.catch_up(session).await,
            };
            if told.is_err() {
                return;
            }
        }
    }

    /// Reads what may have been missed, and hears what comes meanwhile.
    async fn catch_up(&mut self, mut session: Session) -> Result<(), Closed> {
        let mut after = Uuid::nil();
        // What was heard of a task in this session is newer than what is read of it, or the same.
        let mut heard = HashSet::new();
        loop {
            let asking = ask(self.shared.clone(), session.clone(), now() - self.keep, after);
            tokio::pin!(asking);
            let asked = loop {
                tokio::select! {
                    next = self.inbox.recv() => {
                        if let Some(new) = self.meanwhile(next.ok_or(Closed)?, &mut heard).await? {
                            // What was missed before may have been missed again.
                            (session, after) = (new, Uuid::nil());
                            heard.clear();
                            break None;
                        }
                    }
                    asked = &mut asking => break Some(asked),
                }
            };
            let Some(Read { next, states }) = asked else { continue };
            let mut renewed = false;
            // Pushed before the answer, so it lies here.
            while let Ok(next) = self.inbox.try_recv() {
                if let Some(new) = self.meanwhile(next, &mut heard).await? {
                    (session, after, renewed) = (new, Uuid::nil(), true);
                    heard.clear();
                    break;
                }
            }
            if renewed {
                continue;
            }
            for (id, body) in states.into_iter().filter(|(id, _)| !heard.contains(id)) {
                self.tell(id, &body).await?;
            }
            match next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }

    /// Something comes while we catch up; gives the new session if there is one.
    async fn meanwhile(&mut self, next: Heard, heard: &mut HashSet<Uuid>) -> Result<Option<Session>, Closed> {
        match next {
            Heard::Connected(session) => Ok(Some(session)),
            Heard::Result(result) => {
                if self.is_ours(result.id).await {
                    heard.insert(result.id);
                    self.tell(result.id, &result.body).await?;
                }
                Ok(None)
            }
        }
    }

    async fn hear(&mut self, result: Published) -> Result<(), Closed> {
        if self.is_ours(result.id).await {
            self.tell(result.id, &result.body).await?;
        }
        Ok(())
    }

    async fn is_ours(&mut self, id: Uuid) -> bool {
        if self.strangers.get(&id).is_some() {
            return false;
        }
        if self.shared.cache.knows(id) {
            return true;
        }
        // It was written down before it was sent: a task that the store does not know is never ours.
        let stranger = matches!(self.shared.store.load(id).await, Ok(None));
        if stranger {
            tracing::debug!(uuid = %id, "a result of somebody else's task");
            self.strangers.insert(id, ());
        }
        !stranger
    }

    async fn tell(&self, id: Uuid, body: &[u8]) -> Result<(), Closed> {
        let read = report(Some(&id.to_string()), None, None, body, hear::LARGEST);
        let Some((id, mut fact)) = hear::fact(read, false) else { return Ok(()) };
        if let gateway_life::Fact::Heard(report) = &mut fact {
            // Read and told at once, in either order: after the end it is no sign of another run.
            report.redelivered |= report.state == gateway_life::State::Started;
        }
        let kib = (body.len() / 1024).clamp(LEAST, UNWRITTEN) as u32;
        let permit = self.unwritten.clone().acquire_many_owned(kib).await.map_err(|_| Closed)?;
        self.shared.mailbox.heard(id, fact, Some(Receipt::Kept(permit))).await.map_err(|_| Closed)
    }
}

/// The states that there are, and after which task to go on, if there may be more.
struct Read {
    next: Option<Uuid>,
    states: Vec<(Uuid, Bytes)>,
}

/// The states of some of the tasks that are waited for. An answer that does not come is asked for again: what was missed
/// is told by nobody else. (If the session has ended, another follows, and all begins anew.)
async fn ask(shared: Arc<Shared>, session: Session, since: Millis, after: Uuid) -> Read {
    let ids = loop {
        match shared.store.unsettled(since, after, TASKS).await {
            Ok(tasks) => break tasks.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
            Err(error) => {
                tracing::warn!(%error, "what was missed is not read from Redis yet; it is tried again");
                sleep(AGAIN).await;
            }
        }
    };
    let mut states = Vec::new();
    let mut last = after;
    for ids in ids.chunks(STATES) {
        let found = loop {
            match session.fetch(ids).await {
                Ok(found) => break found,
                Err(gateway_redis::Lost) => sleep(AGAIN).await,
            }
        };
        states.extend(ids.iter().zip(found).filter_map(|(id, body)| Some((*id, body?))));
        last = ids.last().copied().unwrap_or(last);
        if !states.is_empty() {
            // Told before more is read: they may be large.
            return Read { next: Some(last), states };
        }
    }
    Read { next: (ids.len() == TASKS).then_some(last), states }
}
