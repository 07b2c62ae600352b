//! Sees to it that no task is open for ever and nothing is kept for ever.

use super::{Mailbox, now};
use crate::{
    broker::Broker,
    store::{Keep, Store},
};
use gateway_life::{Delivery, Fact, Task};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often, and how much at once: small steps do not hold up submissions.
const PAUSE: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 256;

/// Sweeps until `shutdown`.
pub async fn sweep(
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    mailbox: Mailbox,
    keep: Keep,
    shutdown: CancellationToken,
) {
    let mut after = Uuid::nil();
    let pause = PAUSE.min(Duration::from_millis((keep.results.min(keep.silence) / 4).max(250) as u64));
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        match store.sweep(now(), keep, after, AT_ONCE).await {
            Ok(swept) => {
                after = match swept.silent.last() {
                    Some(task) if swept.silent.len() == AT_ONCE => task.id,
                    _ => Uuid::nil(),
                };
                let mut facts = swept.facts;
                for task in swept.silent {
                    facts.extend(overdue(&task, &*broker, keep).await);
                }
                for (id, fact) in facts {
                    if mailbox.heard(id, fact, None).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the sweep did not finish; it is tried again"),
        }
    }
}

/// Waiting in a queue that exists is a sign of life.
async fn overdue(task: &Task, broker: &dyn Broker, keep: Keep) -> Option<(Uuid, Fact)> {
    if task.started.is_none() && broker.may_wait(task).await {
        return None;
    }
    let seconds = keep.silence / 1000;
    let why = match task.delivery {
        Delivery::Settled => format!("no sign of life from a worker for {seconds} s (store.task_timeout)"),
        Delivery::Owned => format!("no queue took the task for {seconds} s (store.task_timeout)"),
    };
    Some((task.id, Fact::Overdue { heard: task.heard, why: why.into() }))
}
