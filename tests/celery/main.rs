//! The whole program against a real RabbitMQ and real Celery workers. `tests/run` starts the one, installs the other,
//! and runs this.
//!
//! | file | what |
//! |---|---|
//! | `corner.rs` | a gateway, its queue and its workers, for one test |
//! | `reports.rs` | what workers tell, and how clients see it: argument, progress, results, exceptions |
//! | `cancels.rs` | cancelled while it waits, runs, is done; workers that were away then |
//! | `garbage.rs` | results that no worker should send |
//! | `restarts.rs` | the gateway ends in the middle of it all, by force or in order |
//! | `outages.rs` | the broker is away, restarts, is killed |
//! | `pressure.rs` | a full outbox, a broker short of memory, one that loses patience |
//! | `times.rs` | what is over its time, with either store |
//! | `queues.rs` | queues that are missing or otherwise than configured; how many workers there are |

#![allow(clippy::unwrap_used)]

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

mod cancels;
mod corner;
mod garbage;
mod outages;
mod pressure;
mod queues;
mod reports;
mod restarts;
mod times;
