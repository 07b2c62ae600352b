//! The program as an operator runs it: what changes while it runs, and what it tells those who watch over it.
//!
//! | file | what is held |
//! |---|---|
//! | `admin.rs` | probes, the admin listener, the time before the port closes |
//! | `debug.rs` | development mode, and that nobody is in it by accident |
//! | `notify.rs` | what systemd is told, and the unit |
//! | `reload.rs` | SIGHUP: services come, change and go; faults change nothing |
//! | `keys.rs` | tokens verified with the public keys that an issuer publishes |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/signer.rs"]
#[allow(unreachable_pub)] // shared with `layers/auth/tests`
mod signer;

mod admin;
mod debug;
mod keys;
mod notify;
mod reload;

/// Every request is admitted.
const OPEN: &str = "[auth]\nmode = \"none\"\n";

/// A service that needs no document and runs a shell script.
fn shell(name: &str, script: &str) -> String {
    assert!(!script.contains("'''"), "the script stands in a TOML literal");
    format!(
        "[services.{name}]\nrequires_document = false\n[services.{name}.worker]\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    )
}
