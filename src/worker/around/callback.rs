//! Somebody who wants to know that a task has ended.

use super::text;
use gateway_contract::TraceContext;
use gateway_outside::{Client, redact};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a callback may take. Nobody waits for it but a worker that stops.
const DEADLINE: Duration = Duration::from_secs(10);

/// Tells `service.misc.callback_url`, if there is one, how the task ended. A failure is only logged.
pub(crate) async fn call_back(client: &Client, trace: Option<&TraceContext>, argument: &Value, id: Uuid, status: &str) {
    let Some(url) = text(argument, "/service/misc/callback_url") else { return };
    let span = super::sending(trace, "POST", url);
    let client = super::client_at(client, span.context());
    let body = json!({ "uuid": id, "status": status }).to_string();
    let why = match timeout(DEADLINE, client.post_json(url, body)).await {
        Ok(Ok(reply)) if (200..300).contains(&reply.status) => return,
        Ok(Ok(reply)) => format!("it answered {}", reply.status),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("it did not answer within {} s", DEADLINE.as_secs()),
    };
    span.fail(&why);
    tracing::warn!(uuid = %id, url = redact(url), why, "a callback failed");
}
