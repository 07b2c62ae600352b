//! Workers with the amqp result backend (Celery up to 4): results go to an exchange, under the task's own key.
//!
//! Each worker declares a queue for each task there, which it never reads and which dies with its first reader, results
//! included. So we leave those alone: our reply queue is bound under the task's key before its message is published. What
//! comes there is heard like any other result, whoever asks and however often. When the worker has said its last, the
//! binding is undone and the worker's queue deleted; for a task whose end is only presumed, or that was cancelled and of
//! which no worker has spoken since, that is done when its result is forgotten. A binding is durable, like the queue:
//! nothing is lost while the gateway is down.

use super::Shared;
use gateway_amqp::{Client, ControlError};
use gateway_celery::report::{EXCHANGE, key};
use gateway_life::{Fate, State, Task};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// Bindings that may wait to be undone; those beyond are undone when their results are forgotten.
const WAITING: usize = 10_000;
/// How long after the end: old workers tell some ends twice, and make the queue anew each time.
const LINGER: Duration = Duration::from_secs(5);
/// How long until it is tried again, if the broker is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes bindings to be undone; never waits.
#[derive(Debug)]
pub(super) struct Bound(mpsc::Sender<Uuid>);

pub(super) fn bound() -> (Bound, mpsc::Receiver<Uuid>) {
    let (sender, releases) = mpsc::channel(WAITING);
    (Bound(sender), releases)
}

impl Bound {
    /// Nothing more is expected of this task.
    pub(super) fn release(&self, id: Uuid) {
        if self.0.try_send(id).is_err() {
            tracing::debug!(%id, "too many bindings at once: this one is undone later");
        }
    }

    /// As above, if this is an end after which no worker speaks. (A cancel, too, is no such end: a worker that missed it
    /// has to be heard, and told again.)
    pub(super) fn ended(&self, task: &Task) {
        if !task.presumed && matches!(task.state, State::Success | State::Failure | State::Expired) {
            self.release(task.id);
        }
    }
}

/// Sees to it that the results of this task come to us.
pub(super) async fn bind(client: &Client, id: Uuid) -> Result<(), Fate> {
    client.bind(EXCHANGE, &key(id)).await.map_err(|error| {
        // Not sent either: without the binding its first results would be lost.
        tracing::debug!(%id, %error, "a task's results are not bound; it is tried again");
        Fate::NotSent
    })
}

/// Undoes bindings, each a little after it was asked for, one at a time: nobody waits for it.
pub(super) async fn releases(shared: Arc<Shared>, mut ids: mpsc::Receiver<Uuid>) {
    let mut waiting = VecDeque::<(Instant, Uuid)>::new();
    let mut known = HashSet::new();
    loop {
        let next = waiting.front().map(|(at, _)| *at);
        tokio::select! {
            id = ids.recv() => match id {
                Some(id) if waiting.len() < WAITING && known.insert(id) => waiting.push_back((Instant::now() + LINGER, id)),
                Some(_) => {}
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some((_, id)) = waiting.pop_front() else { continue };
                match shared.client.release(EXCHANGE, &key(id)).await {
                    Err(ControlError::NotConnected | ControlError::Late) => {
                        waiting.push_front((Instant::now() + AGAIN, id));
                    }
                    Err(error) => {
                        tracing::debug!(%id, %error, "the worker's queue of a task was not deleted");
                        known.remove(&id);
                    }
                    Ok(()) => {
                        known.remove(&id);
                    }
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
        let (bound, mut releases) = bound();
        let mut asked = |task: &Task| {
            bound.ended(task);
            releases.try_recv().is_ok()
        };
        let heard = |state| Fact::Heard(Report::new(state, Source::Queue));
        let task = || Task::new(Uuid::nil(), "s", 0);

        let mut done = task();
        apply(&mut done, &heard(State::Started), 1);
        assert!(!asked(&done));
        apply(&mut done, &heard(State::Success), 2);
        assert!(asked(&done));

        let mut late = task();
        apply(&mut late, &Fact::Overdue { heard: 0, why: "".into() }, 1);
        assert!(!asked(&late), "its result may still come");
        apply(&mut late, &Fact::Forgotten, 2);
        assert!(asked(&late));

        let mut cancelled = task();
        apply(&mut cancelled, &Fact::Cancelled, 1);
        assert!(!asked(&cancelled), "a worker that missed it has to be heard");
        apply(&mut cancelled, &Fact::Forgotten, 2);
        assert!(asked(&cancelled));
    }
}
