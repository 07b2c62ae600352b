//! `service-gateway serve`

mod admin;
mod notify;
mod reload;

use super::{ConfigFile, exit, export::Export, failed, logs, say};
use crate::{Gateway, Options};
use admin::Admin;
use gateway_config::{Config, Loaded, Mode};
use gateway_server::{Current, Server, Settings, Summary};
use notify::Notify;
use reload::Reloads;
use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// What may be under way on the admin listener at once.
const ADMINS: usize = 64;
/// How long an answer on the admin listener may take: longer than threads can be watched.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the gateway's own thread may take to say that it lives.
const LIVES: Duration = Duration::from_secs(5);

/// Run the gateway
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to listen, instead of server.listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Reload the configuration when its file changes, as SIGHUP does
    #[arg(long)]
    watch: bool,
    /// For development: errors show their causes, logs are in colour, and --watch; where others can reach the gateway,
    /// say it twice
    #[arg(long, action = clap::ArgAction::Count)]
    debug: u8,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        exit(self.serve())
    }

    fn serve(self) -> Result<(), ExitCode> {
        let listen = self.listen.map(|listen| ("server.listen", listen.to_string()));
        let overrides: Vec<_> = listen.into_iter().collect();
        let texts: Vec<_> = overrides.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let loaded = self.config.load(&texts)?;
        super::rehearse::rehearse(&loaded.config).map_err(|faults| {
            say(&faults.to_string());
            ExitCode::from(2)
        })?;
        let debug = self.debug > 0;
        if self.debug == 1 && is_public(&loaded.config) {
            say(
                "service-gateway: --debug shows clients the causes of errors, and server.listen or server.public_url lets \
                 others than this machine in: listen on 127.0.0.1, or say --debug twice",
            );
            return Err(ExitCode::from(2));
        }
        let export = logs::start(&loaded.config.telemetry, "service-gateway", debug).map_err(failed)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        if loaded.config.auth.mode == Mode::None {
            tracing::warn!("auth.mode is \"none\": every request is admitted");
        }
        if debug {
            tracing::warn!("--debug: errors show their causes to clients");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let served = runtime.block_on(async {
            // Before anything is started: a signal that comes early must stop us in order, too.
            let stop = Stop::new().map_err(failed)?;
            let mut reloads = Reloads::new(self.config, overrides).map_err(failed)?;
            if let Some(file) = watched(&loaded, self.watch || debug) {
                reloads.watch(&file);
            }
            // Boxed, here and below: a start and a reload are large, and would be moved about.
            Box::pin(serve(&loaded.config, (debug, &export), stop, reloads)).await
        });
        export.stop();
        served
    }
}

/// Can others than this machine ask, directly or by a proxy?
fn is_public(config: &Config) -> bool {
    let server = &config.server;
    let named = server.public_url.as_ref().and_then(|url| url::Url::parse(url.as_str()).ok());
    let local = |host: url::Host<&str>| match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    };
    !server.listen.ip().is_loopback() || named.is_some_and(|url| !url.host().is_some_and(local))
}

fn watched(loaded: &Loaded, wanted: bool) -> Option<PathBuf> {
    loaded.file.clone().filter(|_| wanted)
}

async fn serve(
    config: &Config,
    (debug, export): (bool, &Export),
    mut stop: Stop,
    mut reloads: Reloads,
) -> Result<(), ExitCode> {
    let notify = Notify::from_environment();
    let server =
        Server::bind(settings(config)).map_err(|error| failed(format!("{}: {error}", config.server.listen)))?;
    let address = server.local_addr();
    let listening = Some(address);
    let admins = admins(config)?;
    let options = Options { listening, debug, sampler: export.sampler(), ..Options::default() };
    let gateway = tokio::select! {
        gateway = Gateway::start(config, options) => gateway.map_err(failed)?,
        () = stop.asked() => return Ok(()),
    };
    export.watch(&gateway);
    let stopped = CancellationToken::new();
    if let Some(admins) = admins {
        let (gateway, counters, started) = (gateway.clone(), server.counters(), Instant::now());
        tracing::info!(address = %admins.local_addr(), "admin listener");
        let service = Admin { gateway, counters, started }.service();
        tokio::spawn(admins.serve(Current::new(service), stopped.clone().cancelled_owned()));
    }
    tracing::info!(%address, broker = config.broker.url.redacted(), store = config.store.url.redacted(), "serving");
    notify.ready(&format!("serving at {address}"));

    let mut lost = false;
    let until_stopped = async {
        lost = Box::pin(attend(&gateway, &mut stop, &mut reloads, &notify)).await;
        // Before it is said: whoever reads that may look at once whether we are still ready.
        gateway.drain();
        if !lost {
            tracing::info!("stopping: no new connections, requests under way are answered");
        }
        notify.stopping();
    };
    let served = server.serve(Current::new(gateway.service()), until_stopped).await;
    finish(gateway, served).await?;
    stopped.cancel();
    if lost { Err(ExitCode::FAILURE) } else { Ok(()) }
}

/// Reloads whenever it is asked to, until it is to stop; `true` if that is because the store has failed.
async fn attend(gateway: &Gateway, stop: &mut Stop, reloads: &mut Reloads, notify: &Notify) -> bool {
    loop {
        tokio::select! {
            () = stop.asked() => return false,
            why = gateway.failed() => {
                tracing::error!(%why, "the store has failed: stopping");
                return true;
            }
            () = reloads.asked() => Box::pin(reloads.apply(gateway, notify)).await,
            () = beat(notify) => {
                if timeout(LIVES, gateway.alive()).await.is_ok() {
                    notify.alive();
                }
            }
        }
    }
}

/// Resolves when systemd is to be told that we are well.
async fn beat(notify: &Notify) {
    match notify.beat() {
        Some(beat) => sleep(beat).await,
        None => std::future::pending().await,
    }
}

async fn finish(gateway: Gateway, served: io::Result<Summary>) -> Result<(), ExitCode> {
    gateway.stop().await;
    let summary = served.map_err(failed)?;
    tracing::info!(completed = summary.completed, aborted = summary.aborted, "stopped");
    Ok(())
}

/// The admin listener, if there is to be one.
fn admins(config: &Config) -> Result<Option<Server>, ExitCode> {
    let Some(listen) = config.server.admin_listen else { return Ok(None) };
    let settings = Settings {
        listen,
        max_concurrency: ADMINS,
        request_timeout: ADMIN_TIMEOUT,
        shutdown_grace: Duration::ZERO,
        trusted_proxies: Vec::new(),
        threads: 1,
        ..Settings::default()
    };
    Server::bind(settings).map(Some).map_err(|error| failed(format!("server.admin_listen: {listen}: {error}")))
}

/// The server's part of a checked configuration.
pub(super) fn settings(config: &Config) -> Settings {
    let server = &config.server;
    Settings {
        listen: server.listen,
        public_url: server.public_url.as_ref().map(|url| url.as_str().to_owned()),
        trusted_proxies: server.trusted_proxies.clone(),
        max_body: largest_body(config),
        header_timeout: server.header_timeout,
        request_timeout: server.request_timeout,
        drain_delay: server.drain_delay,
        shutdown_grace: server.shutdown_grace,
        max_concurrency: server.max_concurrency as usize,
        threads: 0,
    }
}

/// The largest of a submission, of an upload, and of a workflow's form with its files: each is held to its own limit by
/// the layer that reads it.
fn largest_body(config: &Config) -> u64 {
    let files = &config.files;
    let upload = match config.services.contains_key(gateway_contract::Service::WORKFLOW) {
        true => files.max_total.bytes().saturating_add(config.server.max_body.bytes()),
        false => files.max_file.bytes(),
    };
    config.server.max_body.bytes().max(upload.saturating_add(gateway_files::MAX_FORM))
}

/// SIGTERM (an operator) or SIGINT (Ctrl-C).
pub(super) struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
