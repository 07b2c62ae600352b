//! The bodies that go through: a request's under its limits, an answer's with its ticket.

use crate::{count::Ticket, pace::Pace};
use bytes::Bytes;
use gateway_contract::{Rejection, Side, code};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A request's body as the stack gets it: hyper's, with at most `max_body` bytes, none later than `request_timeout`; a
/// large one may take longer while its bytes flow (`pace.rs`).
///
/// Its error is a [`Rejection`], so that the layer that reads it hands it on as it is: 413 (code 208) for too many
/// bytes, 408 (code 100) for too slow ones, 400 (code 100) for a body that broke off.
pub struct Inbound {
    incoming: Incoming,
    max: u64,
    read: u64,
    deadline: Instant,
    pace: Option<Arc<Pace>>,
    /// Made when the body is first waited for: most are there already.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Inbound {
    pub(crate) fn new(incoming: Incoming, max: u64, deadline: Instant, pace: Option<Arc<Pace>>) -> Self {
        Self { incoming, max, read: 0, deadline, pace, timer: None }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Rejection> {
        self.read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.read <= self.max {
            self.pace.iter().for_each(|pace| pace.moved());
            return Ok(frame);
        }
        let detail = format!("the body is larger than {} bytes, the most that this server takes", self.max);
        Err(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, Side::Client, detail))
    }

    /// Ready once nothing has come in time.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            match self.pace.as_ref().map(|pace| pace.due(self.read)) {
                // Moved on since the timer was set.
                Some(due) if due > Instant::now() => timer.as_mut().reset(due),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Rejection;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Rejection>>> {
        let me = self.get_mut();
        match Pin::new(&mut me.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(me.count(frame))),
            Poll::Ready(Some(Err(error))) => {
                let broken = Rejection::client(code::NONE, "the body of the request broke off or is malformed");
                Poll::Ready(Some(Err(broken.with_cause(error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => me.poll_late(cx).map(|()| {
                let detail = "the body of the request did not arrive in time";
                Some(Err(Rejection::new(StatusCode::REQUEST_TIMEOUT, code::NONE, Side::Client, detail)))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("max", &self.max).field("read", &self.read).finish_non_exhaustive()
    }
}

pin_project! {
    /// An answer's body: the stack's or a refusal of ours. While it lives, its request is under way.
    pub(crate) struct Outbound<R> {
        #[pin]
        body: Content<R>,
        ticket: Ticket,
    }
}

pin_project! {
    #[project = ContentProj]
    enum Content<R> {
        Own { bytes: Option<Bytes> },
        Stack { #[pin] body: R },
    }
}

impl<R> Outbound<R> {
    pub(crate) fn own(bytes: Bytes, ticket: Ticket) -> Self {
        Self { body: Content::Own { bytes: Some(bytes) }, ticket }
    }

    pub(crate) fn stack(body: R, ticket: Ticket) -> Self {
        Self { body: Content::Stack { body }, ticket }
    }
}

impl<R: Body<Data = Bytes>> Body for Outbound<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project().body.project() {
            ContentProj::Own { bytes } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            ContentProj::Stack { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Content::Own { bytes } => bytes.is_none(),
            Content::Stack { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Content::Own { bytes } => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Stack { body } => body.size_hint(),
        }
    }
}
