//! The gateway in front of an application made of nothing but hyper.
//!
//! ```text
//! cargo run --example hyper
//! curl http://127.0.0.1:3000/anything
//! curl -d doc_url=http://127.0.0.1:3000/anything http://127.0.0.1:3000/digest/annotate
//! curl 'http://127.0.0.1:3000/digest/status?uuid=…'
//! ```

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use service_gateway::{Gateway, Options, config};
use std::{convert::Infallible, process::ExitCode};
use tokio::net::TcpListener;
use tower::service_fn;
use tower_layer::Layer;

const CONFIGURATION: &str = r#"
[auth]
mode = "none"

[store]
url = "sqlite::memory:"

[documents]
allow_hosts = ["127.0.0.1"]

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

/// The application: any tower service will do, whatever its bodies and errors.
async fn application(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let loaded = config::parse(Some(("hyper.rs".as_ref(), CONFIGURATION)), config::environment(), &[])?;
    let gateway = Gateway::start(&loaded.config, Options::default()).await?;
    let stack = gateway.layer().layer(service_fn(application));

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => break,
        };
        // One clone a connection; a request clones nothing unless it submits.
        let service = TowerToHyperService::new(stack.clone());
        tokio::spawn(async move {
            let mut builder = Builder::new(TokioExecutor::new());
            // Without a timer hyper waits for a request's head for ever.
            builder.http1().timer(TokioTimer::new());
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    // A host of more than twenty lines ends its connections in order, too: `hyper_util::server::graceful`.
    gateway.stop().await;
    Ok(())
}
