//! What is not counted but looked up: queues, workers, what is open in the store.

use super::Meters;
use crate::{
    broker::{Broker, Queued},
    engine::now,
    plan::Plan,
    store::{Counts, Store},
};
use arc_swap::ArcSwap;
use gateway_life::Millis;
use gateway_metrics::{Family, Labels, Points};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often. A scrape shows what was last seen.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Looked {
    open: BTreeMap<Arc<str>, Counts>,
    queues: BTreeMap<Arc<str>, Queued>,
}

impl Looked {
    pub(super) fn families(&self, at: Millis) -> Vec<Family> {
        let labels = |name: &Arc<str>| -> Labels { vec![("service", (**name).into())] };
        let tasks = self.open.iter().flat_map(|(name, open)| {
            let of = |phase: &'static str, number: u64| {
                let mut labels = labels(name);
                labels.push(("phase", phase.into()));
                (labels, number as f64)
            };
            [of("waiting", open.open.saturating_sub(open.running)), of("running", open.running)]
        });
        let oldest = self.open.values().filter_map(|open| open.due_since).min();
        let age = oldest.map_or(0.0, |oldest| (at - oldest).max(0) as f64 / 1000.0);
        let of_queues = |name, unit, help, number: fn(&Queued) -> f64| Family {
            name,
            unit,
            help,
            points: Points::Gauge(self.queues.iter().map(|(name, queue)| (labels(name), number(queue))).collect()),
        };
        vec![
            Family {
                name: "service_gateway.tasks.open",
                unit: "{task}",
                help: "Tasks without an end, in the store: those that were seen to run (running), and the others.",
                points: Points::Gauge(tasks.collect()),
            },
            Family::gauge(
                "service_gateway.outbox.oldest.age",
                "s",
                "Since when the oldest task is due that no broker or slot is known to have; 0 if there is none.",
                age,
            ),
            of_queues(
                "service_gateway.queue.messages",
                "{message}",
                "Messages in a service's queue that no worker has.",
                |queue| queue.messages as f64,
            ),
            of_queues(
                "service_gateway.queue.workers",
                "{worker}",
                "Workers that take from a service's queue.",
                |queue| f64::from(queue.workers),
            ),
            of_queues(
                "service_gateway.queue.slots",
                "{slot}",
                "Tasks that these workers may run at once, if each has as many slots as are configured.",
                |queue| f64::from(queue.workers) * f64::from(queue.slots),
            ),
        ]
    }
}

/// Looks now and then, until `shutdown`. What cannot be asked is left out until it can.
pub async fn keep_looking(
    meters: Meters,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    plan: Arc<ArcSwap<Plan>>,
    shutdown: CancellationToken,
) {
    let look = async {
        loop {
            let mut queues = BTreeMap::new();
            let names: Vec<_> = plan.load().services().iter().map(|service| service.name()).collect();
            for name in &names {
                queues.extend(broker.queued(name).await.map(|queued| (name.clone(), queued)));
            }
            let at = now();
            let open = match store.tally(at, at).await {
                Ok(tally) => {
                    let mut open = tally.counts;
                    // A service without an open task has none, rather than being unknown.
                    for name in names {
                        open.entry(name).or_default();
                    }
                    open
                }
                Err(error) => {
                    tracing::debug!(%error, "the store could not be looked at for metrics");
                    BTreeMap::new()
                }
            };
            *meters.looked() = Looked { open, queues };
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = look => {}
    }
}
