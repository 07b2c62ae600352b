//! A REST gateway in front of queue-based workers.

pub mod broker;
pub mod engine;
pub mod files;
pub mod keeper;
pub mod locate;
pub mod meters;
pub mod plan;
pub mod setup;
pub mod stack;
pub mod store;
mod workflow;

mod gateway;
mod keys;
mod needs;
mod scale;

pub use gateway::{Gateway, Options, Reloaded};
pub use gateway_config as config;
pub use setup::StartError;

#[doc(hidden)] // the program's own: `src/main.rs` and nobody else
pub mod cli;

/// Is this process the guard of a worker's program? Then does a guard's work and gives its exit code.
///
/// Call it first thing in `main`, before any thread is started, in every program that mounts a gateway with the
/// embedded broker and [`Options::default`]: the guard is this very program, executed again as `PROGRAM guard …`.
/// `None`: this process is something else.
pub fn guard_main() -> Option<std::process::ExitCode> {
    let mut arguments = std::env::args_os();
    let _program = arguments.next();
    (arguments.next()? == "guard").then(|| gateway_worker::guard::main(arguments))
}
