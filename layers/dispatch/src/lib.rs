//! Errand: sends a submission on its way, and answers the uuid of its task.
//!
//! - **needs** a [`Target`] that submits ([`Verb::submits`](gateway_contract::Verb::submits))
//!   and the [`Work`] that a layer above has left; reads the [`Identity`] and the header `Idempotency-Key`, if there.
//! - **answers** `{"uuid": "…"}` (200) once the [`Submission`] is accepted by the service it is sent through.
//! - **leaves** nothing; everything else passes.
//! - **refuses** any verb of a service that is not configured (code 202: here, so that token and method are judged
//!   first), an `Idempotency-Key` that cannot be read (209), a submission whose work is missing (a fault of
//!   composition), and what the sending service refuses. See [`DispatchError`].
//!
//! An idempotency key is a string as draft-ietf-httpapi-idempotency-key-header has it (`"8e03978e"`, in quotes) or, as
//! most clients send it, the same without quotes. What it stands for, the fingerprint, is a SHA-256 over service, verb
//! and work in which the order of keys does not matter.
//!
//! # An example
//!
//! Any tower service can be what sends:
//!
//! ```
//! use bytes::Bytes;
//! use gateway_contract::{BoxError, Place, Rejection, Reply, Service, Submission, Target, Verb, Work};
//! use gateway_dispatch::DispatchLayer;
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use uuid::Uuid;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let send = service_fn(|submission: Submission| async move {
//!     assert_eq!(&*submission.service.name, "stub");
//!     Ok::<_, Rejection>(Uuid::nil())
//! });
//! let application = service_fn(|_: Request<()>| async { Err::<Reply<Empty<Bytes>>, _>(Rejection::not_found()) });
//! let service = ServiceBuilder::new().layer(DispatchLayer::new(send)).service(application);
//!
//! let stub = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: false };
//! let mut request = Request::post("/stub/process").body(())?;
//! request.extensions_mut().insert(Target { place: Place::Service(stub.into()), verb: Verb::Process, document: None });
//! request.extensions_mut().insert(Work::default());
//!
//! let answer = service.oneshot(request).await?.into_body().collect().await?.to_bytes();
//! assert_eq!(answer, r#"{"uuid":"00000000-0000-0000-0000-000000000000"}"#);
//! # Ok(())
//! # }
//! ```

mod error;
mod fingerprint;
mod key;

pub use error::DispatchError;

use gateway_contract::Service as Named;
use gateway_contract::{
    Idempotency, Identity, Place, Rejection, Reply, Step, Submission, Target, TraceContext, View, Work, data, target,
};
use http::{HeaderValue, Request};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

/// Puts [`Dispatch`] in front of a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone)]
pub struct DispatchLayer<D> {
    send: D,
}

impl<D> DispatchLayer<D> {
    /// Sends submissions through `send`: a service from [`Submission`] to the task's [`Uuid`] that answers once the
    /// task is written down, within a deadline of its own. It is cloned for each submission.
    pub fn new(send: D) -> Self {
        Self { send }
    }
}

impl<S, D: Clone> Layer<S> for DispatchLayer<D> {
    type Service = Dispatch<S, D>;

    fn layer(&self, inner: S) -> Dispatch<S, D> {
        Dispatch { inner, send: self.send.clone() }
    }
}

/// Sends submissions on their way. See the [module docs](crate).
#[derive(Debug, Clone)]
pub struct Dispatch<S, D> {
    inner: S,
    send: D,
}

impl<S, D, B, R> Service<Request<B>> for Dispatch<S, D>
where
    S: Service<Request<B>, Response = Reply<R>>,
    S::Error: Into<Rejection>,
    D: Service<Submission, Response = Uuid, Error = Rejection> + Clone + Send + 'static,
    D::Future: Send + 'static,
    R: Send + 'static,
{
    type Response = Reply<R>;
    type Error = Rejection;
    type Future = Step<S::Future, Reply<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match target(&request) {
            Some(Target { place: Place::UnknownService, .. }) => return Step::refuse(DispatchError::UnknownService),
            Some(Target { place: Place::Service(_), verb, .. }) if verb.submits() => {}
            _ => return Step::pass(self.inner.call(request)),
        }
        let submission = match submission(&mut request) {
            Ok(submission) => submission,
            Err(error) => return Step::refuse(error),
        };
        let told = Told::of(&request, &submission);
        let mut send = self.send.clone();
        Step::errand(async move {
            poll_fn(|cx| send.poll_ready(cx)).await?;
            let uuid = send.call(submission).await?;
            told.accepted(uuid);
            Ok(data(format!(r#"{{"uuid":"{uuid}"}}"#), View::Submission))
        })
    }
}

/// The longest request id that is logged, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// What the log says of a submission once it is accepted: which request it was, for whom, in which trace.
struct Told {
    service: Arc<Named>,
    request_id: Option<HeaderValue>,
    trace: Option<TraceContext>,
}

impl Told {
    fn of<B>(request: &Request<B>, submission: &Submission) -> Self {
        // A host may let through whatever a client sends.
        let fit = |id: &&HeaderValue| id.len() <= REQUEST_ID_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic);
        let request_id = request.headers().get("x-request-id").filter(fit).cloned();
        Self { service: submission.service.clone(), request_id, trace: submission.trace.clone() }
    }

    fn accepted(&self, uuid: Uuid) {
        tracing::info!(
            %uuid,
            service = &*self.service.name,
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            trace_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.shown())),
            "accepted"
        );
    }
}

/// What the request submits. The work is taken out of the request, not copied: it may be megabytes.
fn submission<B>(request: &mut Request<B>) -> Result<Submission, DispatchError> {
    let work = request.extensions_mut().remove::<Work>().ok_or(DispatchError::NoWork)?;
    let target = target(request).ok_or(DispatchError::NoWork)?;
    let service = target.service().ok_or(DispatchError::UnknownService)?.clone();
    let verb = target.verb;
    let subject = request.extensions().get::<Identity>().and_then(|identity| identity.subject.clone());
    let idempotency = key::read(request.headers())?
        .map(|key| Idempotency { key, fingerprint: fingerprint::of(&service.name, verb.name(), &work) });
    let trace = request.extensions_mut().remove::<TraceContext>();
    Ok(Submission { service, verb, subject, work, idempotency, trace })
}

#[cfg(test)]
mod tests;
