//! What is shipped beside the program: it is made, installed and checked as far as a machine without containers can.
//!
//! | file | what |
//! |---|---|
//! | `commands.rs` | completions and manual pages, from the command line's own definition |
//! | `containers.rs` | the Dockerfile's steps as plain commands, the compose file, what containers are given |
//! | `debian.rs` | the Debian package, installed and purged in a throwaway copy of this machine |
//! | `image.py`, `installed.sh`, `throwaway.sh` | what they run |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod containers;
mod debian;

/// What a command that did well printed.
#[track_caller]
fn said(output: &std::process::Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}
