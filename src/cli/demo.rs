//! `service-gateway demo`: everything in one process, and one real task to look at.

mod analyse;
mod document;

use super::{
    client::{Http, follow, pretty},
    exit,
    export::Export,
    failed, logs, print, serve, token,
};
use crate::{Gateway, Options};
use gateway_config::{Config, Telemetry};
use gateway_server::{Current, Server};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tower_layer::Layer;

const HOUR: Duration = Duration::from_secs(3600);

/// Serve, do one real task, and show it: everything in one process
///
/// Takes a recording that comes with the program, hands it to a worker that measures its loudness and finds where
/// somebody speaks, shows progress and result, and goes on serving until Ctrl-C. Needs no server and leaves no file.
#[derive(clap::Args)]
pub(super) struct Demo {
    /// Where to listen [default: 127.0.0.1:5000, or any free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Stop after the task instead of serving on
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        exit(self.demo())
    }

    fn demo(self) -> Result<(), ExitCode> {
        let telemetry = Telemetry { log: "warn".to_owned(), ..Telemetry::default() };
        let export = logs::start(&telemetry, "service-gateway", false).map_err(failed)?;
        let directory = Scratch::new().map_err(failed)?;
        let mut config = configuration(&directory.0)?;
        let server = self.bind(&mut config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let served = runtime.block_on(self.serve(&config, server, &export));
        export.stop();
        served
    }

    fn bind(&self, config: &mut Config) -> Result<Server, ExitCode> {
        let mut bind = |listen: SocketAddr| {
            config.server.listen = listen;
            Server::bind(serve::settings(config))
        };
        let server = match self.listen {
            Some(listen) => bind(listen),
            None => bind((Ipv4Addr::LOCALHOST, 5000).into()).or_else(|_| bind((Ipv4Addr::LOCALHOST, 0).into())),
        };
        server.map_err(failed)
    }

    async fn serve(&self, config: &Config, server: Server, export: &Export) -> Result<(), ExitCode> {
        let mut stop = serve::Stop::new().map_err(failed)?;
        let options = Options { sampler: export.sampler(), ..Options::default() };
        let gateway = Gateway::start(config, options).await.map_err(failed)?;
        export.watch(&gateway);
        // The gateway in front of an application of its own: the one that serves the demo's document.
        let stack = gateway.layer().layer(document::Document);
        let base = format!("http://{}", server.local_addr());
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(Current::new(stack), async { drop(stopped.await) }));

        let shown = tokio::select! {
            shown = show(config, &base) => shown,
            () = stop.asked() => Ok(()),
        };
        if shown.is_ok() && !self.once {
            print("\nServing until Ctrl-C.")?;
            stop.asked().await;
        }
        drop(stopping);
        gateway.drain();
        let served = serving.await.map_err(failed)?;
        gateway.stop().await;
        served.map_err(failed)?;
        shown
    }
}

/// One task, from the outside: over HTTP, as any client does it.
async fn show(config: &Config, base: &str) -> Result<(), ExitCode> {
    let token = token::signed(config, "demo", HOUR, &[]).map_err(failed)?;
    let document = format!("{base}{}", document::PATH);
    print(&format!(
        "Service Gateway at {base}, embedded broker, SQLite store: all in this process.\n\
         One task: {document} to the service \"speech\" (it works slowly, so that there is something to see).\n"
    ))?;
    let http = Http::new(base, Some(token.clone())).map_err(failed)?;
    let form = [("doc_url".to_owned(), document.clone())];
    let uuid = http.submit("speech", &form).await.map_err(failed)?;
    print(&format!("submitted: {uuid}"))?;
    let end = follow(&http, "speech", &uuid, true).await.map_err(failed)?;
    print(&format!("{}\n", pretty(&end)))?;
    print(&format!(
        "The same with curl (the token is valid for an hour):\n\n  \
         TOKEN={token}\n  \
         curl -H \"Authorization: Bearer $TOKEN\" --data-urlencode doc_url={document} {base}/speech/annotate\n  \
         curl '{base}/speech/status?uuid={uuid}'\n  \
         curl -H 'Accept: application/json' {base}/speech/info\n"
    ))?;
    if end["status"] == "SUCCESS" { Ok(()) } else { Err(failed("the task did not succeed")) }
}

/// As a user writes it, with a key made for this run.
fn configuration(directory: &Path) -> Result<Config, ExitCode> {
    use base64::Engine;
    let mut key = [0_u8; 64];
    rand::fill(&mut key);
    let key = base64::engine::general_purpose::STANDARD.encode(key);
    let text = include_str!("demo/gateway.toml");
    let program = std::env::current_exe().map_err(failed)?.to_string_lossy().into_owned();
    let command = serde_json::json!([program, "analyse", "--slowly", "{document}"]).to_string();
    let database = format!("sqlite:{}", directory.join("gateway.db").display());
    let files = directory.join("files").display().to_string();
    let overrides = [
        ("store.url", database.as_str()),
        ("auth.key", &key),
        ("files.directory", &files),
        ("services.speech.worker.command", &command),
    ];
    let loaded = gateway_config::parse(Some((Path::new("demo/gateway.toml"), text)), [], &overrides);
    loaded.map(|loaded| loaded.config).map_err(failed)
}

/// A directory that goes with us.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("service-gateway-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the system's temporary directory is removed by the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The demo's worker: measure a WAV file
#[derive(clap::Args)]
pub(super) struct Analyse {
    /// The file: 16 kHz, 16 bit
    file: PathBuf,
    /// Take a few seconds for it
    #[arg(long)]
    slowly: bool,
}

impl Analyse {
    pub(super) fn run(self) -> ExitCode {
        let progress = |done: u8| {
            super::say(&format!("progress: {done}"));
            if self.slowly {
                // A program of one thread: nothing else waits.
                std::thread::park_timeout(Duration::from_millis(30));
            }
        };
        match analyse::analyse(&self.file, progress) {
            Ok(result) => exit(print(&result.to_string())),
            Err(error) => {
                super::say(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }
}
