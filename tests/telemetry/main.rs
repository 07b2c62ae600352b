//! What an operator sees of the whole program: traces at a collector, metrics, logs. `tests/run` starts RabbitMQ, installs
//! Celery and what reads metrics and rules, and runs this.
//!
//! | file | what |
//! |---|---|
//! | `collector.rs` | an OTLP collector, over HTTP and gRPC, that keeps what it gets |
//! | `tls.rs` | a collector behind TLS |
//! | `traces.rs` | one trace from the client's request to the callback, with the embedded broker |
//! | `across.rs` | the same over RabbitMQ: our worker, and a real Celery worker with OpenTelemetry's own package |
//! | `away.rs` | a collector that is not there |
//! | `metrics.rs` | `/metrics` by Prometheus' own parser, OTLP, the shipped dashboard and alert rules |
//! | `logs.rs` | one line an event, no secrets, whatever clients and workers send |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../worker/place.rs"]
#[allow(dead_code)] // shared with other test programs
mod place;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../worker/store.rs"]
#[allow(dead_code)] // shared with other test programs
mod store;
#[path = "../support/mod.rs"]
mod support;

mod across;
mod away;
mod collector;
mod logs;
mod metrics;
mod tls;
mod traces;
