//! The Celery protocol as data: what goes to workers and what comes from them, without a broker, a clock or a socket.
//!
//! | concept | file |
//! |---|---|
//! | an AMQP message and its header table | [`wire`] |
//! | a task to be sent, protocols 2 (Celery 4, 5) and 1 (Celery 3.1) | [`task`] |
//! | what a worker reports of a task, and the exception it raised | [`mod@report`], [`raised`] |
//! | worker exceptions as result codes | [`code`] |
//! | commands to workers (revoke), and what they ask when they start | [`control`] |
//! | what workers tell of themselves and of tasks | [`event`] |
//! | the worker's side of all this | [`serve`] |
//! | JSON as Python writes it | `json` |
//!
//! Nothing that a worker sends is trusted: sizes, types, encodings and nesting are checked, and a message that cannot be
//! read is an `Err` with its reason, never a panic. Recorded traffic of Celery 3.1, 4.3 and 5.7 is in `golden/`; the tests
//! hold this crate to it in both directions.
//!
//! ```
//! use gateway_celery::{Call, Protocol, argument, report};
//! use serde_json::Map;
//! use uuid::Uuid;
//!
//! let id = Uuid::from_u128(7);
//! let argument = argument("2026-01-02T03:04:05", "stub", Some("http://mss/a.wav"), None, Map::new());
//! let call = Call::new(id, "worker.stub", "stub", "replies", "gateway@host");
//! let body = call.body(Protocol::Two, &argument);
//! let message = call.message(Protocol::Two, body);
//! assert_eq!(message.routing_key, "stub");
//!
//! // … and much later, from the worker:
//! let body = br#"{"status": "SUCCESS", "result": [1, 2], "task_id": "00000000-0000-0000-0000-000000000007"}"#;
//! let heard = report(None, Some("application/json"), Some("utf-8"), body, 1 << 20)?;
//! assert_eq!((heard.id, heard.state.as_str(), heard.result.get()), (id, "SUCCESS", "[1, 2]"));
//! # Ok::<(), gateway_celery::Garbled>(())
//! ```

pub mod code;
pub mod control;
pub mod event;
mod json;
pub mod raised;
pub mod report;
pub mod serve;
pub mod task;
pub mod wire;

pub use code::code_of;
pub use control::{Hello, Stamp, command};
pub use event::{Event, TaskEvent, TaskEventKind, WorkerEvent, WorkerEventKind, events};
pub use raised::Raised;
pub use report::{Garbled, Progress, Report, report};
pub use task::{Call, Protocol, argument, id_in};
pub use wire::{Field, Message, Properties};

#[cfg(test)]
mod golden;
