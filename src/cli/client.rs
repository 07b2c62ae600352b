//! `service-gateway submit|status|cancel|services|needs`: a client for people, and with `--json` for scripts.

mod follow;
mod http;
mod needs;

pub(super) use follow::{follow, pretty};
pub(super) use http::Http;
pub(super) use needs::Needs;

use super::{exit, failed, print};
use serde_json::Value;
use std::process::ExitCode;

/// Which gateway, and as whom.
#[derive(clap::Args)]
struct Where {
    /// The gateway
    #[arg(long, value_name = "URL", env = "SERVICE_GATEWAY_URL", default_value = "http://127.0.0.1:5000")]
    url: String,
    /// A token, if the gateway asks for one
    #[arg(long, value_name = "JWT", env = "SERVICE_GATEWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the gateway's answer as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Where {
    /// Asks on a small runtime of its own.
    fn ask<T>(&self, question: impl AsyncFnOnce(Http) -> Result<T, String>) -> Result<T, ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async { question(Http::new(&self.url, self.token.clone())?).await }).map_err(failed)
    }

    fn show(&self, answer: &Value) -> Result<(), ExitCode> {
        print(&if self.json { answer.to_string() } else { pretty(answer) })
    }
}

/// Submit a document and follow it to its result
#[derive(clap::Args)]
pub(super) struct Submit {
    #[command(flatten)]
    at: Where,
    /// The service
    service: String,
    /// The document's URL
    document: Option<String>,
    /// Further arguments
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, String)>,
    /// Print the uuid and do not wait
    #[arg(long)]
    detach: bool,
}

fn argument(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Submit {
    pub(super) fn run(self) -> ExitCode {
        exit(self.submit())
    }

    fn submit(self) -> Result<(), ExitCode> {
        let mut form = self.arguments;
        form.extend(self.document.map(|url| ("doc_url".to_owned(), url)));
        let at = &self.at;
        if self.detach {
            let uuid = at.ask(async |http| http.submit(&self.service, &form).await)?;
            return print(&if at.json { serde_json::json!({ "uuid": uuid }).to_string() } else { uuid });
        }
        let end = at.ask(async |http| {
            let uuid = http.submit(&self.service, &form).await?;
            follow(&http, &self.service, &uuid, !at.json).await
        })?;
        at.show(&end)?;
        if end["status"] == "SUCCESS" { Ok(()) } else { Err(ExitCode::FAILURE) }
    }
}

/// Ask what became of a task
#[derive(clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    at: Where,
    /// The service
    service: String,
    /// The task
    uuid: String,
    /// Attempts and times, too
    #[arg(long)]
    detail: bool,
}

impl Status {
    pub(super) fn run(self) -> ExitCode {
        let detail = if self.detail { "&detail=1" } else { "" };
        let path = format!("{}/status?uuid={}{detail}", http::segment(&self.service), http::segment(&self.uuid));
        exit(self.at.ask(async |http| http.get(&path).await).and_then(|answer| self.at.show(&answer)))
    }
}

/// Cancel a task
#[derive(clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    at: Where,
    /// The service
    service: String,
    /// The task
    uuid: String,
}

impl Cancel {
    pub(super) fn run(self) -> ExitCode {
        let path = format!("{}/cancel?uuid={}", http::segment(&self.service), http::segment(&self.uuid));
        exit(self.at.ask(async |http| http.post(&path, &[]).await).and_then(|answer| self.at.show(&answer)))
    }
}

/// List the services of a gateway
#[derive(clap::Args)]
pub(super) struct Services {
    #[command(flatten)]
    at: Where,
}

impl Services {
    pub(super) fn run(self) -> ExitCode {
        exit(self.list())
    }

    fn list(self) -> Result<(), ExitCode> {
        let info = self.at.ask(async |http| http.get("info").await)?;
        if self.at.json {
            return self.at.show(&info);
        }
        let Some(services) = info["services"].as_object() else { return Err(failed("no services in the answer")) };
        let line = |(name, about): (&String, &Value)| {
            let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
            format!("{name:<24} {:<10} {}\n", text("version"), text("synopsis"))
        };
        print(&services.iter().map(line).collect::<String>())
    }
}
