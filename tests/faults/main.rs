//! Faults made for real.

#![allow(clippy::unwrap_used)] // tests
#![allow(clippy::print_stdout)] // the checker's report is what these tests are for

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/postgres.rs"]
#[allow(dead_code)] // shared with other test programs
mod postgres;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod chance;
mod kills;
mod load;
mod place;
mod verdict;
