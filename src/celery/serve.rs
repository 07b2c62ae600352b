//! The worker's side of the protocol: what a worker reads, and what it says.
//!
//! | concept | file |
//! |---|---|
//! | a task as it arrives, of either protocol, and put back for later | [`mod@request`] |
//! | what the worker reports of it | [`mod@reply`] |
//! | what the worker tells everybody of itself and its tasks | [`tell`] |
//! | commands it obeys and questions it answers | [`inbox`] |
//!
//! ```
//! use gateway_celery::{Call, Protocol, argument, report, serve::{self, Request}};
//! use uuid::Uuid;
//!
//! let call = Call::new(Uuid::from_u128(7), "worker.stub", "stub", "replies", "gateway@host");
//! let body = call.body(Protocol::One, &argument("2026-01-02T03:04:05", "stub", None, None, Default::default()));
//! let request = Request::read(&call.message(Protocol::One, body), 1 << 20)?;
//! assert_eq!((request.task.as_str(), request.retries), ("worker.stub", 0));
//!
//! let raised = serve::raised("ValueError", "boom");
//! let reply = serve::reply(&request, "FAILURE", &raised, Some("2026-01-02T03:04:06+00:00")).expect("it is asked for");
//! let heard = report(None, None, None, &reply.body, 1 << 20).expect("a result");
//! assert_eq!(heard.raised().expect("an exception").message, "boom");
//! # Ok::<(), gateway_celery::serve::Unreadable>(())
//! ```

pub mod inbox;
pub mod reply;
pub mod request;
pub mod tell;

pub use inbox::{Command, Neighbour, hello};
pub use reply::{raised, reply};
pub use request::{Request, Unreadable, again, iso};
pub use tell::{Teller, task_events, worker_event};
