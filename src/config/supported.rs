//! What the contract names and this version does not do yet. Nothing here is accepted without a word.
//!
//! **This list only shrinks**: whoever implements an entry deletes its lines, and the rest of the crate stays as it is.

use crate::Config;

/// What happens to a configuration that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A fault: without it the gateway would do something else than was asked.
    Refused,
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
pub(crate) const NOT_YET: &[NotYet] = &[NotYet {
    what: "OTLP export is not available in this version: leave it empty",
    answer: Answer::Refused,
    asked: |config| when(config.telemetry.otlp_endpoint.is_some(), "telemetry.otlp_endpoint"),
}];

/// `key`, if it asks.
fn when(asks: bool, key: &str) -> Vec<String> {
    if asks { vec![key.to_owned()] } else { Vec::new() }
}
