//! Tells workers to drop or stop tasks (Celery's remote control).
//!
//! Workers keep revokes in memory only, so what was revoked lately is told again when a worker comes online, when the
//! connection is back, and when a cancelled task reports that it runs.

use super::Shared;
use gateway_celery::{Stamp, command};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use uuid::Uuid;

/// Orders that may wait; beyond, they are dropped: a cancelled task that runs all the same reports, and is told again.
const ORDERS: usize = 1024;
/// How many of the latest are told again, and for how long.
const REMEMBERED: usize = 1000;
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 3600);
/// One task is not told more often.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a command may lie with the broker: a worker that starts later is told when it comes online.
const VALID: Duration = Duration::from_secs(60);

/// Takes orders; never waits.
#[derive(Clone)]
pub(super) struct Revoker {
    orders: mpsc::Sender<(Uuid, Arc<str>)>,
    again: Arc<Notify>,
}

/// The other end of a [`Revoker`].
pub(super) struct Orders {
    orders: mpsc::Receiver<(Uuid, Arc<str>)>,
    again: Arc<Notify>,
}

pub(super) fn revoker() -> (Revoker, Orders) {
    let (sender, orders) = mpsc::channel(ORDERS);
    let again = Arc::<Notify>::default();
    (Revoker { orders: sender, again: again.clone() }, Orders { orders, again })
}

impl Revoker {
    pub(super) fn revoke(&self, id: Uuid, service: &Arc<str>) {
        if self.orders.try_send((id, service.clone())).is_err() {
            tracing::warn!(%id, "too many cancels at once: the workers are told of this one when it reports");
        }
    }

    /// Somebody may have missed what was told before.
    pub(super) fn again(&self) {
        self.again.notify_one();
    }
}

/// What was revoked lately, oldest first.
#[derive(Default)]
struct Lately {
    order: VecDeque<(Instant, Uuid)>,
    told: HashMap<Uuid, (Option<Instant>, &'static str)>,
}

impl Lately {
    fn put(&mut self, id: Uuid, signal: &'static str, now: Instant) {
        self.told.entry(id).or_insert_with(|| {
            self.order.push_back((now, id));
            (None, signal)
        });
        while let Some(&(since, id)) = self.order.front()
            && (self.order.len() > REMEMBERED || now - since > REMEMBERED_FOR)
        {
            self.order.pop_front();
            self.told.remove(&id);
        }
    }

    /// Those that may be told now, by signal; notes that they are.
    fn due(&mut self, ids: impl IntoIterator<Item = Uuid>, now: Instant) -> BTreeMap<&'static str, Vec<Uuid>> {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for id in ids {
            if let Some((last, signal)) = self.told.get_mut(&id)
                && last.is_none_or(|last| now - last >= PAUSE)
            {
                *last = Some(now);
                due.entry(*signal).or_default().push(id);
            }
        }
        due
    }

    fn forget_telling(&mut self, ids: &[Uuid]) {
        for id in ids {
            if let Some((last, _)) = self.told.get_mut(id) {
                *last = None;
            }
        }
    }
}

/// Broadcasts orders; many that come at once go out in one command.
pub(super) async fn run(shared: Arc<Shared>, Orders { mut orders, again }: Orders) {
    let mut lately = Lately::default();
    let mut batch = Vec::new();
    let mut clock = 0;
    loop {
        let ids: Vec<Uuid> = tokio::select! {
            count = orders.recv_many(&mut batch, ORDERS) => {
                if count == 0 {
                    return;
                }
                let now = Instant::now();
                for (id, service) in &batch {
                    let signal = shared.plan.load().service(service).map_or("SIGTERM", |s| s.config.cancel_signal.as_str());
                    lately.put(*id, signal, now);
                }
                batch.drain(..).map(|(id, _)| id).collect()
            }
            () = again.notified() => {
                lately.order.iter().map(|(_, id)| *id).collect()
            }
        };
        for (signal, ids) in lately.due(ids, Instant::now()) {
            clock += 1;
            let arguments = json!({ "task_id": ids, "terminate": true, "signal": signal });
            let message = command("revoke", &arguments, stamp(clock));
            if let Err(error) = shared.client.broadcast(&message).await {
                tracing::warn!(%error, tasks = ids.len(), "workers were not told of cancels; they are when the broker is back");
                lately.forget_telling(&ids);
            }
        }
    }
}

fn stamp(clock: i32) -> Stamp {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + VALID;
    Stamp { clock, expires: expires.as_secs_f64() }
}
