//! A body, one piece at a time.

use crate::{fault::Fault, form::MAX_FORM};
use bytes::{Buf, Bytes};
use futures_util::Stream;
use gateway_contract::BoxError;
use http_body::Body;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

/// A request's body for a parser that would read ahead as far as it can.
///
/// The parser takes all that is ready before it looks at any of it, and keeps what it cannot use yet: a fast client's
/// whole file, or a part's head without end. So each piece is followed by a pause, in which the parser must work with
/// what it has; and what it holds back may not grow beyond [`MAX_FORM`] and the last two pieces.
pub(crate) struct Paced<B> {
    body: Pin<Box<B>>,
    /// A piece was just given.
    pause: bool,
    /// How many bytes were given before the last piece, and with it.
    before: u64,
    given: u64,
    /// How many of them came out of the parser again.
    used: Arc<AtomicU64>,
}

impl<B> Paced<B> {
    /// Of `body`; whoever reads what the parser makes of it adds to `used`.
    pub(crate) fn new(body: B, used: Arc<AtomicU64>) -> Self {
        Self { body: Box::pin(body), pause: false, before: 0, given: 0, used }
    }
}

impl<B> Stream for Paced<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.pause) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.before > self.used.load(Relaxed) + MAX_FORM {
            return Poll::Ready(Some(Err(Fault::LargeForm.into())));
        }
        loop {
            let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)) else { return Poll::Ready(None) };
            let data = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(mut data)) => data.copy_to_bytes(data.remaining()),
                Ok(Err(_)) => continue, // trailers say nothing to us
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            };
            self.before = self.given;
            self.given += data.len() as u64;
            self.pause = true;
            return Poll::Ready(Some(Ok(data)));
        }
    }
}
