//! The future, and the span that ends with the head of the answer.

use gateway_contract::Span;
use http::Response;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// The future of [`Trace`](crate::Trace): the inner service's, watched where its trace is recorded.
    #[must_use = "futures do nothing unless polled"]
    pub struct Tracing<F> {
        #[pin]
        future: F,
        span: Option<Box<Span>>,
    }
}

impl<F> Tracing<F> {
    pub(crate) fn new(future: F, span: Option<Span>) -> Self {
        Self { future, span: span.map(Box::new) }
    }
}

impl<F, X, E> Future for Tracing<F>
where
    F: Future<Output = Result<Response<X>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let Some(span) = this.span.take() {
            match &result {
                Ok(response) => {
                    let status = response.status();
                    span.record("http.response.status_code", u64::from(status.as_u16()));
                    // A client's fault is no error of the server's (OpenTelemetry's conventions for HTTP spans).
                    if status.is_server_error() {
                        span.record("error.type", status.as_str());
                        span.record("otel.status_code", "ERROR");
                    }
                }
                Err(_) => {
                    span.record("error.type", "_OTHER");
                    span.record("otel.status_code", "ERROR");
                }
            }
        }
        Poll::Ready(result)
    }
}
