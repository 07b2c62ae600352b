//! The one future of gates, errands and answers.

use crate::{BoxFuture, Rejection};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// Known at once, on its way, or the inner service's.
    #[project = StepProj]
    #[must_use = "futures do nothing unless polled"]
    #[allow(missing_docs)] // the macro takes no comments on fields; each variant says what its field is
    pub enum Step<F, T> {
        /// Known at once: the answer, `None` once taken.
        Done {
            result: Option<Result<T, Rejection>>,
        },
        /// On its way: what brings it.
        Boxed {
            future: BoxFuture<Result<T, Rejection>>,
        },
        /// The inner service's, unboxed.
        Pass {
            #[pin]
            future: F,
        },
    }
}

impl<F, T> Step<F, T> {
    /// Answers at once.
    pub fn answer(answer: T) -> Self {
        Self::Done { result: Some(Ok(answer)) }
    }

    /// Refuses at once.
    pub fn refuse(rejection: impl Into<Rejection>) -> Self {
        Self::Done { result: Some(Err(rejection.into())) }
    }

    /// Lets the inner service answer.
    pub fn pass(future: F) -> Self {
        Self::Pass { future }
    }

    /// Goes out and asks first.
    pub fn errand(future: impl Future<Output = Result<T, Rejection>> + Send + 'static) -> Self {
        Self::Boxed { future: Box::pin(future) }
    }
}

impl<F, T, E> Future for Step<F, T>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Rejection>,
{
    type Output = Result<T, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            StepProj::Done { result } => {
                // `Future::poll` may not be called again after `Ready`, so the answer is still there.
                Poll::Ready(result.take().expect("a future is not polled after it is ready"))
            }
            StepProj::Boxed { future } => future.as_mut().poll(cx),
            StepProj::Pass { future } => Poll::Ready(ready!(future.poll(cx)).map_err(Into::into)),
        }
    }
}
