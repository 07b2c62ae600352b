//! How many workers are needed, and an engine that sees to it: over a real RabbitMQ, with real workers. `tests/run` starts
//! what this needs.
//!
//! | file | what |
//! |---|---|
//! | `needs.rs` | `/needs`: what waits is counted, and a broker that cannot be asked is not an empty one |
//! | `burst.rs` | ten times the load, workers that are started, back to the floor, nothing lost |
//! | `daemon.rs` | `service-gateway scale`: restarts, workers that never report, two daemons, commands |
//! | `keda.rs` | the shipped ScaledObject, against KEDA's schema and our answer |
//! | `tools.rs` | `simulate`, `needs --plan` |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/postgres.rs"]
#[allow(dead_code)] // shared with other test programs
mod postgres;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod burst;
mod daemon;
mod keda;
mod needs;
mod place;
mod tools;
