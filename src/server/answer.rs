//! The answer to one request: the stack's if it comes in time.

use crate::{
    access::Line, body::Outbound, count::Ticket, front::Hub, pace::Pace, refusal::Refusal, request_id::X_REQUEST_ID,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A request under way.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: HeaderValue,
    pub(crate) ticket: Ticket,
    pub(crate) line: Option<Line>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) http1: bool,
}

impl Open {
    /// What every answer gets: its id, the end of a drained connection, its log line.
    fn finish(&mut self, status: StatusCode, headers: &mut HeaderMap) {
        if self.http1 && self.hub.draining().is_some() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(line) = self.line.take() {
            line.write(status, &self.id);
        }
        headers.insert(X_REQUEST_ID, self.id.clone());
        self.ticket.answered();
    }

    fn refuse<R>(mut self, refusal: Refusal) -> Response<Outbound<R>> {
        let mut response = refusal.response(&self.id);
        self.finish(refusal.status, response.headers_mut());
        response.map(|json| Outbound::own(json, self.ticket))
    }
}

pin_project! {
    /// The future of an answer. The timer is registered only once the stack has to wait: most answers cost none.
    pub(crate) struct Answering<F> {
        #[pin]
        step: Step<F>,
        open: Option<Open>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<F> {
        Refuse { refusal: Refusal },
        Ask { #[pin] future: F, #[pin] timer: Sleep, pace: Option<Arc<Pace>> },
    }
}

impl<F> Answering<F> {
    /// Ours, at once.
    pub(crate) fn refuse(refusal: Refusal, open: Open) -> Self {
        Self { step: Step::Refuse { refusal }, open: Some(open) }
    }

    /// The stack's, until `deadline`; later, if a large body still came then.
    pub(crate) fn ask(future: F, deadline: Instant, pace: Option<Arc<Pace>>, open: Open) -> Self {
        Self { step: Step::Ask { future, timer: sleep_until(deadline), pace }, open: Some(open) }
    }
}

impl<F, R> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
{
    type Output = Result<Response<Outbound<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let me = self.project();
        let refusal = match me.step.project() {
            StepProj::Refuse { refusal } => *refusal,
            // The stack first: a body that is late tells it so at the same instant, and its own answer says more.
            StepProj::Ask { future, timer, pace } => match future.poll(cx) {
                Poll::Ready(Ok(mut response)) => {
                    let mut open = me.open.take().expect("a future is not polled after it is ready");
                    let status = response.status();
                    open.finish(status, response.headers_mut());
                    return Poll::Ready(Ok(response.map(|body| Outbound::stack(body, open.ticket))));
                }
                Poll::Pending if poll_late(timer, pace.as_deref(), cx).is_ready() => Refusal::SLOW,
                Poll::Pending => return Poll::Pending,
            },
        };
        let open = me.open.take().expect("a future is not polled after it is ready");
        if refusal == Refusal::SLOW {
            open.hub.counters.count_timed_out();
        }
        Poll::Ready(Ok(open.refuse(refusal)))
    }
}

/// Ready once the answer is late.
fn poll_late(mut timer: Pin<&mut Sleep>, pace: Option<&Pace>, cx: &mut Context<'_>) -> Poll<()> {
    while timer.as_mut().poll(cx).is_ready() {
        match pace.map(Pace::answer_due) {
            // Moved on since the timer was set.
            Some(due) if due > Instant::now() => timer.as_mut().reset(due),
            _ => return Poll::Ready(()),
        }
    }
    Poll::Pending
}
