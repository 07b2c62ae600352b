//! Tells workers to drop or stop tasks (Celery's remote control).
//!
//! Workers keep revokes in memory only, and for three hours. So a worker that starts, and asks its neighbours what was
//! revoked, is answered: that is before it takes its first task. And what was revoked lately is told again every hour,
//! after a worker came online (it may start without asking), when the connection is back, and when a cancelled task
//! reports that it runs.

use super::Shared;
use crate::engine::now;
use gateway_amqp::ControlError;
use gateway_celery::{Hello, Stamp, command};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until, timeout},
};
use uuid::Uuid;

/// Questions that may wait; beyond, they are dropped: workers that came online are told all the same.
const QUESTIONS: usize = 256;
/// How many of the latest are told again, and for how long. A worker remembers 50,000 at most.
pub(super) const REMEMBERED: usize = 10_000;
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many are told by one command.
const AT_ONCE: usize = 1000;
/// One task is not told more often.
const PAUSE: Duration = Duration::from_secs(5);
/// When they are told again that the broker did not take, though it is there.
const FAILED: Duration = Duration::from_secs(30);
/// How often each is told again, whatever happens: well before workers forget it.
const AGAIN: Duration = Duration::from_secs(3600);
/// A worker says that it is online a second or more before it listens to commands; a slow one needs longer.
const SETTLING: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(30)];
/// How long a command may lie with the broker: a worker that starts later is told when it comes online.
const VALID: Duration = Duration::from_secs(60);

/// How long the store may take to tell what others cancelled.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes orders; never waits, and loses none.
#[derive(Clone)]
pub(super) struct Revoker {
    hellos: mpsc::Sender<Hello>,
    shelf: Arc<Shelf>,
}

/// What is to be told, and what has happened since.
#[derive(Default)]
struct Shelf {
    lately: Mutex<Lately>,
    order: Notify,
    new_worker: Notify,
    all: Notify,
}

impl Shelf {
    fn lately(&self) -> MutexGuard<'_, Lately> {
        // Whole even if a holder panicked: what stands in one half only is never told again, no more.
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end of a [`Revoker`].
pub(super) struct Orders {
    hellos: mpsc::Receiver<Hello>,
    shelf: Arc<Shelf>,
}

pub(super) fn revoker() -> (Revoker, Orders) {
    let (sender, hellos) = mpsc::channel(QUESTIONS);
    let shelf = Arc::<Shelf>::default();
    (Revoker { hellos: sender, shelf: shelf.clone() }, Orders { hellos, shelf })
}

impl Revoker {
    pub(super) fn revoke(&self, id: Uuid, service: &Arc<str>) {
        let now = Instant::now();
        let mut lately = self.shelf.lately();
        lately.put(id, service, now);
        lately.want(id, now);
        self.shelf.order.notify_one();
    }

    /// What the last process told.
    pub(super) fn remember(&self, id: Uuid, service: &Arc<str>) {
        self.shelf.lately().put(id, service, Instant::now());
    }

    /// A worker asks what was revoked.
    pub(super) fn answer(&self, hello: Hello) {
        if self.hellos.try_send(hello).is_err() {
            tracing::warn!("too many workers start at once: one is told of cancels only after it is online");
        }
    }

    /// A worker came online.
    pub(super) fn online(&self) {
        self.shelf.new_worker.notify_one();
    }

    /// The connection is back.
    pub(super) fn again(&self) {
        self.shelf.all.notify_one();
    }
}

struct Told {
    service: Arc<str>,
    last: Option<Instant>,
    /// When it is to be told next.
    next: Instant,
}

/// What was revoked lately, oldest first.
#[derive(Default)]
struct Lately {
    order: VecDeque<(Instant, Uuid)>,
    told: HashMap<Uuid, Told>,
}

impl Lately {
    fn put(&mut self, id: Uuid, service: &Arc<str>, now: Instant) {
        self.told.entry(id).or_insert_with(|| {
            self.order.push_back((now, id));
            Told { service: service.clone(), last: None, next: now + AGAIN }
        });
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
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
        self.told.values().map(|told| told.next).min()
    }

    /// Those whose time has come; notes that they are told.
    fn due(&mut self, now: Instant) -> Vec<(Uuid, Arc<str>)> {
        self.forget(now);
        let due = self.told.iter_mut().filter(|(_, told)| told.next <= now);
        due.map(|(id, told)| {
            (told.last, told.next) = (Some(now), now + AGAIN);
            (*id, told.service.clone())
        })
        .collect()
    }

    /// They were not told: again at `next`, or as soon as somebody wants it.
    fn forget_telling(&mut self, ids: &[Uuid], next: Instant) {
        for id in ids {
            if let Some(told) = self.told.get_mut(id) {
                (told.last, told.next) = (None, told.next.min(next));
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
        self.next = self.next.min(at);
    }
}

/// Broadcasts orders; many that come at once go out in one command.
pub(super) async fn run(shared: Arc<Shared>, Orders { mut hellos, shelf }: Orders) {
    let mut clock = 0_i32;
    // As a neighbour of the workers: a name of its own, so that no two answers are taken for one.
    let node = format!("service-gateway@{}", Uuid::now_v7());
    // When a worker that came online slowly is told for the second time.
    let mut settled = None::<Instant>;
    loop {
        let next = [shelf.lately().next(), settled].into_iter().flatten().min();
        tokio::select! {
            hello = hellos.recv() => {
                let Some(hello) = hello else { return };
                others(&shared, &shelf).await;
                let ids = shelf.lately().ids();
                // A neighbour with nothing to tell is none.
                if !ids.is_empty() {
                    clock = clock.saturating_add(1);
                    answer(&shared, hello.answer(&node, &ids, clock)).await;
                }
            }
            () = shelf.order.notified() => {}
            () = shelf.new_worker.notified() => {
                others(&shared, &shelf).await;
                let [soon, later] = SETTLING.map(|wait| Instant::now() + wait);
                shelf.lately().want_all(soon);
                settled = Some(later);
            }
            () = shelf.all.notified() => shelf.lately().want_all(Instant::now()),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
        let now = Instant::now();
        if settled.take_if(|at| *at <= now).is_some() {
            shelf.lately().want_all(now);
        }
        let due = shelf.lately().due(now);
        tell(&shared, &shelf, due, &mut clock).await;
    }
}

async fn tell(shared: &Shared, shelf: &Shelf, due: Vec<(Uuid, Arc<str>)>, clock: &mut i32) {
    let mut by_signal = BTreeMap::<_, Vec<_>>::new();
    for (id, service) in due {
        by_signal.entry(signal(shared, &service)).or_default().push(id);
    }
    for (signal, ids) in by_signal {
        for ids in ids.chunks(AT_ONCE) {
            *clock = clock.saturating_add(1);
            let arguments = json!({ "task_id": ids, "terminate": true, "signal": signal });
            let message = command("revoke", &arguments, stamp(*clock));
            if let Err(error) = shared.client.broadcast(&message).await {
                // Without a connection there is no use in it: they are told when that is back.
                let wait = if matches!(error, ControlError::NotConnected) { AGAIN } else { FAILED };
                tracing::warn!(%error, tasks = ids.len(), "workers were not told of cancels; they will be");
                shelf.lately().forget_telling(ids, Instant::now() + wait);
            }
        }
    }
}

fn signal(shared: &Shared, service: &str) -> &'static str {
    shared.plan.load().service(service).map_or("SIGTERM", |service| service.config.cancel_signal.as_str())
}

/// Where several gateways share the store, what others cancelled counts too: they may be gone by now.
async fn others(shared: &Shared, shelf: &Shelf) {
    if shared.lease.is_none() {
        return;
    }
    let since = now() - REMEMBERED_FOR.as_millis() as i64;
    match timeout(PATIENCE, shared.store.revoked(since, REMEMBERED)).await {
        Ok(Ok(cancelled)) => {
            let mut lately = shelf.lately();
            for (id, service) in cancelled {
                lately.put(id, &service, Instant::now());
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
        let service = Arc::<str>::from("s");
        lately.put(id, &service, start);
        assert_eq!(lately.next(), Some(start + AGAIN), "the last process told it");
        lately.want(id, start);
        assert_eq!(lately.due(start), [(id, service)]);
        // It reports that it runs all the same, twice: told once more, when the pause is over.
        lately.want(id, start + second(1));
        lately.want(id, start + second(2));
        assert_eq!(lately.next(), Some(start + PAUSE));
        assert!(lately.due(start + second(4)).is_empty());
        assert_eq!(lately.due(start + PAUSE).len(), 1);
        // The broker did not take it: it may be told again at once.
        lately.forget_telling(&[id], start + PAUSE + FAILED);
        lately.want_all(start + PAUSE);
        assert_eq!(lately.due(start + PAUSE).len(), 1);
        // And is, if nothing else happens.
        lately.forget_telling(&[id], start + PAUSE + FAILED);
        assert_eq!(lately.next(), Some(start + PAUSE + FAILED));
        assert_eq!(lately.due(start + PAUSE + FAILED).len(), 1);
    }

    #[test]
    fn each_is_told_again_before_workers_forget_it_until_we_do() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        lately.put(Uuid::from_u128(1), &"s".into(), start);
        for hour in 1..=24 {
            assert_eq!(lately.next(), Some(start + AGAIN * hour));
            assert_eq!(lately.due(start + AGAIN * hour).len(), 1);
        }
        assert!(lately.due(start + AGAIN * 25).is_empty());
        assert_eq!((lately.next(), lately.ids().len()), (None, 0));
    }

    #[test]
    fn however_many_are_cancelled_at_once_all_are_told() {
        let (revoker, orders) = revoker();
        let service = Arc::<str>::from("s");
        (0..5_000).for_each(|n| revoker.revoke(Uuid::from_u128(n), &service));
        assert_eq!(orders.shelf.lately().due(Instant::now()).len(), 5_000);
    }

    #[test]
    fn only_so_many_are_remembered_and_so_long() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        let service = Arc::<str>::from("s");
        for n in 0..REMEMBERED as u128 + 5 {
            lately.put(Uuid::from_u128(n), &service, start);
        }
        assert_eq!((lately.ids().len(), lately.ids()[0]), (REMEMBERED, Uuid::from_u128(5)));
        lately.put(Uuid::from_u128(99_999), &service, start + REMEMBERED_FOR + second(1));
        assert_eq!((lately.ids(), lately.told.len()), (vec![Uuid::from_u128(99_999)], 1));
    }
}
