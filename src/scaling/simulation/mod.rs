//! The policies in virtual time: the code that advises a running gateway, against made or recorded load.
//!
//! | file | what |
//! |---|---|
//! | `pattern` | when tasks come and how long they take |
//! | `world` | queue, workers, and the policy every `interval` |
//! | `optimum` | what foreknowledge would have cost |

mod optimum;
mod pattern;
mod random;
mod world;

pub use optimum::{Optimum, optimum};
pub use pattern::{Pattern, Task, patterns};
pub use world::{Outcome, Sample, Setting, run};

#[cfg(test)]
mod tests;
