//! Runs one program under a guard, for tests that kill this process while it does:
//! `gateway-worker-to-kill ROOT UUID GRACE-MS PROGRAM ARGUMENT…`. Its guard is itself, as the gateway's is.

#![allow(clippy::unwrap_used)] // nothing but a test starts it

use gateway_outside::{Client, Limits, Policy};
use gateway_worker::{Ending, GuardCommand, Job, Program, Runner, RunnerSettings};
use std::{process::ExitCode, time::Duration};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|word| word == "guard").is_some() {
        return gateway_worker::guard::main(arguments);
    }
    let arguments: Vec<String> = arguments.map(|argument| argument.into_string().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &[String]) -> ExitCode {
    let [root, id, grace, command @ ..] = arguments else { return ExitCode::from(2) };
    let client = Client::new(Policy::default(), Limits::default()).unwrap();
    let mut settings = RunnerSettings::new(root, GuardCommand::this_binary(), client);
    settings.grace = Duration::from_millis(grace.parse().unwrap());
    let runner = Runner::new(settings).unwrap();
    let job = Job::new(id.parse().unwrap(), "stub", 1, serde_json::Value::Null);
    let (events, _received) = tokio::sync::mpsc::channel(8);
    match runner.run(job, &Program::new(command), events, CancellationToken::new()).await {
        Ending::Success(_) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
