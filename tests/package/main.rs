//! What is shipped beside the program: it is made, installed and checked as far as a machine without containers can.
//!
//! | file | what |
//! |---|---|
//! | `commands.rs` | completions and manual pages, from the command line's own definition |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/mod.rs"]
mod support;

mod commands;
