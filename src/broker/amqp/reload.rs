//! Queues of services that a reload has brought.

use super::Shared;
use gateway_amqp::{ControlError, QueueSpec};
use std::{sync::Arc, time::Duration};

/// How long until it is tried again, if the broker is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Declares the services' queues, until the broker has answered for each. What is wrong with one is said in `/readyz`,
/// and is no reason to refuse a configuration.
pub(super) async fn declare(shared: Arc<Shared>, mut queues: Vec<QueueSpec>) {
    while !queues.is_empty() && !shared.closing.is_cancelled() {
        let mut left = Vec::new();
        for queue in queues {
            match shared.client.declare(queue.clone()).await {
                Ok(()) => {}
                Err(ControlError::NotConnected | ControlError::Late) => left.push(queue),
                Err(error) => tracing::warn!(queue = queue.name, %error, "the queue of a service is not declared"),
            }
        }
        queues = left;
        if !queues.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
}
