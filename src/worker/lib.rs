//! The other end: runs one program for one task, under a guard.
//!
//! [`Runner::run`] makes a run directory, fetches the document, starts the program and turns what it says into
//! [`Event`]s and one [`Ending`]. Whoever receives the tasks - the embedded broker, or a consumer of RabbitMQ - says
//! what becomes of an ending: answer, retry, requeue.
//!
//! ```text
//! gateway or worker ── socket ── guard ── program ── whatever it starts
//!   Runner                       leads a session, adopts orphans, holds a lock on the run directory
//! ```
//!
//! A program is never a child of ours but of a **guard** ([`guard`]): our binary, executed again. The socket between
//! us is closed when we stop the program and when we die, whatever we die of, and the guard then ends everything that
//! the program started. So a gateway that is killed leaves nothing behind that still burns CPU; [`recover`] finds, at
//! the next start, which tasks that were.
//!
//! # What a program sees
//!
//! - Its arguments, as configured, with `{document}`, `{params}`, `{output}` and `{uuid}` replaced; no shell.
//! - The run directory as its working directory; in it `params.json` (the task's argument), `document` with the
//!   extension that its URL has, and the empty directories `output` and `tmp`. All of it is removed after the run.
//! - An empty standard input.
//! - Of our environment only what says where and in which language things are (`PATH`, `HOME`, `USER`, `LOGNAME`,
//!   `SHELL`, `LANG`, `LANGUAGE`, `LC_*`, `TZ`, `LD_LIBRARY_PATH`): the gateway's own environment holds secrets. What
//!   else a program needs, its [`Program::environment`] or `env NAME=value program …` says. Added: `TMPDIR`,
//!   `SERVICE_GATEWAY_TASK` (the uuid) and `SERVICE_GATEWAY_RUN` (the run directory, the mark of all its processes).
//! - No way to gain privileges (`no_new_privs`), no core dumps.
//!
//! # What it may say
//!
//! - **Standard output** is the result: JSON if it is JSON, else its text without trailing newlines (bytes that are
//!   not UTF-8 become U+FFFD), `null` if there is none. More than [`Program::max_result`] bytes fail the task.
//! - **Standard error** is progress and log: a line `progress: N` (0 to 100) is progress, the rest is logged at debug
//!   level, and the last line of it explains a failure.
//! - [`Program::progress`] is for programs with a way of their own to tell progress: one group (per cent) or two
//!   (done, total). It is looked for anywhere in a line of standard error. On standard output a line counts only if
//!   the expression matches all of it, and is then not part of the result; so `(\d+)%` does not eat the result
//!   "accuracy: 95%".
//! - Lines end at `\n` or `\r`; of one longer than [`Program::max_line`] the rest is dropped.
//!
//! Memory is bounded by `max_result` and `max_line`, whatever a program writes.

mod around;
mod directory;
pub mod guard;
mod handler;
mod judge;
mod output;
mod processes;
mod program;
mod progress;
mod recover;
mod runner;
mod serve;
mod settings;
mod supervise;

pub use handler::{DynHandler, Failure, Handler, HandlerProgress, HandlerTask};
pub use program::{Ending, Event, Job, Program};
pub use recover::{LeftOver, recover};
pub use runner::Runner;
pub use serve::{OnLost, Service, Stop, Work, WorkerFault, WorkerOptions, work};
pub use settings::{GuardCommand, RunnerFault, RunnerSettings};
