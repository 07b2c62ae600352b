//! RabbitMQ: publishing that knows what became of each message, consuming, and reconnecting for ever.
//!
//! [`Client::start`] keeps three connections - one publishes, one consumes, one is for control, since a broker that is
//! short of memory stops reading from connections that publish - and never gives up: each is dialled again with growing
//! pauses and jitter, and each wait has a deadline. lapin's own recovery is not used: it ends after some minutes.
//!
//! - **Publications** ([`Client::publish`]) are accepted only while they can be sent; each accepted one has exactly one
//!   [`Outcome`]. Only a confirm of the broker's counts as sent; a message that no queue takes is told apart exactly.
//! - **Results** come as [`Delivery`] from one durable queue with a single active consumer; each has a [`Receipt`], and
//!   without it comes again.
//! - **Dead letters** come as [`DeadLetter`] from the queues named in [`Settings::dead_letters`], with what happened to them.
//! - **Queues** are declared as configured; one that differs is told in [`State::faults`] and used as it is.
//! - **Commands and questions** ([`Client::broadcast`], [`Client::answer`], [`Client::queue`]) have ten seconds each.
//!
//! | concept | file |
//! |---|---|
//! | the handle and its inbox | `client` |
//! | where the broker is | `settings` |
//! | one connection, dialled for ever | `link` |
//! | the publishing connection; what is in the air; which of it came back | `publisher`, `window`, `returns` |
//! | the consuming and the control connection | `consumer`, `control` |
//! | the reply queue bound to workers' exchange, a task at a time | `bindings` |
//! | messages on which the broker gave up | `dead` |
//! | a worker's connections, for the other end ([`WorkerClient`]) | `serve` |
//! | queues declared | `topology` |
//! | how it is doing | `state` |
//!
//! **Logging.** lapin logs at `warn` whatever comes back as unroutable, body included, and at `error` each closed channel:
//! keep the target `lapin` out of the log (`lapin=off`). All that matters is told here, without secrets.
//!
//! ```no_run
//! use gateway_amqp::{Address, Client, Publication, QueueSpec, Settings};
//! use gateway_celery::{Call, Protocol, argument};
//! # async fn example(id: uuid::Uuid) -> Result<(), Box<dyn std::error::Error>> {
//! let address = Address::parse("amqp://guest:guest@localhost:5672/")?;
//! let mut settings = Settings::new(address, "gateway", "service-gateway.replies.1");
//! settings.queues.push(QueueSpec { name: "stub".into(), kind: Default::default(), arguments: Vec::new() });
//! let (client, mut inbox) = Client::start(settings);
//! client.state().wait_for(|state| state.publish.is_up() && state.consume.is_up()).await?;
//!
//! let call = Call::new(id, "worker.stub", "stub", "service-gateway.replies.1", "gateway@host");
//! let body = call.body(Protocol::Two, &argument("2026-01-02T03:04:05", "stub", None, None, Default::default()));
//! client.publish(Publication { id, attempt: 1, message: call.message(Protocol::Two, body) }).await?;
//! let sent = inbox.outcomes.recv().await;
//! let result = inbox.deliveries.recv().await;
//! # Ok(()) }
//! ```

mod bindings;
mod client;
mod consumer;
mod control;
mod dead;
mod link;
mod publication;
mod publisher;
mod returns;
mod serve;
mod settings;
mod state;
mod topology;
mod window;
mod wire;

pub use client::{Client, Inbox, MAX_PENDING};
pub use consumer::{Delivery, Receipt};
pub use control::{ControlError, QueueState};
pub use dead::{DeadLetter, Death};
pub use publication::{Declined, Fate, Outcome, Outcomes, Publication, Reason};
pub use serve::{Heard, IncomingTask, TaskReceipt, WorkerClient, WorkerInbox, WorkerSettings};
pub use settings::{Address, BadAddress, Kind, QueueSpec, Settings};
pub use state::{Link, State};
