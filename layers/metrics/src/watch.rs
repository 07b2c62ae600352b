//! The future, and what it keeps until the request has ended.

use crate::recorder::{Outcome, Recorder, Row};
use gateway_contract::Target;
use http::{Method, Response};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

/// A request on its way. Counted when it ends, and also when nobody waits for that any more.
#[derive(Debug)]
pub(crate) struct Watch {
    recorder: Recorder,
    row: Row,
    start: Instant,
    outcome: Outcome,
}

impl Watch {
    pub(crate) fn begin(recorder: &Recorder, target: &Target, method: &Method) -> Self {
        recorder.begin();
        let (recorder, row) = (recorder.clone(), recorder.row(target, method));
        Self { recorder, row, start: Instant::now(), outcome: Outcome::Cancelled }
    }

    fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.recorder.end(self.row, self.outcome, self.start.elapsed());
    }
}

pin_project! {
    /// The future of [`Metrics`](crate::Metrics): the inner service's, watched.
    #[must_use = "futures do nothing unless polled"]
    pub struct Measuring<F> {
        #[pin]
        future: F,
        watch: Option<Watch>,
    }
}

impl<F> Measuring<F> {
    pub(crate) fn new(future: F, watch: Option<Watch>) -> Self {
        Self { future, watch }
    }
}

impl<F, X, E> Future for Measuring<F>
where
    F: Future<Output = Result<Response<X>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let Some(watch) = this.watch.take() {
            watch.end(result.as_ref().map_or(Outcome::Error, |response| Outcome::Status(response.status())));
        }
        Poll::Ready(result)
    }
}
