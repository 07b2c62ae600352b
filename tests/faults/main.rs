//! Faults made for real.

#![allow(clippy::unwrap_used)] // tests
#![allow(clippy::print_stdout)] // the checker's report is what these tests are for

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
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

mod arena;
mod chance;
mod disk;
mod inject;
mod kills;
mod load;
mod network;
mod place;
mod terminate;
mod verdict;
mod windows;
mod wire;
