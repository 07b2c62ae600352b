//! The gateway under test, and how to ask it.

use base64::Engine;
use bytes::Bytes;
use gateway_auth::{Algorithm, Grant, sign};
use gateway_contract::BoxError;
use gateway_worker::GuardCommand;
use http::{Request, Response, StatusCode, header, request};
use http_body_util::BodyExt;
use serde_json::Value;
use service_gateway::{Gateway, Options, config};
use std::{
    path::Path,
    time::{Duration, SystemTime},
};

const KEY: [u8; 64] = [7; 64];
/// Longer than anything here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// A task that does not exist.
pub(crate) const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

/// Two services: `echo` gives back what it was asked, `quiet` needs a document and has no worker.
const CONFIGURATION: &str = r#"
[broker]
url = "embedded"
[store]
url = "sqlite::memory:"
[services.echo]
requires_document = false
[services.echo.worker]
command = ["cat", "{params}"]
[services.quiet]
"#;

/// A running gateway. The guard of its programs is the program itself: a test binary cannot be one.
pub(crate) async fn gateway() -> Gateway {
    let guard = GuardCommand::program(env!("CARGO_BIN_EXE_service-gateway")).with_arguments(["guard"]);
    Gateway::start(&configured(""), Options { guard, ..Options::default() }).await.unwrap()
}

/// Its configuration, and this.
pub(crate) fn configured(more: &str) -> config::Config {
    let key = base64::engine::general_purpose::STANDARD.encode(KEY);
    let text = format!("{CONFIGURATION}{more}");
    let file = Some((Path::new("mount.toml"), text.as_str()));
    config::parse(file, [], &[("auth.key", &key), ("server.max_body", "1 KiB")]).unwrap().config
}

/// `Authorization` of somebody who may do everything.
pub(crate) fn token() -> String {
    let grant = Grant::new("service-gateway", SystemTime::now() + Duration::from_secs(600)).with_subject("ann");
    format!("Bearer {}", sign(&grant, &KEY, Algorithm::HS512).unwrap())
}

/// A request without a body.
pub(crate) fn ask<B: Default>(method: &str, uri: &str) -> Request<B> {
    builder(method, uri).body(B::default()).unwrap()
}

/// The same with a token.
pub(crate) fn ask_with_token<B: Default>(method: &str, uri: &str) -> Request<B> {
    builder(method, uri).header(header::AUTHORIZATION, token()).body(B::default()).unwrap()
}

/// A request in the making, by a program: it wants JSON wherever a browser would get HTML.
pub(crate) fn builder(method: &str, uri: &str) -> request::Builder {
    Request::builder().method(method).uri(uri).header(header::ACCEPT, "application/json")
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The code of the error envelope; this must be one.
    pub(crate) fn code(&self) -> u64 {
        self.json()["vesta"]["code"].as_u64().expect(&self.text)
    }

    /// Status and code of a refusal of ours.
    pub(crate) fn refusal(&self) -> (u16, u64) {
        (self.status.as_u16(), self.code())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }
}

pub(crate) async fn read<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into).unwrap().to_bytes();
    Answer { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

/// Submits a task to `echo` and asks until it has ended; `send` carries method and path, with a token, to the gateway.
pub(crate) async fn do_a_task(prefix: &str, send: impl AsyncFn(&str, String) -> Answer) {
    let accepted = send("POST", format!("{prefix}/echo/process?colour=red")).await;
    assert_eq!(accepted.status, StatusCode::OK, "{accepted:?}");
    let uuid = accepted.json()["uuid"].as_str().unwrap().to_owned();
    let ended = async {
        loop {
            let status = send("GET", format!("{prefix}/echo/status?uuid={uuid}")).await.json();
            match status["status"].as_str() {
                Some("SUCCESS") => return status,
                Some("PENDING" | "RECEIVED" | "STARTED") => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => panic!("{status}"),
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, ended).await.expect("the task did not end");
    assert_eq!(status["uuid"], uuid);
    assert_eq!(status["result"]["service"]["misc"]["colour"], "red", "{status}");
}
