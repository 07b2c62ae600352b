//! The gateway in front of an axum application.
//!
//! ```text
//! cargo run --example axum
//! curl http://127.0.0.1:3000/hello
//! curl -d doc_url=http://127.0.0.1:3000/hello http://127.0.0.1:3000/digest/annotate
//! curl 'http://127.0.0.1:3000/digest/status?uuid=…'
//! ```

use axum::{Router, routing::get};
use service_gateway::{Gateway, Options, config};
use std::process::ExitCode;

/// What `gateway.toml` would hold; `config::load` reads a file instead.
const CONFIGURATION: &str = r#"
[auth]
mode = "none"                           # whoever reaches this machine's port 3000 may submit

[store]
url = "sqlite::memory:"                 # tasks are gone with the process

[documents]
allow_hosts = ["127.0.0.1"]             # the application's own pages may be documents

[services.digest.worker]
command = ["sha256sum", "{document}"]
"#;

fn main() -> ExitCode {
    // First of all: the process between a worker and its program is this very program, executed again.
    if let Some(code) = service_gateway::guard_main() {
        return code;
    }
    let done = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| runtime.block_on(serve()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let loaded = config::parse(Some(("axum.rs".as_ref(), CONFIGURATION)), config::environment(), &[])?;
    let gateway = Gateway::start(&loaded.config, Options::default()).await?;

    // What is not the gateway's reaches the router as if nothing stood before it.
    let application = Router::new().route("/hello", get(|| async { "hello" })).layer(gateway.layer());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, application).with_graceful_shutdown(until_stopped(gateway.clone())).await?;
    // Hands what is being run back to the store.
    gateway.stop().await;
    Ok(())
}

/// Until Ctrl-C, or until the gateway's store has failed. A host may also go on without the gateway.
async fn until_stopped(gateway: Gateway) {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        why = gateway.failed() => tracing::error!("the gateway's store has failed: {why}"),
    }
}
