//! What the tests of the whole program share: a gateway as a process, an HTTP client, documents to work on.
//!
//! A test binary includes it with `#[path = "../support/mod.rs"] mod support;`. Everything here panics when it fails,
//! and every wait has a deadline ([`PATIENCE`] unless said otherwise).
//!
//! | file | what |
//! |---|---|
//! | `gateway.rs` | [`Gateway`]: `service-gateway serve` in a directory of its own; [`cli`]: its other commands |
//! | `http.rs` | [`get`], [`post`], [`request`]: a small blocking client |
//! | `tasks.rs` | submit a task, follow it to its end |
//! | `documents.rs` | [`Documents`]: a server of documents on the loopback |
//! | `processes.rs` | which processes carry a mark, and signals for them |
//! | `port.rs` | [`Port`]: one that nobody else is given |

#![allow(dead_code, unused_imports, clippy::unwrap_used)] // helpers of tests, not all used by each

mod documents;
mod gateway;
mod http;
mod port;
mod processes;
mod tasks;

pub(crate) use documents::Documents;
pub(crate) use gateway::{AUTH, Gateway, KEY, Output, cli, cli_with};
pub(crate) use http::{Answer, Request, get, post, raw, request};
pub(crate) use port::Port;
pub(crate) use processes::{alive, processes_with, signal};
pub(crate) use tasks::{cancel, end, ends, is_end, is_state, status, submit};

use std::time::{Duration, Instant};

/// Longer than anything takes that a test waits for, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks every few milliseconds until `found` gives something; panics with `what` after `patience`.
pub(crate) fn until<T>(patience: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        pause(10);
    }
}

/// Waits until `condition` holds, for at most [`PATIENCE`].
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    until(PATIENCE, what, || condition().then_some(()));
}

/// Lets some milliseconds pass on the test's own thread: the pace of something that is repeated, never a wait for
/// something to happen (that is [`until`]).
#[allow(clippy::disallowed_methods)] // no runtime runs on this thread
pub(crate) fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
