//! Tasks of one queue: one consumer, and never more of them here than are wanted.
//!
//! A consumer's prefetch is fixed when it begins, and counts only what was delivered to itself. So when another number is
//! wanted a new consumer takes the old one's place, and what that one was given and has no receipt yet is subtracted:
//! these *lingering* tasks are still here. Whenever room is left because they went, the consumer is renewed once more.

use super::WorkerSettings;
use super::incoming::IncomingTask;
use crate::link::DEADLINE;
use crate::state::Board;
use crate::{topology, wire};
use futures_util::{StreamExt, future};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// What cannot be consumed is tried again so much later.
const PAUSE: Duration = Duration::from_secs(2);

/// Tasks of one queue.
pub(super) struct Tasks {
    pub(super) connection: Arc<Connection>,
    pub(super) settings: Arc<WorkerSettings>,
    pub(super) board: Board,
    /// The queue's, in the settings.
    pub(super) index: usize,
    /// How many may be without a receipt.
    pub(super) wanted: watch::Receiver<u16>,
    pub(super) tasks: mpsc::Sender<IncomingTask>,
}

/// How many tasks of a channel have no receipt yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Count {
    /// The consumer that there is.
    consumer: u64,
    /// Of those before it.
    lingering: u16,
    /// Of this one.
    own: u16,
}

impl Count {
    /// Is the consumer, which takes so many at once (0: there is none), to be renewed?
    fn asks_for_renewal(self, limit: u16, wanted: u16) -> bool {
        let Self { lingering, own, .. } = self;
        let total = limit.saturating_add(lingering);
        // Where there is room for more, only what takes all it can has a use for it; or nobody notices.
        let worth_it = own >= limit || lingering + own == 0;
        (limit > 0 && total > wanted) || (total < wanted && worth_it)
    }
}

/// One task that has no receipt yet.
#[derive(Debug)]
pub(super) struct Held {
    consumer: u64,
    count: watch::Sender<Count>,
}

impl Held {
    fn new(count: &watch::Sender<Count>) -> Self {
        count.send_modify(|count| count.own = count.own.saturating_add(1));
        Self { consumer: count.borrow().consumer, count: count.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.send_modify(|count| {
            let its = if count.consumer == self.consumer { &mut count.own } else { &mut count.lingering };
            *its = its.saturating_sub(1);
        });
    }
}

/// A consumer, and how many tasks it takes at once.
struct Subscription {
    consumer: Consumer,
    limit: u16,
}

/// Nobody reads tasks any more.
struct Unread;

impl Tasks {
    pub(super) async fn consume(mut self) {
        let queue = self.settings.queues[self.index].name.clone();
        let mut told = String::new();
        loop {
            let why = match self.once().await {
                Ok(Unread) => return,
                Err(why) => self.settings.address.scrub(&why),
            };
            if told != why {
                tracing::warn!(queue, why, "the queue cannot be consumed; tried again for ever");
            }
            told = why;
            sleep(PAUSE).await;
        }
    }

    /// Consumes on one channel until that breaks.
    async fn once(&mut self) -> Result<Unread, String> {
        let spec = &self.settings.queues[self.index];
        topology::tasks(&self.connection, spec, &self.board).await?;
        let queue = wire::short("a queue's name", &spec.name)?;
        let channel = in_time(self.connection.create_channel()).await?;
        let (count, mut counted) = watch::channel(Count::default());
        let mut current: Option<Subscription> = None;
        loop {
            let wanted = *self.wanted.borrow_and_update();
            let now = *counted.borrow_and_update();
            if now.asks_for_renewal(current.as_ref().map_or(0, |current| current.limit), wanted) {
                let Some(renewed) = self.renew(&channel, &queue, current, &count, wanted).await? else {
                    return Ok(Unread);
                };
                current = renewed;
                continue;
            }
            tokio::select! {
                delivery = next(&mut current) => {
                    let delivery = delivery.ok_or("the broker ended the consumption: was the queue deleted?")?;
                    if !self.hand_on(delivery.map_err(|error| error.to_string())?, &count).await {
                        return Ok(Unread);
                    }
                }
                changed = self.wanted.changed() => if changed.is_err() {
                    return Ok(Unread);
                },
                // The sender is here.
                _ = counted.changed() => {}
            }
        }
    }

    /// Another consumer, or none, in the place of this one; `None` if nobody reads tasks any more.
    async fn renew(
        &self,
        channel: &Channel,
        queue: &ShortString,
        old: Option<Subscription>,
        count: &watch::Sender<Count>,
        wanted: u16,
    ) -> Result<Option<Option<Subscription>>, String> {
        let Count { lingering, own, .. } = *count.borrow();
        let room = wanted.saturating_sub(lingering).saturating_sub(own);
        // One that has all it takes has nothing on its way: its successor begins before it ends, so that whoever counts
        // consumers always finds one.
        let mut new = match &old {
            Some(old) if own >= old.limit && room > 0 => Some(subscribe(channel, queue, room).await?),
            _ => None,
        };
        if let Some(Subscription { mut consumer, .. }) = old {
            in_time(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
            // What was on its way when we cancelled is ours, too.
            while let Some(Ok(delivery)) = consumer.next().await {
                if !self.hand_on(delivery, count).await {
                    return Ok(None);
                }
            }
        }
        count.send_modify(|count| {
            let lingering = count.lingering.saturating_add(count.own);
            *count = Count { consumer: count.consumer + 1, lingering, own: 0 };
        });
        let room = wanted.saturating_sub(count.borrow().lingering);
        if new.is_none() && room > 0 {
            new = Some(subscribe(channel, queue, room).await?);
        }
        Ok(Some(new))
    }

    /// `false`: nobody reads tasks any more.
    async fn hand_on(&self, delivery: Delivery, count: &watch::Sender<Count>) -> bool {
        self.tasks.send(IncomingTask::new(self.index, delivery, Held::new(count))).await.is_ok()
    }
}

async fn next(current: &mut Option<Subscription>) -> Option<lapin::Result<Delivery>> {
    match current {
        Some(current) => current.consumer.next().await,
        None => future::pending().await,
    }
}

async fn subscribe(channel: &Channel, queue: &ShortString, limit: u16) -> Result<Subscription, String> {
    let subscribing = async {
        channel.basic_qos(limit, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await
    };
    Ok(Subscription { consumer: in_time(subscribing).await?, limit })
}

pub(super) async fn in_time<T>(asking: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    let late = |_| format!("the broker did not answer within {} s", DEADLINE.as_secs());
    timeout(DEADLINE, asking).await.map_err(late)?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_renewed_when_that_changes_something() {
        for ((lingering, own, limit, wanted), renewed) in [
            ((0, 0, 0, 0), false),
            ((0, 0, 0, 4), true),
            ((0, 2, 4, 4), false),
            ((0, 2, 4, 0), true),
            ((4, 0, 0, 0), false),
            ((4, 0, 0, 4), false),
            ((3, 0, 0, 4), true),
            ((2, 0, 1, 4), false),
            ((2, 1, 1, 4), true),
            ((0, 1, 2, 4), false),
            ((0, 0, 2, 4), true),
        ] {
            let count = Count { consumer: 1, lingering, own };
            assert_eq!(count.asks_for_renewal(limit, wanted), renewed, "{count:?} {limit} {wanted}");
        }
    }

    #[test]
    fn what_is_held_counts_for_the_consumer_that_it_came_by() {
        let (count, now) = watch::channel(Count::default());
        let (first, second) = (Held::new(&count), Held::new(&count));
        count.send_modify(|count| *count = Count { consumer: 1, lingering: 2, own: 0 });
        let third = Held::new(&count);
        drop(first);
        assert_eq!(*now.borrow(), Count { consumer: 1, lingering: 1, own: 1 });
        drop((second, third));
        assert_eq!(*now.borrow(), Count { consumer: 1, lingering: 0, own: 0 });
    }
}
