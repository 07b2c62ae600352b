//! The program as an operator runs it: what changes while it runs, and what it tells those who watch over it.
//!
//! | file | what is held |
//! |---|---|
//! | `keys.rs` | tokens verified with the public keys that an issuer publishes |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/signer.rs"]
#[allow(unreachable_pub)] // shared with `layers/auth/tests`
mod signer;

mod keys;

/// A service that needs no document and runs a shell script.
fn shell(name: &str, script: &str) -> String {
    assert!(!script.contains("'''"), "the script stands in a TOML literal");
    format!(
        "[services.{name}]\nrequires_document = false\n[services.{name}.worker]\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    )
}
