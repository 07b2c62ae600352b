//! Where several gateways share a store: keeps this gateway's lease, and takes over the messages of those that are gone.

use super::Mailbox;
use crate::{broker::Broker, store::Sharing};
use gateway_life::Input;
use rand::RngExt;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How soon a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages taken over at once.
const AT_ONCE: usize = 256;

/// Renews the lease every `pause` until `shutdown`.
pub async fn keep_lease(
    sharing: Arc<dyn Sharing>,
    broker: Arc<dyn Broker>,
    mailbox: Mailbox,
    pause: Duration,
    shutdown: CancellationToken,
) {
    let keep = async {
        loop {
            let renewed = sharing.renew().await;
            // The engine looks at the lease whenever it is told something.
            if mailbox.tell(Input::Tick).await.is_err() {
                return;
            }
            let wait = match renewed {
                Ok(()) => {
                    if adopt(&*sharing, &*broker, &mailbox).await.is_err() {
                        return;
                    }
                    // Spread, so that gateways started together do not go on together.
                    pause.mul_f64(rand::rng().random_range(0.8..1.0))
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease was not renewed; it is tried again");
                    AGAIN.min(pause)
                }
            };
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keep => {}
    }
}

/// Takes over all that nobody owns any more. A gateway without its broker leaves it to others.
async fn adopt(sharing: &dyn Sharing, broker: &dyn Broker, mailbox: &Mailbox) -> Result<(), super::Stopped> {
    loop {
        let up = broker.parts().iter().all(|part| part.name != "broker" || part.fault.is_none());
        if !up || sharing.lease().term().is_none() {
            return Ok(());
        }
        let messages = match sharing.adopt(AT_ONCE).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "messages of other gateways were not looked for; it is tried again");
                return Ok(());
            }
        };
        if messages.is_empty() {
            return Ok(());
        }
        tracing::info!(count = messages.len(), "took over messages of a gateway that is gone");
        for message in messages {
            mailbox.restored(message).await?;
        }
    }
}
