//! Tasks on their way out.

use super::{Shared, revoke::Revoker};
use bytes::Bytes;
use gateway_amqp::{Client, Fate as Told, Outcomes, Publication};
use gateway_life::{Fate, Publish, Waiting};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Publishes in the order in which the engine asks; each publication has exactly one fate.
pub(super) async fn publications(shared: Arc<Shared>, mut publications: mpsc::Receiver<Publish>) {
    while let Some(publish) = publications.recv().await {
        let id = publish.message.id;
        if let Err(fate) = send(&shared, publish).await
            && shared.mailbox.landed(id, fate).await.is_err()
        {
            return;
        }
    }
}

/// Hands a message over to the client, or says what became of it at once.
async fn send(shared: &Shared, Publish { message, attempt, term }: Publish) -> Result<(), Fate> {
    let Waiting { id, service, run_limit, body, .. } = message;
    let body = match body {
        Some(body) => body,
        None => stored_body(shared, id).await?,
    };
    let plan = shared.plan.load_full();
    let Some(service) = plan.service(&service) else {
        // Removed from the configuration: it waits until it is back, or its time is over.
        return Err(Fate::Unroutable("its service is not configured any more".into()));
    };
    let message = plan.call(service, id, run_limit).message(plan.protocol, body);
    if shared.lease.as_ref().is_some_and(|lease| lease.term() != Some(term)) {
        // Decided before the process was stopped for a while: by now it may be another gateway's.
        return Err(Fate::NotSent);
    }
    publish(&shared.client, Publication { id, attempt, message }).await
}

async fn stored_body(shared: &Shared, id: uuid::Uuid) -> Result<Bytes, Fate> {
    match shared.store.body(id).await {
        Ok(Some(body)) => Ok(body),
        // It left the outbox meanwhile: nobody waits for this fate.
        Ok(None) => Err(Fate::NotSent),
        Err(error) => {
            tracing::warn!(%id, %error, "a message could not be read from the store; it is tried again");
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
                tracing::warn!(id = %outcome.id, why, "no queue takes this task; it is sent when there is one");
                Fate::Unroutable(why.into())
            }
            Told::Refused(why) => {
                tracing::warn!(id = %outcome.id, why, "the broker refuses this task");
                Fate::Refused(why.into())
            }
            Told::Unknown(why) => {
                tracing::info!(id = %outcome.id, attempt = outcome.attempt, why, "not confirmed; it is sent again");
                Fate::Unknown(why.into())
            }
        };
        if shared.mailbox.landed(outcome.id, fate).await.is_err() {
            return;
        }
    }
}

/// Wakes the engine when the broker is back, and tells the workers again what they may have missed.
pub(super) async fn connections(shared: Arc<Shared>, revoker: Revoker) {
    let mut state = shared.client.state();
    let (mut publishing, mut controlling) = (false, false);
    loop {
        let (publish, control) = {
            let state = state.borrow_and_update();
            (state.publish.is_up(), state.control.is_up())
        };
        if publish && !publishing && shared.mailbox.connected().await.is_err() {
            return;
        }
        if control && !controlling {
            revoker.again();
        }
        (publishing, controlling) = (publish, control);
        if state.changed().await.is_err() {
            return;
        }
    }
}
