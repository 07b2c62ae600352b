//! The future, and the headers of what comes out of it.

use crate::{
    asked::{Asked, REQUEST_ID},
    envelope, log, render,
};
use gateway_contract::{Body, Rejection, Reply, Verb};
use http::{HeaderMap, HeaderValue, Response, header};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// Where the answer comes from.
    #[project = WayProj]
    pub(crate) enum Way<F> {
        /// From the verb alone.
        Options { verb: Verb },
        /// It is refused already; `None` once told.
        Refused { rejection: Option<Rejection> },
        /// From the inner service.
        Inner {
            #[pin]
            future: F,
        },
    }
}

impl<F> Way<F> {
    pub(crate) fn refused(rejection: Rejection) -> Self {
        Way::Refused { rejection: Some(rejection) }
    }
}

pin_project! {
    /// The future of [`Respond`](crate::Respond): the inner service's, whose refusal becomes an answer.
    #[must_use = "futures do nothing unless polled"]
    pub struct Responding<F> {
        #[pin]
        way: Way<F>,
        asked: Asked,
    }
}

impl<F> Responding<F> {
    pub(crate) fn new(way: Way<F>, asked: Asked) -> Self {
        Self { way, asked }
    }
}

impl<F, R, E> Future for Responding<F>
where
    F: Future<Output = Result<Reply<R>, E>>,
    E: Into<Rejection>,
{
    type Output = Result<Reply<R>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.way.project() {
            WayProj::Options { verb } => Ok(options(*verb)),
            // `Future::poll` may not be called again after `Ready`, so the refusal is still there.
            WayProj::Refused { rejection } => Err(rejection.take().expect("a future is not polled after it is ready")),
            WayProj::Inner { future } => ready!(future.poll(cx)).map_err(Into::into),
        };
        Poll::Ready(Ok(match result {
            Ok(reply) => finish(reply, this.asked),
            Err(rejection) => refuse(rejection, this.asked),
        }))
    }
}

/// What the verb answers, without asking anybody.
fn options<R>(verb: Verb) -> Reply<R> {
    let mut reply = Response::new(Body::Plain { bytes: None });
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(verb.allow()));
    reply
}

/// A refusal as an answer, told to the log on the way.
#[cold]
fn refuse<R>(rejection: Rejection, asked: &Asked) -> Reply<R> {
    let refusal = rejection.into_refusal();
    log::tell(&refusal, asked);
    let mut reply = envelope::render(&refusal, asked);
    put_common(reply.headers_mut(), asked, true);
    dress(&mut reply, asked);
    reply
}

/// In the format that is asked for, and no more of it than is asked for.
fn dress<R>(reply: &mut Reply<R>, asked: &Asked) {
    render::show(reply, asked);
    if asked.head {
        render::behead(reply);
    }
}

/// An answer of ours gets the headers that all of ours have; the application's is left as it is.
fn finish<R>(mut reply: Reply<R>, asked: &Asked) -> Reply<R> {
    if let Some(verb) = asked.verb
        && !matches!(reply.body(), Body::Inner { .. })
    {
        let about_a_task = verb.submits() || matches!(verb, Verb::Status | Verb::Cancel);
        put_common(reply.headers_mut(), asked, about_a_task);
        dress(&mut reply, asked);
    }
    reply
}

/// Headers that a layer has set already stay.
fn put_common(headers: &mut HeaderMap, asked: &Asked, never_stored: bool) {
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    if never_stored {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if let Some(id) = &asked.request_id {
        headers.entry(REQUEST_ID).or_insert_with(|| id.clone());
    }
}
