//! The words that layers exchange.
//!
//! A layer knows this crate and no other layer. What stands here is data and four small traits; it does no I/O.
//!
//! | word | stamped by | read by |
//! |---|---|---|
//! | [`Base`] | the server (trusted proxies) | whoever prints a URL |
//! | [`Target`] | `route` | every layer below it |
//! | [`TraceContext`] | `trace` | whoever takes its time, and `dispatch` |
//! | [`Identity`] | `auth` | `dispatch` |
//! | [`Arguments`] | `arguments`, and `files` for a workflow's form | `document`, `workflow` |
//! | [`Work`] | `document`, `workflow` | `dispatch` |
//!
//! Below `respond` a layer may refuse with a [`Rejection`]; a response carries a [`Body`], which is either data of
//! ours or the inner application's own body, untouched. [`Step`] is the one future of gates, errands and answers.

mod body;
mod path;
mod reject;
mod step;
mod submit;
mod target;
mod tasks;
mod trace;

pub use body::{Body, Reply, View, data, plain};
pub use path::place;
pub use reject::{Refusal, Rejection, Side, code};
pub use step::Step;
pub use submit::{Arguments, Idempotency, Identity, Submission, Upload, Work};
pub use target::{Base, Page, Place, Service, Target, Verb, target};
pub use tasks::{Facts, History, Locate, Needs, Part, Readiness, Snapshot, Stats, Tasks};
pub use trace::{SPANS, Sampler, Span, TraceContext, trace_context};

#[doc(hidden)] // for the macro `span` alone
pub use tracing;

use std::{future::Future, pin::Pin};

/// Any error, as hosts and HTTP bodies bring it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A future of an errand: boxed only when it really goes out.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
