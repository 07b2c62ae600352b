//! Tells workers to drop or stop tasks (Celery's remote control).
//!
//! Workers keep revokes in memory only. So a worker that starts, and asks its neighbours what was revoked, is answered:
//! that is before it takes its first task. And what was revoked lately is told again after a worker came online (it may
//! start without asking), when the connection is back, and when a cancelled task reports that it runs.

use super::Shared;
use crate::engine::now;
use gateway_celery::{Hello, Stamp, command};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

/// Orders that may wait; beyond, they are dropped: a cancelled task that runs all the same reports, and is told again.
const ORDERS: usize = 1024;
/// How many of the latest are told again, and for how long.
pub(super) const REMEMBERED: usize = 1000;
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// One task is not told more often.
const PAUSE: Duration = Duration::from_secs(5);
/// A worker says that it is online a second or more before it listens to commands.
const SETTLING: Duration = Duration::from_secs(3);
/// How long a command may lie with the broker: a worker that starts later is told when it comes online.
const VALID: Duration = Duration::from_secs(60);

/// How long the store may take to tell what others cancelled.
const PATIENCE: Duration = Duration::from_secs(2);

enum Order {
    Revoke(Uuid, Arc<str>),
    /// The last process told it.
    Remember(Uuid, Arc<str>),
    Answer(Hello),
}

/// Takes orders; never waits.
#[derive(Clone)]
pub(super) struct Revoker {
    orders: mpsc::Sender<Order>,
    missed: Arc<Missed>,
}

/// Who may have missed what was told before.
#[derive(Default)]
struct Missed {
    by_a_new_worker: Notify,
    by_all: Notify,
}

/// The other end of a [`Revoker`].
pub(super) struct Orders {
    orders: mpsc::Receiver<Order>,
    missed: Arc<Missed>,
}

pub(super) fn revoker() -> (Revoker, Orders) {
    let (sender, orders) = mpsc::channel(ORDERS);
    let missed = Arc::<Missed>::default();
    (Revoker { orders: sender, missed: missed.clone() }, Orders { orders, missed })
}

impl Revoker {
    pub(super) fn revoke(&self, id: Uuid, service: &Arc<str>) {
        if self.orders.try_send(Order::Revoke(id, service.clone())).is_err() {
            tracing::warn!(uuid = %id, "too many cancels at once: the workers are told of this one when it reports");
        }
    }

    /// What the last process told.
    pub(super) fn remember(&self, id: Uuid, service: Arc<str>) {
        // As many as are remembered fit, and nothing else comes before them.
        let _ = self.orders.try_send(Order::Remember(id, service));
    }

    /// A worker asks what was revoked.
    pub(super) fn answer(&self, hello: Hello) {
        if self.orders.try_send(Order::Answer(hello)).is_err() {
            tracing::warn!("too many cancels at once: a worker that starts is not told of them");
        }
    }

    /// A worker came online.
    pub(super) fn online(&self) {
        self.missed.by_a_new_worker.notify_one();
    }

    /// The connection is back.
    pub(super) fn again(&self) {
        self.missed.by_all.notify_one();
    }
}

struct Told {
    signal: &'static str,
    last: Option<Instant>,
    /// When it is to be told next.
    next: Option<Instant>,
}

/// What was revoked lately, oldest first.
#[derive(Default)]
struct Lately {
    order: VecDeque<(Instant, Uuid)>,
    told: HashMap<Uuid, Told>,
}

impl Lately {
    fn put(&mut self, id: Uuid, signal: &'static str, now: Instant) {
        self.told.entry(id).or_insert_with(|| {
            self.order.push_back((now, id));
            Told { signal, last: None, next: None }
        });
        while let Some(&(since, id)) = self.order.front()
            && (self.order.len() > REMEMBERED || now - since > REMEMBERED_FOR)
        {
            self.order.pop_front();
            self.told.remove(&id);
        }
    }

    /// Has it told then, or as soon after as its pause allows.
    fn want(&mut self, id: Uuid, at: Instant) {
        if let Some(told) = self.told.get_mut(&id) {
            told.want(at);
        }
    }

    fn want_all(&mut self, at: Instant) {
        self.told.values_mut().for_each(|told| told.want(at));
    }

    fn next(&self) -> Option<Instant> {
        self.told.values().filter_map(|told| told.next).min()
    }

    /// Those whose time has come, by signal; notes that they are told.
    fn due(&mut self, now: Instant) -> BTreeMap<&'static str, Vec<Uuid>> {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for (id, told) in &mut self.told {
            if told.next.is_some_and(|next| next <= now) {
                (told.last, told.next) = (Some(now), None);
                due.entry(told.signal).or_default().push(*id);
            }
        }
        due
    }

    fn forget_telling(&mut self, ids: &[Uuid]) {
        for id in ids {
            if let Some(told) = self.told.get_mut(id) {
                told.last = None;
            }
        }
    }

    fn ids(&self) -> Vec<Uuid> {
        self.order.iter().map(|(_, id)| *id).collect()
    }
}

impl Told {
    fn want(&mut self, at: Instant) {
        let at = self.last.map_or(at, |last| at.max(last + PAUSE));
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// Broadcasts orders; many that come at once go out in one command.
pub(super) async fn run(shared: Arc<Shared>, Orders { mut orders, missed }: Orders) {
    let mut lately = Lately::default();
    let mut batch = Vec::new();
    let mut clock = 0_i32;
    // As a neighbour of the workers: a name of its own, so that no two answers are taken for one.
    let node = format!("service-gateway@{}", Uuid::now_v7());
    loop {
        let next = lately.next();
        tokio::select! {
            count = orders.recv_many(&mut batch, ORDERS) => if count == 0 { return },
            () = missed.by_a_new_worker.notified() => {
                others(&shared, &mut lately).await;
                lately.want_all(Instant::now() + SETTLING);
            }
            () = missed.by_all.notified() => lately.want_all(Instant::now()),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let now = Instant::now();
        for order in batch.drain(..) {
            clock = clock.saturating_add(1);
            match order {
                Order::Remember(id, service) => lately.put(id, signal(&shared, &service), now),
                Order::Revoke(id, service) => {
                    lately.put(id, signal(&shared, &service), now);
                    lately.want(id, now);
                }
                Order::Answer(hello) => {
                    others(&shared, &mut lately).await;
                    // A neighbour with nothing to tell is none.
                    if !lately.told.is_empty() {
                        answer(&shared, hello.answer(&node, &lately.ids(), clock)).await;
                    }
                }
            }
        }
        for (signal, ids) in lately.due(now) {
            clock = clock.saturating_add(1);
            let arguments = json!({ "task_id": ids, "terminate": true, "signal": signal });
            let message = command("revoke", &arguments, stamp(clock));
            if let Err(error) = shared.client.broadcast(&message).await {
                tracing::warn!(%error, tasks = ids.len(), "workers were not told of cancels; they are when the broker is back");
                lately.forget_telling(&ids);
            }
        }
    }
}

fn signal(shared: &Shared, service: &str) -> &'static str {
    shared.plan.load().service(service).map_or("SIGTERM", |service| service.config.cancel_signal.as_str())
}

/// Where several gateways share the store, what others cancelled counts too: they may be gone by now.
async fn others(shared: &Shared, lately: &mut Lately) {
    if shared.lease.is_none() {
        return;
    }
    let since = now() - REMEMBERED_FOR.as_millis() as i64;
    match timeout(PATIENCE, shared.store.revoked(since, REMEMBERED)).await {
        Ok(Ok(cancelled)) => {
            for (id, service) in cancelled {
                lately.put(id, signal(shared, &service), Instant::now());
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "a worker that starts is not told what other gateways cancelled"),
        Err(_) => tracing::warn!("a worker that starts is not told what other gateways cancelled: the store is slow"),
    }
}

async fn answer(shared: &Shared, message: gateway_celery::Message) {
    if let Err(error) = shared.client.answer(&message).await {
        tracing::debug!(%error, "a worker that starts was not told what was revoked");
    }
}

fn stamp(clock: i32) -> Stamp {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + VALID;
    Stamp { clock, expires: expires.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_comes_within_the_pause_is_told_after_it() {
        let (mut lately, start, id) = (Lately::default(), Instant::now(), Uuid::from_u128(1));
        lately.put(id, "SIGTERM", start);
        assert_eq!(lately.next(), None);
        lately.want(id, start);
        assert_eq!(lately.due(start), BTreeMap::from([("SIGTERM", vec![id])]));
        // It reports that it runs all the same, twice: told once more, when the pause is over.
        lately.want(id, start + second(1));
        lately.want(id, start + second(2));
        assert_eq!(lately.next(), Some(start + PAUSE));
        assert!(lately.due(start + second(4)).is_empty());
        assert_eq!(lately.due(start + PAUSE).len(), 1);
        assert_eq!(lately.next(), None);
        // The broker did not take it: it may be told again at once.
        lately.forget_telling(&[id]);
        lately.want_all(start + PAUSE);
        assert_eq!(lately.due(start + PAUSE).len(), 1);
    }

    #[test]
    fn only_so_many_are_remembered_and_so_long() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        for n in 0..REMEMBERED as u128 + 5 {
            lately.put(Uuid::from_u128(n), "SIGTERM", start);
        }
        assert_eq!((lately.ids().len(), lately.ids()[0]), (REMEMBERED, Uuid::from_u128(5)));
        lately.put(Uuid::from_u128(9999), "SIGKILL", start + REMEMBERED_FOR + second(1));
        assert_eq!((lately.ids(), lately.told.len()), (vec![Uuid::from_u128(9999)], 1));
    }
}
