//! Gate: answers what became of a task, and cancels it.
//!
//! - **needs** a [`Target`](gateway_contract::Target) with [`Verb::Status`] or [`Verb::Cancel`] of a configured
//!   service; everything else, an unknown service included, passes.
//! - **answers** the task's JSON as its keeper made it. A status is looked for without waiting first
//!   ([`Tasks::peek`]); only what is not known that way is an errand. A cancel is always one.
//! - **leaves** nothing.
//! - **refuses**, as [`StatusError`] says, a request without `uuid` (code 206), a uuid that is not one of ours or
//!   another service's (203), and a task whose worker is of another version than the configured one (204).
//!
//! The task's uuid is the first `uuid` of the query and is matched exactly, case included. With `detail=1` the answer
//! also says, beside `uuid`, `status` and `result`: `attempts`, and `submitted`, `sent`, `started` and `ended` as
//! RFC 3339 with milliseconds in UTC, or null; and where the gateway has something to explain, `reason`.
//!
//! # An example
//!
//! A keeper that knows one task, in front of an application of one's own:
//!
//! ```
//! use bytes::Bytes;
//! use gateway_contract::{
//!     BoxError, BoxFuture, History, Place, Rejection, Reply, Service, Snapshot, Target, Tasks, Verb,
//! };
//! use gateway_status::StatusLayer;
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use std::sync::Arc;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use uuid::Uuid;
//!
//! #[derive(Clone)]
//! struct One(Uuid, Arc<Snapshot>);
//!
//! impl Tasks for One {
//!     fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
//!         (id == self.0).then(|| self.1.clone())
//!     }
//!     fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
//!         let found = self.peek(id);
//!         Box::pin(async { Ok(found) })
//!     }
//!     fn cancel(&self, _: &Service, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
//!         self.load(id)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let json = Bytes::from_static(br#"{"uuid":"00000000-0000-0000-0000-000000000000","status":"PENDING","result":null}"#);
//! let task = Snapshot { service: 0, seq: 1, json: json.clone(), mismatch: None, history: History::default() };
//! let tasks = One(Uuid::nil(), Arc::new(task));
//!
//! let application = service_fn(|_: Request<()>| async { Err::<Reply<Empty<Bytes>>, _>(Rejection::not_found()) });
//! let service = ServiceBuilder::new().layer(StatusLayer::new(tasks)).service(application);
//!
//! let stub = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
//! let mut request = Request::get("/stub/status?uuid=00000000-0000-0000-0000-000000000000").body(())?;
//! request.extensions_mut().insert(Target { place: Place::Service(stub.into()), verb: Verb::Status, document: None });
//!
//! let answer = service.oneshot(request).await?;
//! assert_eq!(answer.into_body().collect().await?.to_bytes(), json);
//! # Ok(())
//! # }
//! ```

mod detail;
mod error;
mod question;

pub use error::StatusError;

use gateway_contract::{Rejection, Reply, Snapshot, Step, Tasks, Verb, View, data, target};
use http::Request;
use question::Question;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Status`] in front of a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone)]
pub struct StatusLayer<T> {
    tasks: T,
}

impl<T: Tasks> StatusLayer<T> {
    /// Answers about the tasks that `tasks` keeps, which observes its own deadlines.
    pub fn new(tasks: T) -> Self {
        Self { tasks }
    }
}

impl<S, T: Clone> Layer<S> for StatusLayer<T> {
    type Service = Status<S, T>;

    fn layer(&self, inner: S) -> Status<S, T> {
        Status { inner, tasks: self.tasks.clone() }
    }
}

/// Answers what became of a task, and cancels it. See the [module docs](crate).
#[derive(Debug, Clone)]
pub struct Status<S, T> {
    inner: S,
    tasks: T,
}

impl<S, T, B, R> Service<Request<B>> for Status<S, T>
where
    S: Service<Request<B>, Response = Reply<R>>,
    S::Error: Into<Rejection>,
    T: Tasks,
    R: Send + 'static,
{
    type Response = Reply<R>;
    type Error = Rejection;
    type Future = Step<S::Future, Reply<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = target(&request).and_then(|target| match target.verb {
            verb @ (Verb::Status | Verb::Cancel) => target.service().map(|service| (verb, service)),
            _ => None,
        });
        let Some((verb, service)) = asked else {
            return Step::pass(self.inner.call(request));
        };
        let question = match Question::read(request.uri().query()) {
            Ok(question) => question,
            Err(error) => return Step::refuse(error),
        };
        if verb == Verb::Cancel {
            let (service, cancelled) = (service.clone(), self.tasks.cancel(service, question.uuid));
            return Step::errand(async move { answer(cancelled.await?, &service, question).map_err(Into::into) });
        }
        if let Some(known) = self.tasks.peek(question.uuid) {
            return match answer(Some(known), service, question) {
                Ok(reply) => Step::answer(reply),
                Err(error) => Step::refuse(error),
            };
        }
        let (service, loaded) = (service.clone(), self.tasks.load(question.uuid));
        Step::errand(async move { answer(loaded.await?, &service, question).map_err(Into::into) })
    }
}

/// The task as an answer, if it is a task of that service.
fn answer<R>(
    task: Option<Arc<Snapshot>>,
    service: &gateway_contract::Service,
    question: Question,
) -> Result<Reply<R>, StatusError> {
    // Another service's task is as unknown as none: a uuid must not tell where it belongs.
    let task = task
        .filter(|task| task.service == service.index)
        .ok_or_else(|| StatusError::Unknown { service: service.name.clone(), uuid: question.uuid })?;
    if let Some(what) = &task.mismatch {
        return Err(StatusError::Mismatch(what.clone()));
    }
    let json = if question.detail { detail::join(&task)? } else { task.json.clone() };
    Ok(data(json, View::ProcessStatus))
}

#[cfg(test)]
mod tests;
