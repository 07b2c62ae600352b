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
//! **What a long chain has done** outlives the results of its steps: the worker notes the last one, and when it starts
//! again goes on from there, though the gateway may not know the first ones' results any more.
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
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// In a note: how many steps are done, and the last one's result.
const DONE: &str = "done";
const LAST: &str = "last";

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
    let (done, mut last) = so_far(&task).await;
    for (index, step) in chain.steps.iter().enumerate().skip(done) {
        let tell = |done: f64| progress.tell((100.0 * index as f64 + done) / count as f64);
        let named = |failure: Failure| {
            let message = format!("step {} of {count} ({}): {}", index + 1, step.service, failure.message);
            Failure::new(failure.class, message)
        };
        tell(0.0);
        tracing::info!(task = %task.id, step = index + 1, of = count, service = step.service, "a step is submitted");
        last = step::run(&door, &task, &chain, index, &last, tell).await.map_err(named)?;
        tell(100.0);
        if index + 1 < count {
            task.note(&json!({ DONE: index + 1, LAST: &last })).await;
        }
    }
    Ok(last)
}

/// How many steps are done, and the result of the last one.
async fn so_far(task: &HandlerTask) -> (usize, Value) {
    let Some(mut noted) = task.noted().await else { return (0, Value::Null) };
    let done = noted[DONE].as_u64().and_then(|done| usize::try_from(done).ok()).unwrap_or(0);
    (done, noted[LAST].take())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_worker::{Ending, GuardCommand, Job, Runner, RunnerSettings};
    use std::path::Path;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        sync::mpsc,
    };
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    /// A gateway that takes every step, and says this of each that it is asked about; tells what it is asked.
    async fn gateway(say: fn(&str) -> (&'static str, &'static str)) -> (String, mpsc::UnboundedReceiver<String>) {
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
                    true => say(&line),
                    false => ("200 OK", "{\"uuid\": \"u\"}"),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                socket.write_all(answer.as_bytes()).await.unwrap();
                told.send(line.split(' ').take(2).collect::<Vec<_>>().join(" ")).unwrap();
            }
        });
        (url, asked)
    }

    /// Runs a chain of the services `a` and `b` until it ends or `stop` is cancelled.
    async fn run_chain(runs: &Path, gateway: &str, last: bool, stop: CancellationToken) -> Ending {
        let policy = Policy::default().with_private_networks(true);
        let client = Client::new(policy.clone(), Limits::default()).unwrap();
        let mut settings = RunnerSettings::new(runs, GuardCommand::this_binary(), client);
        settings.shutdown = stop;
        let argument = json!({"service": {"misc": {
            "sg_url": gateway, "services": [{"service_name": "a"}, {"service_name": "b"}],
        }}});
        let job = Job { last, ..Job::new(Uuid::nil(), "workflow", 1, argument) };
        let (events, _heard) = mpsc::channel(100);
        let (runner, handler) = (Runner::new(settings).unwrap(), handler(policy).unwrap());
        let ending = runner.call(job, &handler, Duration::from_secs(60), events, CancellationToken::new()).await;
        if matches!(ending, Ending::Success(_)) {
            runner.forget(Uuid::nil());
        }
        ending
    }

    async fn next(asked: &mut mpsc::UnboundedReceiver<String>) -> String {
        tokio::time::timeout(Duration::from_secs(60), asked.recv()).await.expect("in time").expect("it lives")
    }

    #[tokio::test]
    async fn a_chain_that_fails_without_its_step_cancels_it() {
        let forbids = |_: &str| ("403 Forbidden", "{\"vesta\": {\"code\": 403, \"message\": \"no\"}}");
        let (url, mut asked) = gateway(forbids).await;
        let runs = tempfile::tempdir().unwrap();
        for last in [false, true] {
            let ending = run_chain(runs.path(), &url, last, CancellationToken::new()).await;
            assert!(matches!(&ending, Ending::Failure { message, .. } if message.contains("403")), "{ending:?}");
            let told = [next(&mut asked).await, next(&mut asked).await];
            assert_eq!(told, ["POST /a/process", "GET /a/status?uuid=u"], "the next try finds it at work");
        }
        assert_eq!(next(&mut asked).await, "POST /a/cancel?uuid=u", "after the last try nobody asks for it");
    }

    #[tokio::test]
    async fn a_chain_goes_on_although_the_results_of_its_first_steps_are_gone() {
        let runs = tempfile::tempdir().unwrap();
        let first_is_done = |line: &str| match line.contains("/a/") {
            true => ("200 OK", "{\"status\": \"SUCCESS\", \"result\": {\"n\": 1}}"),
            false => ("200 OK", "{\"status\": \"STARTED\"}"),
        };
        let (url, mut asked) = gateway(first_is_done).await;
        let stop = CancellationToken::new();
        let stops = async {
            while !next(&mut asked).await.contains("/b/status") {}
            stop.cancel();
        };
        let (ending, ()) = tokio::join!(run_chain(runs.path(), &url, true, stop.clone()), stops);
        assert!(matches!(ending, Ending::Aborted), "{ending:?}");
        let first_is_gone = |line: &str| match line.contains("/a/") {
            true => ("200 OK", "{\"status\": \"EXPIRED\"}"),
            false => ("200 OK", "{\"status\": \"SUCCESS\", \"result\": 2}"),
        };
        let (url, mut asked) = gateway(first_is_gone).await;
        let ending = run_chain(runs.path(), &url, true, CancellationToken::new()).await;
        assert!(matches!(&ending, Ending::Success(result) if result.get() == "2"), "{ending:?}");
        assert_eq!([next(&mut asked).await, next(&mut asked).await], ["POST /b/process", "GET /b/status?uuid=u"]);
        assert_eq!(std::fs::read_dir(runs.path()).unwrap().count(), 0, "nothing is left of it");
    }
}
