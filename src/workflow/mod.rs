//! Runs chains of services: the worker of the workflow service.
//!
//! A chain's steps are tasks like any others: each is submitted over HTTP, with the caller's token, to the gateway that
//! took the chain (`sg_url`), and asked about until it has ended. So the worker may be in the gateway's own process
//! or on another machine, and the gateway knows steps only as tasks of their services.
//!
//! | concept | file |
//! |---|---|
//! | a chain, and what a step is given | `chain` |
//! | one step, from its submission to its end | `step` |
//! | what the gateway is asked, and how patiently | `door` |
//!
//! **A worker that starts again** submits each step under the same `Idempotency-Key`, which is made of the chain's uuid
//! and the step's number, and so finds the tasks that it had submitted before, ended or not: no step is run twice.
//! **Cancelling** a chain, and its time limit, cancel the step that runs.

mod chain;
mod door;
mod step;

use chain::Chain;
use door::Door;
use gateway_outside::{Client, ClientFault, Limits, Policy};
use gateway_worker::{DynHandler, Failure, HandlerProgress, HandlerTask};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The handler of the workflow service's tasks. It goes to gateways that `policy` admits.
pub(crate) fn handler(policy: Policy) -> Result<DynHandler, ClientFault> {
    // Trying again is ours: what is submitted has a key for that.
    let limits = Limits { retries: 0, stall_timeout: Duration::from_secs(60), ..Limits::default() };
    let client = Client::new(policy, limits)?;
    Ok(DynHandler::new(move |task, progress| run(client.clone(), task, progress)))
}

/// Runs the steps one after the other; the first that fails ends the chain.
async fn run(client: Client, task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
    let chain = Chain::read(&task)?;
    let door = Arc::new(Door::new(client, &chain)?);
    let count = chain.steps.len();
    let mut last = Value::Null;
    for (index, step) in chain.steps.iter().enumerate() {
        let tell = |done: f64| progress.tell((100.0 * index as f64 + done) / count as f64);
        let named = |failure: Failure| {
            let message = format!("step {} of {count} ({}): {}", index + 1, step.service, failure.message);
            Failure::new(failure.class, message)
        };
        tell(0.0);
        tracing::info!(task = %task.id, step = index + 1, of = count, service = step.service, "a step is submitted");
        last = step::run(&door, &task, &chain, index, &last, tell).await.map_err(named)?;
        tell(100.0);
    }
    Ok(last)
}
