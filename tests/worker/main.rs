//! `service-gateway worker` against a real RabbitMQ: for our gateway, and for real Celery clients. `tests/run` starts the
//! one, installs the other, and runs this.
//!
//! | file | what |
//! |---|---|
//! | `place.rs` | a gateway, its queue and our workers, for one test |
//! | `runs.rs` | progress, results, failures, retries, waiting |
//! | `cancels.rs` | cancelled while it waits or runs, or while no worker is there |
//! | `losses.rs` | workers that are killed, brokers that are away |
//! | `stops.rs` | SIGTERM, once and twice; wrong usage |
//! | `around.rs` | annotations, files, callbacks: with our worker and with the embedded broker |
//! | `celery.rs` | real Celery clients: tasks of both protocols, inspect and control |
//! | `flower.rs` | Flower: the worker, its tasks, and a task stopped from its page |
//! | `handler.rs` | a handler in Rust instead of a program |
//! | `permissions.rs` | a worker with the rights that the README gives it |
//! | `health.rs` | a command that is not there |
//! | `workflow.rs` | chains, by a worker of ours |
//! | `scaffold.rs` | `new-worker`: what it writes is really run |
//! | `python.rs` | the Python package, in a real Celery worker |
//! | `store.rs` | a storage service, annotation store and callback sink |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/flower.rs"]
mod shown;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod workers;

mod around;
mod cancels;
mod celery;
mod flower;
mod handler;
mod health;
mod losses;
mod permissions;
mod place;
mod python;
mod runs;
mod scaffold;
mod stops;
mod store;
mod workflow;
