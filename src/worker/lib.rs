//! The other end: does tasks.
//!
//! - [`Runner`] runs one program, or one [`Handler`] in Rust (a function, or by [`TowerHandler`] any `tower::Service`), for
//!   one task, and turns what it says into [`Event`]s and one [`Ending`]. Whoever receives the tasks - the embedded broker,
//!   or [`work`] - says what becomes of an ending: answer, retry, requeue.
//! - [`work`] is a whole worker on RabbitMQ, and to Celery's clients and tools one of theirs: give it services, each with
//!   a [`Program`] or a handler.
//!
//! ```no_run
//! use gateway_worker::{
//!     Address, Client, Failure, GuardCommand, HandlerProgress, HandlerTask, Limits, Policy, RunnerSettings, Service,
//!     Stop, WorkerOptions, work,
//! };
//! use serde_json::{Value, json};
//!
//! async fn double(task: HandlerTask, _: HandlerProgress) -> Result<Value, Failure> {
//!     let number = task.argument["service"]["misc"]["number"].as_str().unwrap_or_default();
//!     Ok(json!(2.0 * number.parse::<f64>()?))
//! }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let runner = RunnerSettings::new("runs", GuardCommand::this_binary(), Client::new(Policy::default(), Limits::default())?);
//! let address = Address::parse("amqp://guest:guest@localhost:5672/")?;
//! work(WorkerOptions::new(address, vec![Service::handled("double", double)], runner), Stop::default()).await?;
//! # Ok(()) }
//! ```
//!
//! # How a program is run
//!
//! [`Runner::run`] makes a run directory, fetches the document, starts the program, and hands in what it made: annotations
//! and files, where the task's argument asks for it (see below).
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
//!   `SERVICE_GATEWAY_TASK` (the uuid) and `SERVICE_GATEWAY_RUN` (the run directory, the mark of all its processes), and
//!   where the task belongs to a trace `TRACEPARENT` and `TRACESTATE` (W3C Trace Context).
//! - No way to gain privileges (`no_new_privs`), no core dumps, and no more than its [`ProcessLimits`]. When the machine
//!   has no memory left, the kernel kills it before the worker.
//!
//! # What it may say
//!
//! - **Standard output** is the result: JSON if it is JSON, else its text without trailing newlines (bytes that are
//!   not UTF-8 become U+FFFD), `null` if there is none. More than [`Program::max_result`] bytes fail the task.
//! - **Standard error** is progress and log: a line `progress: N` (0 to 100) is progress, the rest is logged at debug
//!   level, and the last line of it explains a failure.
//! - [`Program::progress`] is for programs with a way of their own to tell progress: one group (per cent) or two
//!   (done, total): numbers, or times like `00:01:02.5`. A line that tells the total alone tells it for the lines after
//!   it, so that `time=([\d:.]+)|Duration: ([\d:.]+)` understands ffmpeg. The expression is looked for anywhere in a line
//!   of standard error. On standard output a line counts only if the expression matches all of it, and is then not part
//!   of the result; so `(\d+)%` does not eat the result "accuracy: 95%".
//! - Lines end at `\n` or `\r`; of one longer than [`Program::max_line`] the rest is dropped.
//!
//! # What is handed in
//!
//! The task's argument says what is done when the program (or handler) has succeeded:
//!
//! | the argument's | what is done with it |
//! |---|---|
//! | `annotation_service.url` | the result, or its member `annotations` if it is an object, is a list: it is posted there |
//! | `service.misc.upload_url` | what is in `{output}` goes to the storage service; the result then names the files |
//! | no `upload_url` | what is in `{output}` goes to [`RunnerSettings::files`], the gateway's temporary files; without them the task fails |
//! | `service.misc.callback_url` | is told `{"uuid", "status"}` when the task has ended ([`Runner::call_back`]) |
//!
//! Annotations are JSON objects. One without `@id` gets the task's type, one without `@version` the service's version.
//!
//! A result that is an object gets the member `files` (in place of its own, if it has one), no result becomes
//! `{"files": […]}`, and every other becomes `{"result": …, "files": […]}`. Each file is `{"name", "storage_doc_id"}`, or
//! `{"name", "url"}` where it is a temporary file; its name is its path below `{output}`. Links are left out. What is not
//! taken fails the task.
//!
//! Memory is bounded by `max_result` and `max_line`, whatever a program writes.

mod around;
mod directory;
pub mod guard;
mod handler;
mod health;
mod judge;
mod limits;
mod notes;
mod output;
mod processes;
mod program;
mod progress;
mod recover;
mod runner;
mod serve;
mod settings;
mod standalone;
mod supervise;
mod tower_handler;

pub use around::{GatewayFiles, KeepFiles};
pub use gateway_amqp::{Address, Kind, QueueSpec};
pub use gateway_contract::TraceContext;
pub use gateway_outside::{Client, Limits, Policy};
pub use handler::{DynHandler, Failure, Handler, HandlerProgress, HandlerTask};
pub use health::{Health, Verdict};
pub use limits::ProcessLimits;
pub use program::{Ending, Event, Job, Program};
pub use recover::{LeftOver, recover};
pub use runner::Runner;
pub use serde_json::{Value, json};
pub use serve::{OnLost, Service, Stop, Work, WorkerFault, WorkerOptions, work};
pub use settings::{GuardCommand, RunnerFault, RunnerSettings};
pub use standalone::run_worker;
pub use tower_handler::TowerHandler;
