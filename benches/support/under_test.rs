//! A gateway in this process, and what to ask of it.

#![allow(dead_code)] // not all used by each bench

use base64::Engine;
use gateway_auth::{Algorithm, Grant, sign};
use gateway_server::{Current, Server, Settings};
use service_gateway::{Gateway, Options, config};
use std::{
    error::Error,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

/// A gateway with our own server in front, as `service-gateway serve` runs it; with a service `stub`.
pub(crate) struct UnderTest {
    runtime: tokio::runtime::Runtime,
    gateway: Gateway,
    pub(crate) address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<gateway_server::Summary>>,
    /// A submission: a token, and a form.
    pub(crate) annotate: Vec<u8>,
}

impl UnderTest {
    /// With this configuration and these keys above it.
    pub(crate) fn start(toml: &str, more: &[(&str, &str)]) -> Fallible<Self> {
        let secret = [7; 64];
        let key = base64::engine::general_purpose::STANDARD.encode(secret);
        let overrides = [&[("auth.key", key.as_str())], more].concat();
        let loaded = config::parse(Some((Path::new("bench.toml"), toml)), [], &overrides)?;

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let gateway = runtime.block_on(Gateway::start(&loaded.config, Options::default()))?;
        let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() })?;
        let address = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = runtime.spawn(server.serve(Current::new(gateway.service()), async { drop(stopped.await) }));

        let grant = Grant::new("service-gateway", SystemTime::now() + Duration::from_secs(3600)).with_subject("bench");
        let token = sign(&grant, &secret, Algorithm::HS512)?;
        let form = "doc_url=http%3A%2F%2Fexample.org%2Fa.wav&language=fr";
        let annotate = format!(
            "POST /stub/annotate HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .into_bytes();
        Ok(Self { runtime, gateway, address, stop, serving, annotate })
    }

    /// Asks for the status of a task that is submitted for it.
    pub(crate) fn status(&self) -> Fallible<Vec<u8>> {
        let accepted: serde_json::Value = serde_json::from_slice(&self.ask(&self.annotate)?)?;
        let uuid = accepted["uuid"].as_str().ok_or_else(|| accepted.to_string())?;
        let address = self.address;
        Ok(format!("GET /stub/status?uuid={uuid} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n").into_bytes())
    }

    /// One request, the body of its answer.
    pub(crate) fn ask(&self, request: &[u8]) -> Fallible<Vec<u8>> {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let line = request.windows(2).position(|two| two == b"\r\n").ok_or("no request")? + 2;
        stream.write_all(&[&request[..line], b"Connection: close\r\n", &request[line..]].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no answer")?;
        Ok(answer.split_off(head + 4))
    }

    /// Tasks that the gateway says it accepted.
    pub(crate) fn accepted(&self) -> Fallible<u64> {
        let stats = self.ask(b"GET /stub/stats HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")?;
        let stats: serde_json::Value = serde_json::from_slice(&stats)?;
        Ok(stats["invocations"].as_u64().ok_or_else(|| stats.to_string())?)
    }

    /// Stops both in order.
    pub(crate) fn stop(self) -> Fallible<()> {
        drop(self.stop);
        self.runtime.block_on(self.serving)??;
        self.runtime.block_on(self.gateway.stop());
        Ok(())
    }
}
