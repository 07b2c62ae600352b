//! A worker that is a program of its own: its `main` in one line.

use crate::{Address, Client, GuardCommand, Limits, Policy, RunnerSettings, Service, Stop, WorkerOptions, work};
use std::{
    env,
    error::Error,
    io::{self, IsTerminal},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// Does the tasks of these services until SIGTERM or Ctrl-C (once: what runs may end; twice: it goes to others).
///
/// The broker is the first argument, or the variable `GATEWAY_BROKER__URL`. Documents come from public addresses, and
/// from the hosts in `SERVICE_GATEWAY_ALLOW_HOSTS` (by commas); `SERVICE_GATEWAY_ALLOW_PRIVATE_NETWORKS=1` admits all.
/// It logs to standard error, at level info.
///
/// ```no_run
/// use gateway_worker::{Failure, HandlerProgress, HandlerTask, Service, Value, json, run_worker};
///
/// async fn count(task: HandlerTask, _: HandlerProgress) -> Result<Value, Failure> {
///     let text = String::from_utf8_lossy(&task.read_document(1 << 20).await?).into_owned();
///     Ok(json!({ "words": text.split_whitespace().count() }))
/// }
///
/// fn main() -> std::process::ExitCode {
///     run_worker([Service::handled("words", count)])
/// }
/// ```
pub fn run_worker(services: impl IntoIterator<Item = Service>) -> ExitCode {
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(terminal);
    // A host that set up its own keeps it.
    let _ = log.with_writer(std::io::stderr).try_init();
    match run(services.into_iter().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the worker cannot work");
            ExitCode::FAILURE
        }
    }
}

fn run(services: Vec<Service>) -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).or_else(|| env::var("GATEWAY_BROKER__URL").ok()).filter(|url| !url.is_empty());
    let url = url.ok_or("give the broker's URL (amqp://user:password@host:5672/vhost) or set GATEWAY_BROKER__URL")?;
    let client = Client::new(policy()?, Limits::default())?;
    // Where programs would run; handlers have none.
    let runs = env::temp_dir().join(format!("service-gateway-worker-{}.runs", std::process::id()));
    let runner = RunnerSettings::new(runs.clone(), GuardCommand::this_binary(), client);
    let options = WorkerOptions::new(Address::parse(&url)?, services, runner);
    let worked = to_its_end(async {
        let stop = Stop::default();
        let [mut terminate, mut interrupt] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let asked = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => asked.again(),
                    _ = interrupt.recv() => asked.again(),
                }
            }
        });
        work(options, stop).await.map_err(Box::<dyn Error>::from)
    })?;
    // Only if it is empty, which it is but for others' runs.
    let _ = std::fs::remove_dir(runs);
    worked
}

/// Runs a future on a runtime of its own, and waits for nothing else: a thread that computes for a task which was given up
/// cannot be stopped, and must not hold the process.
fn to_its_end<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

fn policy() -> Result<Policy, Box<dyn Error>> {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let private = matches!(variable("SERVICE_GATEWAY_ALLOW_PRIVATE_NETWORKS").as_str(), "1" | "true");
    let mut policy = Policy::default().with_private_networks(private);
    let hosts = variable("SERVICE_GATEWAY_ALLOW_HOSTS");
    for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        policy = policy.allow_host(host)?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn threads_that_compute_hold_nobody() {
        let (release, released) = mpsc::channel::<()>();
        let computes = || tokio::task::spawn_blocking(move || released.recv());
        to_its_end(async { drop(computes()) }).unwrap();
        // Only now may it end.
        drop(release);
    }
}
