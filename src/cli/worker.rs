//! `service-gateway worker`

use super::{ConfigFile, NO_TOKENS, exit, failed, logs, say};
use crate::{broker::amqp, locate, plan, workflow};
use gateway_amqp::Address;
use gateway_config::{BrokerUrl, Config, ResultBackend};
use gateway_outside::{Client, Limits};
use gateway_worker::{
    GatewayFiles, GuardCommand, KeepFiles, OnLost, RunnerSettings, Service, Stop, Work, WorkerOptions,
};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Run workers for services that have a program
#[derive(clap::Args)]
pub(super) struct Worker {
    #[command(flatten)]
    config: ConfigFile,
    /// The worker's name, as Celery's tools show it before @HOST; no two on a host may have the same
    /// [default: service-gateway-PID]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The services: tables of the configuration with a [services.X.worker]
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
}

impl Worker {
    pub(super) fn run(self) -> ExitCode {
        exit(self.work())
    }

    fn work(self) -> Result<(), ExitCode> {
        // Tasks are written down by the gateway alone: workers do not reach its store.
        let loaded = self.config.load_without(&[&NO_TOKENS[..], &[("store.url", "sqlite::memory:")]].concat())?;
        let config = &loaded.config;
        let usage = |why: String| {
            say(&format!("service-gateway: {why}"));
            ExitCode::from(2)
        };
        let BrokerUrl::Amqp(url) = &config.broker.url else {
            return Err(usage("broker.url is \"embedded\": `serve` runs the workers itself".to_owned()));
        };
        if config.broker.result_backend != ResultBackend::Rpc {
            let backend = config.broker.result_backend.redacted();
            return Err(usage(format!(
                "broker.result_backend is {backend:?}, and this worker sends its results by \"rpc\" alone: the gateway \
                 would not hear them; set it to \"rpc\", or run the service's tasks by a Celery worker"
            )));
        }
        let address = Address::parse(url.expose()).map_err(failed)?;
        let services = self.services.iter().enumerate();
        let services = services.filter(|(at, name)| !self.services[..*at].contains(name)); // said twice
        let services: Result<Vec<_>, _> = services.map(|(_, name)| service(config, name).map_err(usage)).collect();
        let services = services?;
        if self.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > 100 || name.contains('@')) {
            return Err(usage("--name: expected 1 to 100 bytes without @".to_owned()));
        }
        let export = logs::start(&config.telemetry, "service-gateway-worker", false).map_err(failed)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let runs = runs().map_err(failed)?;
        let policy = locate::policy(config, Some(config.server.listen)).map_err(failed)?;
        let client = Client::new(policy, Limits::default()).map_err(failed)?;
        let files = files(config, &client);
        if files.is_none() && config.documents.upload_url.is_none() {
            self.warn_of_files(config);
        }
        let mut runner = RunnerSettings::new(runs, GuardCommand::this_binary(), client);
        runner.files = files;
        let mut options = WorkerOptions::new(address, services, runner);
        options.name = self.name.unwrap_or(options.name);
        options.grace = config.server.shutdown_grace;
        options.publish_timeout = config.broker.publish_timeout;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let worked = runtime.block_on(work(options));
        export.stop();
        worked
    }
}

impl Worker {
    /// A task whose program leaves files fails if they have nowhere to go, after its run: better known before.
    fn warn_of_files(&self, config: &Config) {
        for name in &self.services {
            let worker = config.services.get(name).and_then(|service| service.worker.as_ref());
            if worker.is_some_and(|worker| worker.command.iter().any(|word| word.contains("{output}"))) {
                tracing::warn!(
                    service = name,
                    "a task whose program leaves files in {{output}} fails here, unless the gateway names an upload_url: set \
                     documents.upload_url there, or server.public_url here"
                );
            }
        }
    }
}

async fn work(options: WorkerOptions) -> Result<(), ExitCode> {
    let stop = Stop::default();
    // Before anything is started: a signal that comes early must stop us in order, too.
    let signals = Signals::new().map_err(failed)?;
    let listening = tokio::spawn(signals.obey(stop.clone()));
    let worked = gateway_worker::work(options, stop).await;
    listening.abort();
    worked.map_err(failed)
}

/// SIGTERM (an operator) and SIGINT (Ctrl-C): warm the first time, cold the second. SIGQUIT: cold at once. As Celery's
/// workers have it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn obey(mut self, stop: Stop) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => stop.again(),
                _ = self.interrupt.recv() => stop.again(),
                _ = self.quit.recv() => stop.now(),
            }
        }
    }
}

/// A service of the configuration as the worker is told of it.
fn service(config: &Config, name: &str) -> Result<Service, String> {
    let Some(service) = config.services.get(name) else {
        let known: Vec<_> = config.services.keys().map(String::as_str).collect();
        return Err(format!("no service {name:?} is configured; there are: {}", known.join(", ")));
    };
    let Some(worker) = &service.worker else {
        return Err(format!("services.{name} has no [services.{name}.worker]: its workers are others"));
    };
    let work = if worker.command.is_empty() {
        // The workflow service: every other has a command, or the configuration is faulty.
        let policy = locate::steps(config, Some(config.server.listen)).map_err(|error| error.to_string())?;
        let handler = workflow::handler(policy).map_err(|error| error.to_string())?;
        Work::Handler { handler, timeout: worker.timeout }
    } else {
        Work::Program(plan::program(worker))
    };
    Ok(Service {
        queue: amqp::queue(service),
        app: config.broker.app.clone(),
        task: service.task.clone(),
        version: service.version.clone(),
        concurrency: worker.concurrency,
        retries: worker.retries,
        losses: worker.losses,
        on_lost: match worker.on_lost {
            gateway_config::OnLost::Retry => OnLost::Retry,
            gateway_config::OnLost::Fail => OnLost::Fail,
        },
        ..Service::new(name, work)
    })
}

/// The gateway's temporary files, if the configuration says where it is.
fn files(config: &Config, client: &Client) -> Option<Arc<dyn KeepFiles>> {
    let url = config.server.public_url.as_ref()?;
    let key = &config.auth.shared_key;
    let key = (!key.is_empty()).then(|| key.expose().to_owned());
    Some(Arc::new(GatewayFiles::new(client.clone(), url.as_str(), key)))
}

/// Where the runs of this user's workers are: one place for all of them, so that each cleans up after those that died.
fn runs() -> io::Result<PathBuf> {
    let me = fs::metadata("/proc/self")?.uid();
    let runs = std::env::temp_dir().join(format!("service-gateway-worker-{me}.runs"));
    ours(&runs, me)?;
    Ok(runs)
}

/// A directory that others may write to, or that leads elsewhere, could be a trap.
fn ours(directory: &Path, me: u32) -> io::Result<()> {
    let found = match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    match found.is_dir() && found.uid() == me && found.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} is not a directory that is ours alone: remove it, or set TMPDIR",
            directory.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_a_directory_of_our_own_is_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let me = fs::metadata("/proc/self").unwrap().uid();
        let runs = directory.path().join("runs");
        assert!(ours(&runs, me).is_ok(), "made later");
        fs::create_dir(&runs).unwrap();
        fs::set_permissions(&runs, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ours(&runs, me).is_ok());
        assert!(ours(&runs, me + 1).is_err(), "somebody else's");
        fs::set_permissions(&runs, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(ours(&runs, me).is_err(), "open to all");
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        assert!(ours(&link, me).is_err());
    }
}
