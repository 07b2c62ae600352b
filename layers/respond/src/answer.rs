//! The future, and the headers of what comes out of it.

use crate::{envelope, log};
use gateway_contract::{Body, Rejection, Reply, Service, Verb, target};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is told back, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// What has to be known of a request once it is gone.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What was asked, if it was ours to answer.
    pub(crate) verb: Option<Verb>,
    /// Whom it was about; for the log.
    pub(crate) service: Option<Arc<Service>>,
    /// `x-request-id`, if it is fit to be told back.
    pub(crate) request_id: Option<HeaderValue>,
    /// Are causes shown to the client?
    pub(crate) debug: bool,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>, debug: bool) -> Self {
        let target = target(request);
        Self {
            verb: target.map(|target| target.verb),
            service: target.and_then(|target| target.service().cloned()),
            request_id: request.headers().get(REQUEST_ID).filter(|id| is_fit(id)).cloned(),
            debug,
        }
    }

    /// The request's id as text.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
    }
}

/// A request id comes from the client or from the server above us: only what is short and visible is told back.
fn is_fit(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

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
    reply
}

/// An answer of ours gets the headers that all of ours have; the application's is left as it is.
fn finish<R>(mut reply: Reply<R>, asked: &Asked) -> Reply<R> {
    if let Some(verb) = asked.verb
        && !matches!(reply.body(), Body::Inner { .. })
    {
        let about_a_task = verb.submits() || matches!(verb, Verb::Status | Verb::Cancel);
        put_common(reply.headers_mut(), asked, about_a_task);
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
