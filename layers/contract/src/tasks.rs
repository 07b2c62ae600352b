//! What layers ask of the world outside HTTP.

use crate::{BoxFuture, Rejection, Service};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// A task as `status` shows it; made once a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// [`Service::index`] of the service it was sent to.
    pub service: u16,
    /// Grows with every change of the task.
    pub seq: u64,
    /// `{"uuid", "status", "result"}`, ready to send.
    pub json: Bytes,
    /// Instead of `json`: the worker's version is not the configured one (code 204); says what to do.
    pub mismatch: Option<Box<str>>,
    /// For `?detail=1`.
    pub history: History,
}

/// What happened to a task, and when: milliseconds since 1970 (UTC).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// How often it was sent, as far as we cannot rule out that a worker got it.
    pub attempts: u32,
    /// When it was accepted.
    pub submitted: i64,
    /// When the broker had it.
    pub sent: Option<i64>,
    /// When a worker began.
    pub started: Option<i64>,
    /// When it reached its end.
    pub ended: Option<i64>,
    /// Why we presume an end that no worker told.
    pub reason: Option<Box<str>>,
}

/// The tasks' keeper. `peek` never waits; the others may, each within its own deadline.
pub trait Tasks: Clone + Send + Sync + 'static {
    /// The task, if it is known without waiting. `None` says nothing.
    fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>>;
    /// The task, or `None` if there is none.
    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>>;
    /// Cancels a task of this service and returns it as it is then; `None` if the service has no such task.
    /// A task that has ended keeps its end.
    fn cancel(&self, service: &Service, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>>;
}

/// Where a document of the storage service is, and which URLs may be sent to workers.
/// Pure: names are not resolved, nothing is fetched.
pub trait Locate: Clone + Send + Sync + 'static {
    /// The URL of a stored document (`documents.get_url` with the id, percent-encoded).
    fn document(&self, id: &str) -> Result<String, Rejection>;
    /// The URL under which annotations of a document are handed in (`annotations.post_url` with the id).
    fn annotations(&self, id: &str) -> Result<String, Rejection>;
    /// Judges a URL that a client gave: returns it normalised (non-ASCII encoded), or refuses with code 207 or 211.
    /// `name` is the argument's name, for the message.
    fn admit(&self, name: &str, url: &str) -> Result<String, Rejection>;
    /// Where workers upload files (`documents.upload_url`), if configured.
    fn upload(&self) -> Option<String>;
}

/// Accepted submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// How many, since `since`.
    pub invocations: u64,
    /// When the count began: milliseconds since 1970 (UTC).
    pub since: i64,
}

/// One thing the gateway needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `broker`, `store`, …
    pub name: &'static str,
    /// `None` if it works; else what is wrong and what to do.
    pub fault: Option<String>,
    /// Does its fault make the gateway not ready, or is it a warning?
    pub essential: bool,
}

/// Can the gateway do its work?
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What it needs; not ready if an essential part has a fault.
    pub parts: Vec<Part>,
}

/// How many workers one service needs, and what that is concluded from. Times in seconds, rates a second; `None` =
/// unknown.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Needs {
    /// The service's name in the configuration.
    pub service: Box<str>,
    /// Tasks that wait: in the queue, and accepted but not yet sent.
    pub waiting: u64,
    /// Tasks that workers have.
    pub running: Option<u64>,
    /// How many more tasks the workers could run now.
    pub idle_slots: Option<u64>,
    /// Workers that serve it now.
    pub workers: u32,
    /// Accepted tasks a second, lately.
    pub arrival_rate: Option<f64>,
    /// How long a worker takes for a task: the mean of the latest.
    pub service_time_mean: Option<f64>,
    /// The same: what 95 % of them did not exceed.
    pub service_time_p95: Option<f64>,
    /// The share of the slots that is at work.
    pub utilisation: Option<f64>,
    /// How long a task that comes now will wait.
    pub predicted_wait: Option<f64>,
    /// How long it takes until nothing waits, with the workers there are; `None` also if that never comes.
    pub drain_time: Option<f64>,
    /// How long the oldest waiting task has waited.
    pub oldest_wait: Option<f64>,
    /// How many workers there should be.
    pub desired_workers: u32,
    /// Why, in one sentence.
    pub reason: String,
}

/// Facts about the running installation.
pub trait Facts: Clone + Send + Sync + 'static {
    /// How many workers serve it: exact and at once; `None` when the broker cannot be asked.
    fn workers(&self, service: &Service) -> BoxFuture<Option<u32>>;
    /// Accepted submissions of one service, or of all.
    fn stats(&self, service: Option<&Service>) -> BoxFuture<Result<Stats, Rejection>>;
    /// How many workers are needed by one service, or by each of them in the order of their names. Refused (503, code
    /// 205) when the broker or the store cannot be asked: what is not known is never told as none.
    fn needs(&self, service: Option<&Service>) -> BoxFuture<Result<Vec<Needs>, Rejection>>;
    /// What works and what does not.
    fn readiness(&self) -> Readiness;
    /// Metrics of the process as Prometheus text.
    fn metrics(&self) -> String;
}
