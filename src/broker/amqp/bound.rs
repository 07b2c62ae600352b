//! Workers with the amqp result backend (Celery up to 4): results go to an exchange, under the task's own key.
//!
//! Each worker declares a queue for each task there, which it never reads and which dies with its first reader, results
//! included. So we leave those alone: our reply queue is bound under the task's key before its message is published. What
//! comes there is heard like any other result, whoever asks and however often. A binding is durable, like the queue:
//! nothing is lost while the gateway is down.
//!
//! A binding is undone, and the worker's queue deleted,
//! - a few seconds after the worker has said its last: after its own end, or its REVOKED;
//! - when the result is forgotten: of a cancelled task no worker may ever speak;
//! - a `result_expires` after an EXPIRED that is only presumed: so long a result that still comes is heard, and the
//!   worker's queue kept by RabbitMQ. Taken up again after a restart.

use super::Shared;
use crate::engine::now;
use gateway_amqp::{Client, ControlError};
use gateway_celery::report::{EXCHANGE, key};
use gateway_life::{Fate, Millis, State, Task};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

/// Bindings that may wait to be undone. Those beyond are undone when their results are forgotten, or at a restart.
const WAITING: usize = 100_000;
/// Orders that may wait to be looked at.
const ORDERS: usize = 10_000;
/// How long after the end: old workers tell some ends twice, and make the queue anew each time.
const LINGER: Millis = 5_000;
/// How long until it is tried again, if the broker is away.
const AGAIN: Duration = Duration::from_secs(1);
/// Tasks asked of the store at once.
const TASKS: usize = 1024;

/// A binding, and when it is to be undone: milliseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy)]
pub(super) struct Release {
    id: Uuid,
    at: Millis,
}

/// Takes bindings to be undone; never waits.
#[derive(Debug)]
pub(super) struct Bound {
    orders: mpsc::Sender<Release>,
    /// How long workers' queues are kept, in milliseconds.
    expires: Millis,
}

pub(super) fn bound(expires: Duration) -> (Bound, mpsc::Receiver<Release>) {
    let (orders, releases) = mpsc::channel(ORDERS);
    (Bound { orders, expires: Millis::try_from(expires.as_millis()).unwrap_or(Millis::MAX / 4) }, releases)
}

impl Bound {
    /// Its worker has said its last.
    pub(super) fn release(&self, id: Uuid) {
        self.order(Release { id, at: now() + LINGER });
    }

    fn order(&self, release: Release) {
        if self.orders.try_send(release).is_err() {
            tracing::debug!(uuid = %release.id, "too many bindings at once: this one is undone later");
        }
    }

    /// As above, if this is such an end. A cancel is none: a worker that missed it has to be heard, and told again.
    pub(super) fn ended(&self, task: &Task) {
        match (&task.state, task.presumed) {
            (State::Success | State::Failure | State::Expired, false) => self.release(task.id),
            (State::Expired, true) => self.order(self.presumed(task.id, task.ended.unwrap_or_else(now))),
            // Its result is forgotten later.
            _ => {}
        }
    }

    fn presumed(&self, id: Uuid, ended: Millis) -> Release {
        Release { id, at: ended.saturating_add(self.expires) }
    }
}

/// Sees to it that the results of this task come to us.
pub(super) async fn bind(client: &Client, id: Uuid) -> Result<(), Fate> {
    client.bind(EXCHANGE, &key(id)).await.map_err(|error| {
        // Not sent either: without the binding its first results would be lost.
        tracing::debug!(uuid = %id, %error, "a task's results are not bound; it is tried again");
        Fate::NotSent
    })
}

/// Takes up what the last process had not undone yet: tasks whose end was only presumed.
pub(super) async fn restore(shared: Arc<Shared>) {
    let Some(bound) = &shared.bound else { return };
    let mut after = Uuid::nil();
    loop {
        match shared.store.unsettled(0, after, TASKS).await {
            Ok(tasks) => {
                for (id, ended) in &tasks {
                    if let Some(ended) = ended {
                        bound.order(bound.presumed(*id, *ended));
                    }
                }
                match tasks.last() {
                    Some((last, _)) if tasks.len() == TASKS => after = *last,
                    _ => return,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "old bindings are not undone yet; it is tried again");
                sleep(AGAIN).await;
            }
        }
    }
}

/// What waits to be undone, in the order of its time; a task stands once, with its earliest.
#[derive(Default)]
struct Waiting {
    order: BTreeSet<(Millis, Uuid)>,
    known: HashMap<Uuid, Millis>,
}

impl Waiting {
    fn put(&mut self, Release { id, at }: Release) {
        let earlier = match self.known.get(&id) {
            Some(known) => at < *known,
            None => self.known.len() < WAITING,
        };
        if earlier {
            if let Some(known) = self.known.insert(id, at) {
                self.order.remove(&(known, id));
            }
            self.order.insert((at, id));
        }
    }

    fn next(&self) -> Option<Millis> {
        self.order.first().map(|(at, _)| *at)
    }

    fn take(&mut self) -> Option<Uuid> {
        let (_, id) = self.order.pop_first()?;
        self.known.remove(&id);
        Some(id)
    }
}

/// Undoes bindings, one at a time: nobody waits for it.
pub(super) async fn releases(shared: Arc<Shared>, mut orders: mpsc::Receiver<Release>) {
    let mut waiting = Waiting::default();
    loop {
        // A clock that is set while we wait is noticed within the minute.
        let pause = waiting.next().map(|at| Duration::from_millis((at - now()).clamp(0, 60_000) as u64));
        tokio::select! {
            order = orders.recv() => match order {
                Some(release) => waiting.put(release),
                None => return,
            },
            () = sleep_until(Instant::now() + pause.unwrap_or_default()), if pause.is_some() => {
                if waiting.next().is_none_or(|at| at > now()) {
                    continue;
                }
                let Some(id) = waiting.take() else { continue };
                match shared.client.release(EXCHANGE, &key(id)).await {
                    Ok(()) => {}
                    Err(ControlError::NotConnected | ControlError::Late) => {
                        let at = now() + AGAIN.as_millis() as Millis;
                        waiting.put(Release { id, at });
                        sleep(AGAIN).await;
                    }
                    Err(error) => tracing::debug!(uuid = %id, %error, "the worker's queue of a task was not deleted"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_life::{Fact, Report, Source, apply};

    #[test]
    fn only_after_the_last_word_a_binding_is_undone() {
        let (bound, mut releases) = bound(Duration::from_secs(3600));
        let mut asked = |task: &Task| {
            bound.ended(task);
            releases.try_recv().ok().map(|release| release.at)
        };
        let heard = |state| Fact::Heard(Report::new(state, Source::Queue));
        let task = || Task::new(Uuid::nil(), "s", 0);
        let soon = now() + LINGER;

        let mut done = task();
        apply(&mut done, &heard(State::Started), 1);
        assert_eq!(asked(&done), None);
        apply(&mut done, &heard(State::Success), 2);
        assert!(asked(&done).is_some_and(|at| at >= soon));

        let mut late = task();
        apply(&mut late, &Fact::Overdue { heard: 0, why: "".into() }, 7);
        assert_eq!(asked(&late), Some(3_600_007), "its result may still come");
        apply(&mut late, &heard(State::Success), 8);
        assert!(asked(&late).is_some_and(|at| at >= soon));

        let mut cancelled = task();
        apply(&mut cancelled, &Fact::Cancelled, 1);
        assert_eq!(asked(&cancelled), None, "a worker that missed it has to be heard");
        apply(&mut cancelled, &Fact::Forgotten, 2);
        assert!(asked(&cancelled).is_some_and(|at| at >= soon));
    }

    #[test]
    fn a_task_waits_once_for_its_earliest_time() {
        let mut waiting = Waiting::default();
        let id = Uuid::from_u128;
        for (task, at) in [(1, 30), (2, 20), (1, 10), (2, 40)] {
            waiting.put(Release { id: id(task), at });
        }
        assert_eq!((waiting.next(), waiting.take()), (Some(10), Some(id(1))));
        assert_eq!((waiting.next(), waiting.take()), (Some(20), Some(id(2))));
        assert_eq!((waiting.next(), waiting.take(), waiting.known.len()), (None, None, 0));
        (0..WAITING as u128 + 5).for_each(|n| waiting.put(Release { id: id(n), at: 1 }));
        assert_eq!((waiting.order.len(), waiting.known.len()), (WAITING, WAITING));
    }
}
