//! What workers say.

use super::{Shared, revoke::Revoker};
use crate::broker::Receipt;
use gateway_amqp::Delivery;
use gateway_celery::{Event, Garbled, TaskEventKind, WorkerEventKind, report};
use gateway_life::{Fact, Raised, Report, Run, Source, State};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tokio::sync::mpsc;
use uuid::Uuid;

/// The largest result that is kept, in bytes: what RabbitMQ 4 takes as one message.
pub(super) const LARGEST: usize = 16 << 20;

/// Reads results in the queue's order; each is acknowledged when the engine has written it.
pub(super) async fn deliveries(shared: Arc<Shared>, mut deliveries: mpsc::Receiver<Delivery>) {
    while let Some(delivery) = deliveries.recv().await {
        if !delivery.persistent && !shared.fleeting.swap(true, Relaxed) {
            tracing::warn!("a worker sends results that are lost if the broker restarts: set result_persistent=True");
        }
        let read = report(
            delivery.correlation_id.as_deref(),
            delivery.content_type.as_deref(),
            delivery.content_encoding.as_deref(),
            &delivery.body,
            LARGEST,
        );
        let Some((id, fact)) = fact(read, delivery.redelivered) else {
            // Nobody's: kept, it would come back for ever.
            delivery.receipt.ack();
            continue;
        };
        if let (Fact::Heard(Report { state: State::Revoked, .. }), Some(bound)) = (&fact, &shared.bound) {
            // Whoever cancelled it: the worker has said its last.
            bound.release(id);
        }
        let receipt = Receipt::delivery(delivery.receipt, &shared.meters);
        if shared.mailbox.heard(id, fact, Some(receipt)).await.is_err() {
            return;
        }
    }
}

/// What is learnt from a result, and of which task; `None` if it is nobody's.
pub(super) fn fact(read: Result<gateway_celery::Report, Garbled>, redelivered: bool) -> Option<(Uuid, Fact)> {
    match read {
        Ok(told) => Some((told.id, Fact::Heard(life_report(&told, redelivered)))),
        Err(garbled) => {
            tracing::warn!(uuid = ?garbled.id, reason = garbled.reason, "a result cannot be read");
            garbled.id.map(|id| (id, Fact::Garbled(garbled.to_string().into())))
        }
    }
}

/// A worker's report in the words of a task's life.
fn life_report(told: &gateway_celery::Report, redelivered: bool) -> Report {
    let state = State::from_name(&told.state);
    let progress = if state.is_running() { told.progress() } else { Default::default() };
    let run = match (progress.host, progress.start_time, &told.done) {
        (Some(host), Some(start), _) => Some(Run { host: host.into(), start: start.into() }),
        (_, _, Some(done)) if state.is_end() => Some(Run { host: "".into(), start: done.as_str().into() }),
        _ => None,
    };
    let result = match told.raised() {
        Some(raised) => Raised::new(raised.class, raised.message).to_json(),
        None => told.result.get().to_owned().into(),
    };
    Report { run, result: Some(result), current: progress.current, redelivered, ..Report::new(state, Source::Queue) }
}

/// Listens to worker events: hints that make states visible earlier, and tell when a worker missed a cancel.
pub(super) async fn events(shared: Arc<Shared>, mut events: mpsc::Receiver<Event>, revoker: Revoker) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Worker(worker) if worker.kind == WorkerEventKind::Online => {
                tracing::info!(worker = worker.hostname, "a worker came online");
                revoker.online();
            }
            Event::Hello(hello) => revoker.answer(hello),
            Event::Task(task) => {
                let state = match task.kind {
                    TaskEventKind::Received => State::Received,
                    TaskEventKind::Started => State::Started,
                    _ => continue,
                };
                // Other people's tasks are on the same exchange: only what is at hand is asked of the store.
                if !shared.cache.knows(task.id) {
                    continue;
                }
                let fact = Fact::Heard(Report::new(state, Source::Event));
                if shared.mailbox.heard(task.id, fact, None).await.is_err() {
                    return;
                }
            }
            Event::Worker(_) => {}
        }
    }
}
