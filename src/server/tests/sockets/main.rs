//! The server over real sockets, byte by byte.
//!
//! | file | holds |
//! |---|---|
//! | `support.rs` | the server under test, its stack, a client that speaks raw bytes |
//! | `refusals.rs` | what is malformed or too large |
//! | `deadlines.rs` | slow heads, slow bodies, slow answers |
//! | `limits.rs` | requests and connections at once |
//! | `requests.rs` | ids, trusted proxies, prefixes, h2c, panics, a replaced stack |
//! | `drain.rs` | the end |

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod deadlines;
mod drain;
mod limits;
mod refusals;
mod requests;
mod support;
