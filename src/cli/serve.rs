//! `service-gateway serve`

use super::{ConfigFile, exit, failed, logs};
use crate::{Gateway, Options};
use gateway_config::{Config, Mode};
use gateway_server::{Current, Server, Settings};
use std::{net::SocketAddr, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Run the gateway
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// Where to listen, instead of server.listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        exit(self.serve())
    }

    fn serve(self) -> Result<(), ExitCode> {
        let listen = self.listen.map(|listen| listen.to_string());
        let overrides: Vec<_> = listen.iter().map(|listen| ("server.listen", listen.as_str())).collect();
        let loaded = self.config.load(&overrides)?;
        logs::start(&loaded.config.telemetry).map_err(failed)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        if loaded.config.auth.mode == Mode::None {
            tracing::warn!("auth.mode is \"none\": every request is admitted");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(serve(&loaded.config))
    }
}

async fn serve(config: &Config) -> Result<(), ExitCode> {
    // Before anything is started: a signal that comes early must stop us in order, too.
    let mut stop = Stop::new().map_err(failed)?;
    let server =
        Server::bind(settings(config)).map_err(|error| failed(format!("{}: {error}", config.server.listen)))?;
    let address = server.local_addr();
    let listening = Some(address);
    let gateway = tokio::select! {
        gateway = Gateway::start(config, Options { listening, ..Options::default() }) => gateway.map_err(failed)?,
        () = stop.asked() => return Ok(()),
    };
    tracing::info!(%address, broker = config.broker.url.redacted(), store = config.store.url.redacted(), "serving");

    let mut lost = false;
    let until_stopped = async {
        tokio::select! {
            () = stop.asked() => tracing::info!("stopping: no new connections, requests under way are answered"),
            why = gateway.failed() => {
                tracing::error!(%why, "the store has failed: stopping");
                lost = true;
            }
        }
        gateway.drain();
    };
    let served = server.serve(Current::new(gateway.service()), until_stopped).await;
    gateway.stop().await;
    let summary = served.map_err(failed)?;
    tracing::info!(completed = summary.completed, aborted = summary.aborted, "stopped");
    if lost { Err(ExitCode::FAILURE) } else { Ok(()) }
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
        shutdown_grace: server.shutdown_grace,
        max_concurrency: server.max_concurrency as usize,
        threads: 0,
    }
}

/// The larger of a submission and of an upload: each is held to its own limit by the layer that reads it.
fn largest_body(config: &Config) -> u64 {
    let upload = config.files.max_file.bytes().saturating_add(gateway_files::MAX_FORM);
    config.server.max_body.bytes().max(upload)
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
