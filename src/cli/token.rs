//! `service-gateway token`

use super::{ConfigFile, exit, failed, print, say};
use gateway_auth::{Grant, sign};
use gateway_config::{Config, Mode};
use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

/// Print a signed token for testing, and nothing else
#[derive(clap::Args)]
pub(super) struct Token {
    #[command(flatten)]
    config: ConfigFile,
    /// Whom the token names (`sub`)
    #[arg(long, value_name = "S", default_value = "tester")]
    subject: String,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = gateway_config::parse_duration)]
    expires: Duration,
    /// Only for this service; may be repeated [default: all]
    #[arg(long = "service", value_name = "X")]
    services: Vec<String>,
}

impl Token {
    pub(super) fn run(self) -> ExitCode {
        exit(self.token())
    }

    fn token(self) -> Result<(), ExitCode> {
        let loaded = self.config.load(&[])?;
        if let Some(unknown) = self.services.iter().find(|name| !loaded.config.services.contains_key(*name)) {
            say(&format!("service-gateway: no service {unknown:?} is configured"));
            return Err(ExitCode::from(2));
        }
        let token = signed(&loaded.config, &self.subject, self.expires, &self.services).map_err(failed)?;
        print(&token)
    }
}

/// A token that this configuration admits.
pub(super) fn signed(config: &Config, subject: &str, expires: Duration, services: &[String]) -> Result<String, String> {
    let auth = &config.auth;
    if auth.mode == Mode::None {
        return Err("auth.mode is \"none\": every request is admitted, no token is needed".to_owned());
    }
    let key = auth.key_bytes().filter(|key| !key.is_empty());
    let key = key.ok_or("auth.key is not set: tokens are signed by whoever has the private key")?;
    let algorithm = auth.algorithms.iter().find(|algorithm| algorithm.least_key().is_some());
    let algorithm = algorithm.ok_or("auth.algorithms holds no HS* algorithm, and auth.key can sign no other")?;
    let mut grant = Grant::new(auth.audience.as_str(), SystemTime::now() + expires).with_subject(subject);
    if !auth.issuer.is_empty() {
        grant = grant.with_issuer(auth.issuer.as_str());
    }
    if !services.is_empty() {
        grant = grant.with_services(services);
    }
    sign(&grant, &key, crate::setup::algorithm_of(*algorithm)).map_err(|error| error.to_string())
}
