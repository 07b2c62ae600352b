//! What the server pushes: published results, in its order, bounded.

use crate::client::Session;
use bytes::Bytes;
use redis::{PushInfo, PushKind, Value};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use uuid::Uuid;

/// What keys and channels begin with.
const PREFIX: &str = "celery-task-meta-";
/// The channels of all tasks.
pub(crate) const PATTERN: &str = "celery-task-meta-*";
/// Results that may wait to be read.
pub(crate) const WAITING: usize = 4096;
/// And their bytes, in KiB.
pub(crate) const WAITING_KIB: usize = 64 * 1024;

/// The key of a task's result, and the channel on which it is published.
pub(crate) fn key(id: Uuid) -> String {
    format!("{PREFIX}{}", id.hyphenated())
}

/// What is heard, in the server's order.
#[derive(Debug)]
pub enum Heard {
    /// From now on everything is heard; what was published before may have been missed.
    Connected(Session),
    /// A worker published this.
    Result(Published),
}

/// A result as a worker published it.
#[derive(Debug)]
pub struct Published {
    /// The task, as the channel names it.
    pub id: Uuid,
    /// What the worker wrote, cut one byte above [`Settings::limit`](crate::Settings::limit).
    pub body: Bytes,
    /// Its share of the bytes that may wait.
    _share: OwnedSemaphorePermit,
}

/// The end that the connection speaks to. It must never wait: whoever cannot keep up is told that it missed something.
pub(crate) struct Ear {
    pub(crate) session: Session,
    pub(crate) heard: mpsc::Sender<Heard>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) ours: fn(Uuid) -> bool,
    pub(crate) limit: usize,
    pub(crate) lapse: Arc<Lapse>,
}

/// Set once something was missed in a session: what comes later in it would come out of order.
#[derive(Default)]
pub(crate) struct Lapse {
    why: OnceLock<&'static str>,
    told: Notify,
}

impl Lapse {
    fn miss(&self, why: &'static str) {
        // The first reason counts.
        let _ = self.why.set(why);
        self.told.notify_one();
    }

    fn missed(&self) -> bool {
        self.why.get().is_some()
    }

    /// Waits for it; says why.
    pub(crate) async fn wait(&self) -> &'static str {
        loop {
            if let Some(why) = self.why.get() {
                return why;
            }
            self.told.notified().await;
        }
    }
}

const TOO_FAST: &str = "results came faster than they could be written";

impl Ear {
    pub(crate) fn hear(&self, push: PushInfo) {
        if self.lapse.missed() {
            return;
        }
        let heard = match push.kind {
            // The answer to our subscription stands in the same order as what follows from it.
            PushKind::PSubscribe => Some(Heard::Connected(self.session.clone())),
            PushKind::PMessage => match self.published(push.data) {
                Ok(published) => published.map(Heard::Result),
                Err(Missed) => return self.lapse.miss(TOO_FAST),
            },
            PushKind::Disconnection => return self.lapse.miss("the connection ended"),
            _ => None,
        };
        if let Some(heard) = heard
            && self.heard.try_send(heard).is_err()
        {
            self.lapse.miss(TOO_FAST);
        }
    }

    /// `None` if it is not ours.
    fn published(&self, data: Vec<Value>) -> Result<Option<Published>, Missed> {
        let Ok([_pattern, Value::BulkString(channel), Value::BulkString(mut body)]) = <[Value; 3]>::try_from(data)
        else {
            return Ok(None);
        };
        let Some(id) = task(&channel).filter(|id| (self.ours)(*id)) else { return Ok(None) };
        body.truncate(self.limit.saturating_add(1));
        body.shrink_to_fit();
        let kib = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let share = self.room.clone().try_acquire_many_owned(kib).map_err(|_| Missed)?;
        Ok(Some(Published { id, body: body.into(), _share: share }))
    }
}

struct Missed;

fn task(channel: &[u8]) -> Option<Uuid> {
    let id = std::str::from_utf8(channel).ok()?.strip_prefix(PREFIX)?;
    Uuid::try_parse(id).ok().filter(|uuid| uuid.hyphenated().to_string() == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ear(limit: usize, waiting: usize, kib: usize) -> (Ear, mpsc::Receiver<Heard>) {
        let (heard, inbox) = mpsc::channel(waiting);
        let ours = |id: Uuid| id.as_u128() != 1;
        let room = Arc::new(Semaphore::new(kib));
        (Ear { session: Session::default(), heard, room, ours, limit, lapse: Arc::default() }, inbox)
    }

    fn push(id: u128, size: usize) -> PushInfo {
        let text = |text: &str| Value::BulkString(text.into());
        let body = Value::BulkString(vec![b'x'; size]);
        PushInfo { kind: PushKind::PMessage, data: vec![text(PATTERN), text(&key(Uuid::from_u128(id))), body] }
    }

    fn sizes(inbox: &mut mpsc::Receiver<Heard>) -> Vec<usize> {
        let heard = std::iter::from_fn(|| inbox.try_recv().ok());
        heard.filter_map(|heard| if let Heard::Result(it) = heard { Some(it.body.len()) } else { None }).collect()
    }

    #[test]
    fn bodies_are_cut_above_their_limit_and_others_results_dropped() {
        let (ear, mut inbox) = ear(10, 10, 100);
        for (id, size) in [(2, 10), (1, 5), (3, 11), (4, 5000)] {
            ear.hear(push(id, size));
        }
        assert_eq!(sizes(&mut inbox), [10, 11, 11]);
    }

    #[test]
    fn pushes_of_other_shapes_are_dropped() {
        let (ear, mut inbox) = ear(10, 10, 100);
        let text = |text: &str| Value::BulkString(text.into());
        for data in [
            vec![],
            vec![text("p"), text("c")],
            vec![text("p"), text("other-7"), text("b")],
            vec![text("p"), text("celery-task-meta-7"), text("b")],
            vec![text("p"), text("celery-task-meta-00000000000000000000000000000007"), text("b")],
            vec![text("p"), Value::BulkString(vec![0xff]), text("b")],
            vec![text("p"), text(&key(Uuid::from_u128(7))), Value::Int(7)],
        ] {
            ear.hear(PushInfo { kind: PushKind::PMessage, data });
        }
        ear.hear(PushInfo { kind: PushKind::Invalidate, data: Vec::new() });
        assert!(inbox.try_recv().is_err());
        assert!(!ear.lapse.missed());
    }

    #[test]
    fn what_cannot_wait_ends_the_session_and_nothing_comes_after_it() {
        let (few, mut inbox) = ear(10_000, 2, 100);
        (2..6).for_each(|id| few.hear(push(id, 1)));
        assert!(few.lapse.missed());
        assert_eq!(sizes(&mut inbox).len(), 2);
        few.hear(push(6, 1));
        assert!(inbox.try_recv().is_err(), "what comes after a gap is out of order");

        let (small, mut inbox) = ear(10_000, 10, 2);
        small.hear(push(2, 1500));
        assert_eq!(sizes(&mut inbox), [1500]);
        small.hear(push(3, 1500));
        assert!(!small.lapse.missed(), "room is given back with what was read");
        small.hear(push(4, 10));
        assert!(small.lapse.missed());
    }
}
