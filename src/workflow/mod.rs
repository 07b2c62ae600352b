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

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_worker::{Ending, GuardCommand, Job, Runner, RunnerSettings};
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        sync::mpsc,
    };
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    /// A gateway that takes a step and then forgets who may ask about it; tells what it is asked.
    async fn gateway() -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (told, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let mut socket = BufReader::new(socket);
                let (mut line, mut length) = (String::new(), 0);
                socket.read_line(&mut line).await.unwrap();
                let mut header = String::from("start");
                while !header.trim().is_empty() {
                    header.clear();
                    socket.read_line(&mut header).await.unwrap();
                    if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                socket.read_exact(&mut vec![0; length]).await.unwrap();
                let (status, body) = match line.contains("/status") {
                    true => ("403 Forbidden", "{\"vesta\": {\"code\": 403, \"message\": \"no\"}}"),
                    false => ("200 OK", "{\"uuid\": \"u\"}"),
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
                told.send(line.split(' ').take(2).collect::<Vec<_>>().join(" ")).unwrap();
            }
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_chain_that_fails_without_its_step_cancels_it() {
        let (url, mut asked) = gateway().await;
        let policy = Policy::default().with_private_networks(true);
        let runs = tempfile::tempdir().unwrap();
        let client = Client::new(policy.clone(), Limits::default()).unwrap();
        let runner = Runner::new(RunnerSettings::new(runs.path(), GuardCommand::this_binary(), client)).unwrap();
        let argument = serde_json::json!({"service": {"misc": {
            "sg_url": url, "services": [{"service_name": "a"}, {"service_name": "b"}],
        }}});
        let job = Job::new(Uuid::nil(), "workflow", 1, argument);
        let (events, _heard) = mpsc::channel(100);
        let minute = Duration::from_secs(60);
        let ending = runner.call(job, &handler(policy).unwrap(), minute, events, CancellationToken::new()).await;
        assert!(matches!(&ending, Ending::Failure { message, .. } if message.contains("403")), "{ending:?}");
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(tokio::time::timeout(minute, asked.recv()).await.expect("in time").expect("it lives"));
        }
        assert_eq!(told, ["POST /a/process", "GET /a/status?uuid=u", "POST /a/cancel?uuid=u"]);
    }
}
