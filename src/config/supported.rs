//! What the contract names and this version does not do yet. Nothing here is accepted without a word.
//!
//! **This list only shrinks**: whoever implements an entry deletes its lines, and the rest of the crate stays as it is.

use crate::{Config, Scaling, Service, ServiceScaling, schema::join};

/// What happens to a configuration that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A fault: without it the gateway would do something else than was asked.
    Refused,
    /// A warning: the setting has no effect.
    Ignored,
}

/// One thing that is not done yet.
pub(crate) struct NotYet {
    /// What is missing, and what to use instead.
    pub(crate) what: &'static str,
    /// What happens to a configuration that asks for it.
    pub(crate) answer: Answer,
    /// The key paths that ask for it; none = nobody asks.
    pub(crate) asked: fn(&Config) -> Vec<String>,
}

/// The list.
pub(crate) const NOT_YET: &[NotYet] = &[
    NotYet {
        what: "OTLP export is not available in this version: leave it empty",
        answer: Answer::Refused,
        asked: |config| when(config.telemetry.otlp_endpoint.is_some(), "telemetry.otlp_endpoint"),
    },
    NotYet {
        what: "the workflow service is not available in this version",
        answer: Answer::Refused,
        asked: |config| when(config.services.contains_key("simple_workflow"), "services.simple_workflow"),
    },
    NotYet {
        what: "the need for workers is not computed in this version: the setting has no effect",
        answer: Answer::Ignored,
        asked: |config| {
            let mut keys = when(config.scaling != Scaling::default(), "scaling");
            keys.extend(services(config, "scaling", |service| service.scaling != ServiceScaling::default()));
            keys
        },
    },
];

/// `key`, if it asks.
fn when(asks: bool, key: &str) -> Vec<String> {
    if asks { vec![key.to_owned()] } else { Vec::new() }
}

/// The paths of `key` in the services that ask.
fn services(config: &Config, key: &str, asks: fn(&Service) -> bool) -> Vec<String> {
    let asking = config.services.iter().filter(|(_, service)| asks(service));
    asking.map(|(name, _)| join(&join("services", name), key)).collect()
}
