//! Watch: measures requests, refusals and abandoned ones included.
//!
//! - **needs** the [`Target`](gateway_contract::Target) of the request; without one the request crosses uncounted.
//! - **leaves** request and response as they are, and its counts in the [`Recorder`].
//! - **refuses** nothing, and answers nothing: who serves the text of [`Recorder::render`], and where, is another's.
//!
//! Two metrics, named as OpenTelemetry's conventions for HTTP servers are when shown to Prometheus:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | histogram | `service`, `verb`, `http_request_method`, `http_response_status_code` or `error_type` |
//! | `http_server_active_requests` | gauge | none |
//!
//! `service` comes from configuration (empty where the request is about none), `verb` is [`Verb::name`], the method is one
//! of HTTP's or `_OTHER`, and the status is the answer's (a rare one counts as the x00 of its class). There is none, but an
//! `error_type`, where the inner service failed (`error`) or the answer was no longer wanted (`cancelled`: the client left;
//! the future was dropped). Nothing that a client sent becomes a label. The duration ends with the head of the answer, not
//! with its body.
//!
//! [`Family`] is the same as data, for whoever shows other metrics beside it, or sends them elsewhere.
//!
//! Counting takes no lock, and allocates nothing but for a combination that was not seen before.
//!
//! # An example
//!
//! ```
//! use gateway_contract::{BoxError, Place, Service, Target, Verb};
//! use gateway_metrics::{MetricsLayer, Recorder};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let recorder = Recorder::new(&["stub"]);
//! let application = service_fn(|_: Request<()>| async { Ok::<_, BoxError>(Response::new("hello")) });
//! let service = ServiceBuilder::new().layer(MetricsLayer::new(recorder.clone())).service(application);
//!
//! let stub = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
//! let mut request = Request::new(());
//! request.extensions_mut().insert(Target { place: Place::Service(stub.into()), verb: Verb::Status, document: None });
//! service.oneshot(request).await?;
//!
//! let mut text = String::new();
//! recorder.render(&mut text);
//! let labels = r#"service="stub",verb="status",http_request_method="GET",http_response_status_code="200""#;
//! let line = format!("http_server_request_duration_seconds_count{{{labels}}} 1");
//! assert!(text.lines().any(|it| it == line));
//! # Ok(())
//! # }
//! ```
//!
//! [`Verb::name`]: gateway_contract::Verb::name

mod family;
mod recorder;
mod render;
mod watch;

pub use family::{Distribution, Family, Labels, Points};
pub use recorder::Recorder;
pub use render::render;
pub use watch::Measuring;

use gateway_contract::target;
use http::{Request, Response};
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;
use watch::Watch;

/// Puts [`Metrics`] round a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone)]
pub struct MetricsLayer {
    recorder: Recorder,
}

impl MetricsLayer {
    /// Counts into `recorder`, which the caller keeps a clone of to show it.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = Metrics<S>;

    fn layer(&self, inner: S) -> Metrics<S> {
        Metrics { inner, recorder: self.recorder.clone() }
    }
}

/// Measures requests. See the [module docs](crate).
#[derive(Debug, Clone)]
pub struct Metrics<S> {
    inner: S,
    recorder: Recorder,
}

impl<S, B, X> Service<Request<B>> for Metrics<S>
where
    S: Service<Request<B>, Response = Response<X>>,
{
    type Response = Response<X>;
    type Error = S::Error;
    type Future = Measuring<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let watch = target(&request).map(|target| Watch::begin(&self.recorder, target, request.method()));
        Measuring::new(self.inner.call(request), watch)
    }
}

#[cfg(test)]
mod tests;
