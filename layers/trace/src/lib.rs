//! Watch: gives each request its place in a trace.
//!
//! - **needs** the [`Target`](gateway_contract::Target) of the request; without one the request crosses untouched. Reads
//!   the headers `traceparent` and `tracestate`, which a stranger wrote: see [`TraceContext::read`].
//! - **leaves** a [`TraceContext`] for the layers below: the caller's, or a new one, as the [`Sampler`] decides. Where
//!   the trace is recorded it is that of a span for this request, with the attributes of OpenTelemetry's conventions for
//!   HTTP servers; its status is the answer's.
//! - **refuses** nothing, and answers nothing.
//!
//! Probes, `/metrics` and error pages are not traced. Queries are never recorded: they may hold credentials.
//!
//! # An example
//!
//! ```
//! use gateway_trace::TraceLayer;
//! use gateway_contract::{BoxError, Place, Sampler, Target, Verb, trace_context};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let application = service_fn(|request: Request<()>| async move {
//!     Ok::<_, BoxError>(Response::new(trace_context(&request).map(|context| context.traceparent())))
//! });
//! let service = ServiceBuilder::new().layer(TraceLayer::new(Sampler::bystander())).service(application);
//!
//! let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
//! let mut request = Request::get("/info").header("traceparent", caller).body(())?;
//! request.extensions_mut().insert(Target { place: Place::Gateway, verb: Verb::Info, document: None });
//! assert_eq!(service.oneshot(request).await?.into_body().as_deref(), Some(caller));
//! # Ok(())
//! # }
//! ```

mod told;
mod watch;

pub use watch::Tracing;

use gateway_contract::{Sampler, Span, TraceContext, Verb, target};
use http::{Request, Response};
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Trace`] round a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone)]
pub struct TraceLayer {
    sampler: Sampler,
}

impl TraceLayer {
    /// Records the traces that `sampler` chooses.
    pub fn new(sampler: Sampler) -> Self {
        Self { sampler }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, sampler: self.sampler }
    }
}

/// Gives requests their places in traces. See the [module docs](crate).
#[derive(Debug, Clone)]
pub struct Trace<S> {
    inner: S,
    sampler: Sampler,
}

impl<S, B, X> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<X>>,
{
    type Response = Response<X>;
    type Error = S::Error;
    type Future = Tracing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let span = begin(&self.sampler, &mut request);
        Tracing::new(self.inner.call(request), span)
    }
}

/// Leaves the request's place on it; gives the span, if there is one.
fn begin<B>(sampler: &Sampler, request: &mut Request<B>) -> Option<Span> {
    let verb = target(request)?.verb;
    if matches!(verb, Verb::Livez | Verb::Readyz | Verb::Metrics | Verb::ErrorPage(_)) {
        return None;
    }
    let caller = TraceContext::of_headers(request.headers());
    let place = sampler.decide(caller.clone())?;
    if place.is_sampled() {
        // A trace of ours begins with this span: it has no parent.
        let span = told::span(request, &place, caller.is_none());
        request.extensions_mut().insert(span.context().cloned().unwrap_or(place));
        return span.is_open().then_some(span);
    }
    // What is only read sends nothing on.
    if verb.submits() {
        request.extensions_mut().insert(place);
    }
    None
}

#[cfg(test)]
mod tests;
