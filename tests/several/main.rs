//! Several gateways on one PostgreSQL and one RabbitMQ, with a Celery worker: the whole program, from the outside.
//!
//! | file | what is held |
//! |---|---|
//! | `town.rs` | a database, a queue and a worker, and gateways that share them |
//! | `together.rs` | accepted at one gateway, followed and cancelled at another |
//! | `crash.rs` | a gateway that is killed with tasks unsent: another sends them |
//! | `rolling.rs` | one after the other is stopped and started while clients submit |
//! | `paused.rs` | a gateway that stands still for longer than its lease |
//! | `outage.rs` | PostgreSQL is stopped and comes back |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/postgres.rs"]
#[allow(dead_code)] // shared with other test programs
mod postgres;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod crash;
mod outage;
mod paused;
mod rolling;
mod together;
mod town;
