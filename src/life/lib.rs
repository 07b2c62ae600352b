//! A task's life: states, rules, and the engine's decisions. Pure: no I/O, no clock, no async.
//!
//! * [`Task`] is what is known of a task; [`Fact`] is what one can learn about it; [`apply`] is the one place with
//!   rules: stores call it inside their transaction, and SQL knows none of it.
//! * [`Engine`] decides what to write, publish, acknowledge, revoke and answer. Whoever drives it brings clock, store
//!   and broker, and carries out its [`Effect`]s in order.
//!
//! Times are milliseconds since 1970 (UTC), as the driver tells them.
//!
//! ```
//! use gateway_life::{Fact, Report, Source, State, Task, apply};
//!
//! let mut task = Task::new(uuid::Uuid::now_v7(), "diarisation", 1_000);
//! apply(&mut task, &Fact::Sent { attempts: 1 }, 1_001);
//! assert_eq!(task.state, State::Pending, "delivery is not state");
//! apply(&mut task, &Fact::Heard(Report::new(State::Success, Source::Queue)), 2_000);
//! assert_eq!(task.state, State::Success);
//! apply(&mut task, &Fact::Cancelled, 3_000);
//! assert_eq!(task.state, State::Success, "a worker's own end is final");
//! ```

mod apply;
mod engine;
mod outbox;
mod reload;
mod resting;
mod settle;
mod state;
mod task;
mod words;
mod write;

#[cfg(test)]
mod tests_apply;
#[cfg(test)]
mod tests_clients;
#[cfg(test)]
mod tests_engine;
#[cfg(test)]
mod tests_sharing;

pub use apply::{CANCELLED, apply};
pub use engine::Engine;
pub use outbox::{Fate, Waiting};
pub use state::State;
pub use task::{Cause, Change, Delivery, Fact, Raised, Report, Run, Source, Task};
pub use words::{Answer, Effect, Heard, Input, Limits, Publish};
pub use write::{Accept, CommitFault, DUE_MOST, IdempotencyKey, KEY_KEPT, Write, Written};

/// Milliseconds since 1970 (UTC).
pub type Millis = i64;
