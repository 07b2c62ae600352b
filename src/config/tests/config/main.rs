//! The configuration from outside: what is read, what is refused, and in which words.
//!
//! | module | holds |
//! |---|---|
//! | `shipped` | `config/gateway.toml` to the code |
//! | `syntax` | files, unknown keys, wrong types: every fault at once |
//! | `rules` | each rule between and about values |
//! | `environment` | variables of each kind, overrides |
//! | `secrets` | a canary that must not be seen |
//! | `fuzz` | nothing makes it panic |

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy does not count as tests")]

mod environment;
mod fuzz;
mod rules;
mod secrets;
mod shipped;
mod syntax;

use gateway_config::{Faults, Loaded, parse};
use std::path::Path;

/// A key of 64 bytes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";

/// Reads `text` as gateway.toml.
fn read(text: &str) -> Result<Loaded, Faults> {
    parse(Some((Path::new("gateway.toml"), text)), [], &[])
}

/// Reads `text` with these variables.
fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    parse(Some((Path::new("gateway.toml"), text)), variables, &[])
}

/// The faults of a text that nobody is asked a token for, one a line.
fn faults(text: &str) -> String {
    read(&format!("auth.mode = \"none\"\n{text}")).map_or_else(|faults| faults.to_string(), |_| "no fault".to_owned())
}

/// The warnings of such a text, one a line.
fn warnings(text: &str) -> String {
    read(&format!("auth.mode = \"none\"\n{text}")).unwrap().warnings.join("\n")
}
