//! What every store owes the engine: the same tests for SQLite and for PostgreSQL, and what each has alone.
//!
//! | file | what is held |
//! |---|---|
//! | `places.rs` | where a store is: a file, or a database of the test's own |
//! | `writes.rs` | a batch is one transaction; what is written is read again as it was |
//! | `keys.rs` | idempotency: same, conflict, at the same time |
//! | `claims.rs` | the outbox as a queue: order, due, requeue, orphans |
//! | `sweeps.rs` | what is over its time |
//! | `tally.rs` | what the need for workers is concluded from |
//! | `schema.rs` | opened twice, opened by an older program |
//! | `leases.rs` | several gateways: who owns a message (PostgreSQL) |
//! | `faults.rs` | lost connections and lost answers (PostgreSQL) |
//! | `connecting.rs` | URL, TLS, refusals (PostgreSQL) |

#![allow(clippy::unwrap_used)] // tests

/// Runs each of these functions against both stores, in a new place each.
macro_rules! both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::places::Place::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::places::Place::postgres().await).await;
            })*
        }
    };
}

#[path = "../support/proxy.rs"]
mod proxy;

mod claims;
mod connecting;
mod faults;
mod keys;
mod leases;
mod places;
mod schema;
mod sweeps;
mod tally;
mod writes;

use bytes::Bytes;
use gateway_life::{Accept, Fact, Millis, Report, Source, State, Task, Write, Written};
use service_gateway::store::{Keep, Store};
use std::sync::Arc;
use uuid::Uuid;

/// When the tests begin, in milliseconds since 1970.
const NOW: Millis = 1_800_000_000_000;
/// No task.
const NONE: [Uuid; 0] = [];
const HOUR: Millis = 3_600_000;

const KEEP: Keep = Keep { results: HOUR, records: 24 * HOUR, silence: 2 * HOUR, keys: 0, jumps: Vec::new() };

/// A task of service `s`, to be accepted.
fn accept() -> Accept {
    accept_for("s")
}

fn accept_for(service: &str) -> Accept {
    let task = Task::new(Uuid::now_v7(), service, NOW);
    Accept { body: Bytes::from(format!("body of {}", task.id)), task, key: None }
}

fn submit(accept: &Accept) -> Write {
    Write::Accept(Box::new(accept.clone()))
}

fn tell(id: Uuid, fact: Fact) -> Write {
    Write::Apply { id, service: None, fact }
}

fn heard(state: State) -> Fact {
    Fact::Heard(Report::new(state, Source::Queue))
}

fn claim(service: &str) -> Write {
    Write::Claim { service: service.into() }
}

/// Commits what must be written.
#[track_caller]
fn commit(store: &Arc<dyn Store>, now: Millis, writes: Vec<Write>) -> impl Future<Output = Vec<Written>> + use<> {
    let committing = store.commit(now, writes);
    async { committing.await.unwrap() }
}

/// Accepts one task.
async fn accepted(store: &Arc<dyn Store>, accept: &Accept) {
    let written = commit(store, NOW, vec![submit(accept)]).await;
    assert_eq!(written, [Written::Accepted(accept.task.clone())]);
}

async fn load(store: &Arc<dyn Store>, id: Uuid) -> Option<Task> {
    store.load(id).await.unwrap()
}

/// The tasks of the messages that this gateway has in the outbox.
async fn outbox(store: &Arc<dyn Store>) -> Vec<Uuid> {
    store.outbox().await.unwrap().into_iter().map(|message| message.id).collect()
}
