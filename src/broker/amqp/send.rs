//! Tasks on their way out.

use super::{Shared, bound, revoke::Revoker};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use gateway_amqp::{Client, Fate as Told, Outcomes, Publication, State};
use gateway_life::{Fate, Publish, Waiting};
use std::{pin::pin, sync::Arc};
use tokio::sync::mpsc;

/// Messages made ready at once where each has to wait for its binding.
const AT_ONCE: usize = 64;

/// Publishes in the order in which the engine asks; each publication has exactly one fate.
pub(super) async fn publications(shared: Arc<Shared>, mut publications: mpsc::Receiver<Publish>) {
    let asked = stream::poll_fn(move |context| publications.poll_recv(context));
    let at_once = if shared.bound.is_some() { AT_ONCE } else { 1 };
    let made = async |publish: Publish| {
        let (id, term) = (publish.message.id, publish.term);
        (id, term, make(&shared, publish).await)
    };
    let mut ready = pin!(asked.map(made).buffered(at_once));
    while let Some((id, term, ready)) = ready.next().await {
        let sent = match ready {
            // Decided before the process was stopped for a while: by now it may be another gateway's.
            Ok(_) if shared.lease.as_ref().is_some_and(|lease| lease.term() != Some(term)) => Err(Fate::NotSent),
            Ok(publication) => publish(&shared.client, publication).await,
            Err(fate) => Err(fate),
        };
        if let Err(fate) = sent {
            shared.flights.land(id, &fate);
            if shared.mailbox.landed(id, fate).await.is_err() {
                return;
            }
        }
    }
}

/// Makes a message ready to be published, or says what became of it at once.
async fn make(shared: &Shared, Publish { message, attempt, .. }: Publish) -> Result<Publication, Fate> {
    let Waiting { id, service, run_limit, trace, body, .. } = message;
    let body = match body {
        Some(body) => body,
        None => stored_body(shared, id).await?,
    };
    let plan = shared.plan.load_full();
    let Some(service) = plan.service(&service) else {
        // Removed from the configuration: it waits until it is back, or its time is over.
        return Err(Fate::Unroutable("its service is not configured any more".into()));
    };
    if shared.bound.is_some() {
        bound::bind(&shared.client, id).await?;
    }
    let mut call = plan.call(service, id, run_limit);
    let place = shared.flights.leave(id, &service.config.queue, attempt, body.len(), trace.as_deref());
    // As opentelemetry-instrumentation-celery reads it. The place is this attempt's own; the trace is its task's.
    call.trace = place.iter().flat_map(|place| place.headers()).map(|(name, value)| (name.to_owned(), value)).collect();
    let message = call.message(plan.protocol, body);
    Ok(Publication { id, attempt, message })
}

async fn stored_body(shared: &Shared, id: uuid::Uuid) -> Result<Bytes, Fate> {
    match shared.store.body(id).await {
        Ok(Some(body)) => Ok(body),
        // It left the store's outbox, maybe by another gateway: before it is tried again the engine asks the store, and
        // forgets it.
        Ok(None) => Err(Fate::Unknown("its message is not in the store any more".into())),
        Err(error) => {
            tracing::warn!(uuid = %id, %error, "a message could not be read from the store; it is tried again");
            Err(Fate::NotSent)
        }
    }
}

async fn publish(client: &Client, publication: Publication) -> Result<(), Fate> {
    client.publish(publication).await.map_err(|_| Fate::NotSent)
}

/// Tells the engine what became of publications.
pub(super) async fn outcomes(shared: Arc<Shared>, mut outcomes: Outcomes) {
    while let Some(outcome) = outcomes.recv().await {
        let fate = match outcome.fate {
            Told::Sent => Fate::Sent,
            Told::Unsent(_) => Fate::NotSent,
            Told::Unroutable(why) => {
                tracing::warn!(uuid = %outcome.id, why, "no queue takes this task; it is sent when there is one");
                Fate::Unroutable(why.into())
            }
            Told::Refused(why) => {
                tracing::warn!(uuid = %outcome.id, why, "the broker refuses this task");
                Fate::Refused(why.into())
            }
            Told::Unknown(why) => {
                tracing::info!(uuid = %outcome.id, attempt = outcome.attempt, why, "not confirmed; it is sent again");
                Fate::Unknown(why.into())
            }
        };
        shared.flights.land(outcome.id, &fate);
        if shared.mailbox.landed(outcome.id, fate).await.is_err() {
            return;
        }
    }
}

/// Wakes the engine when the broker is back, and tells the workers again what they may have missed.
pub(super) async fn connections(shared: Arc<Shared>, revoker: Revoker) {
    let mut state = shared.client.state();
    let mut before = Up::default();
    loop {
        let up = Up::of(&state.borrow_and_update());
        if up.publishes && !before.publishes && shared.mailbox.connected().await.is_err() {
            return;
        }
        if up.may_have_missed_workers(before) {
            revoker.again();
        }
        before = up;
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// What works.
#[derive(Debug, Clone, Copy, Default)]
struct Up {
    publishes: bool,
    commands: bool,
    hears: bool,
}

impl Up {
    fn of(state: &State) -> Self {
        Self { publishes: state.publish.is_up(), commands: state.control.is_up(), hears: state.hears_workers() }
    }

    /// Workers could not be told, or came online without being heard.
    fn may_have_missed_workers(self, before: Self) -> bool {
        (self.commands && !before.commands) || (self.hears && !before.hears)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_amqp::Link;

    #[test]
    fn workers_are_told_again_once_they_are_heard_again() {
        let mut state = State { publish: Link::Up, consume: Link::Up, control: Link::Up, ..State::default() };
        let (all, none) = (Up::of(&state), Up::default());
        assert!(all.may_have_missed_workers(none) && !all.may_have_missed_workers(all));
        state.faults.insert("s".to_owned(), "differs".to_owned());
        assert!(Up::of(&state).hears, "a queue of tasks");
        state.faults.insert(gateway_celery::event::EXCHANGE.to_owned(), "their queue is gone".to_owned());
        let deaf = Up::of(&state);
        assert!(!deaf.may_have_missed_workers(all) && all.may_have_missed_workers(deaf));
        state.faults.clear();
        state.consume = Link::Down(None);
        assert!(all.may_have_missed_workers(Up::of(&state)));
    }
}
