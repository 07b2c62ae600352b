//! Results by other ways than the reply queue, and what becomes of messages that the broker gives up: against a real
//! RabbitMQ, a real Redis, and real workers of Celery 5, 4.3 and 3.1. `tests/run` starts and installs them, and runs this.
//! Where the machine has no Python for an old Celery, its recorded frames are played instead.
//!
//! | file | what |
//! |---|---|
//! | `corner.rs` | a gateway, its queue and its workers, for one test |
//! | `dead.rs` | dead letters |
//! | `flower.rs` | Flower, which shows what the gateway sends |
//! | `kept.rs` | the redis result backend |
//! | `old.rs` | an old worker: real, or played from recorded frames |
//! | `queues.rs` | the amqp result backend: a queue for each task |
//! | `secure.rs` | broker and Redis over TLS, and those that are not who they should be |
//! | `shared.rs` | the reply queue: several clients, one consumer, EXPIRED |
//! | `vesta.rs` | the worker package of the original's users |
//! | `wire.rs` | our messages as Celery's own library reads them |

#![allow(clippy::unwrap_used)]

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/proxy.rs"]
#[allow(dead_code)] // shared with other test programs
mod proxy;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/redis.rs"]
mod redis;
#[path = "../support/flower.rs"]
#[allow(dead_code)] // shared with other test programs
mod shown;
#[path = "../support/mod.rs"]
mod support;

mod corner;
mod dead;
mod flower;
mod kept;
mod old;
mod queues;
mod secure;
mod shared;
mod vesta;
mod wire;
