//! Results of workers that keep them in Redis (Celery's redis backend).
//!
//! A worker writes each state of a task under the key `celery-task-meta-<id>`, where the next state replaces it, and
//! publishes it in the same transaction on the channel of the same name. [`Client::start`] listens to all these channels
//! with one connection, which it keeps for ever: dialled again with growing pauses and jitter, asked for a sign of life
//! every few seconds. What was published while nobody listened is not lost, since the last state is still under its key:
//! each time the connection is (re)made, [`Heard::Connected`] says so, and [`Session::fetch`] reads the states of the
//! tasks that are waited for.
//!
//! **Order.** Listening and reading use the same connection, so that their order is the server's: a state that was
//! fetched is older than each that is heard after the answer, and if any state of a task was heard in this session before
//! the answer, the fetched one is that or an older one.
//!
//! **Nothing is trusted**: bodies are cut one byte above their limit, what waits to be read is bounded in number and
//! bytes (beyond, the connection is given up and everything is read again), and what belongs to somebody else is
//! dropped by its id alone. Redis 6 or newer is needed (RESP3).
//!
//! | concept | file |
//! |---|---|
//! | where the server is | `address` |
//! | the handle, and the connection kept for ever | `client` |
//! | what was published, bounded | `ear` |
//!
//! ```no_run
//! use gateway_redis::{Address, Client, Heard, Settings};
//! # async fn example(waited_for: Vec<uuid::Uuid>) -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::new(Address::parse("redis://:password@localhost:6379/0")?);
//! let (client, mut inbox) = Client::start(settings);
//! while let Some(heard) = inbox.recv().await {
//!     match heard {
//!         Heard::Connected(session) => {
//!             for (id, body) in waited_for.iter().zip(session.fetch(&waited_for).await?) {
//!                 println!("{id}: {body:?}");
//!             }
//!         }
//!         Heard::Result(result) => println!("{}: {:?}", result.id, result.body),
//!     }
//! }
//! # Ok(()) }
//! ```

mod address;
mod client;
mod ear;

pub use address::{Address, BadAddress};
pub use client::{Client, Inbox, Lost, Session, Settings};
pub use ear::{Heard, Published};
