//! **Answer, hand over, what is not ours.** The end of the stack: a request whose body nobody read goes to the
//! application, and its response comes back with body and error untouched.

use gateway_contract::{Body, Rejection, Reply};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Beyond`] round an application.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct BeyondLayer;

impl<S> Layer<S> for BeyondLayer {
    type Service = Beyond<S>;

    fn layer(&self, inner: S) -> Beyond<S> {
        Beyond { inner }
    }
}

/// See the module docs.
#[derive(Clone, Debug)]
pub struct Beyond<S> {
    inner: S,
}

impl<S, B, R> Service<Request<Option<B>>> for Beyond<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Rejection>,
{
    type Response = Reply<R>;
    type Error = Rejection;
    type Future = Handing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Option<B>>) -> Self::Future {
        let (head, body) = request.into_parts();
        Handing { future: body.map(|body| self.inner.call(Request::from_parts(head, body))) }
    }
}

pin_project! {
    /// The application's future; a request whose body was read had an answer above, so nobody is asked: 404.
    #[derive(Debug)]
    pub struct Handing<F> {
        #[pin]
        future: Option<F>,
    }
}

impl<F, R, E> Future for Handing<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<Rejection>,
{
    type Output = Result<Reply<R>, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.project().future.as_pin_mut() else {
            return Poll::Ready(Err(Rejection::not_found()));
        };
        let answer = ready!(future.poll(cx));
        Poll::Ready(answer.map(|response| response.map(|body| Body::Inner { body })).map_err(Into::into))
    }
}

/// The application behind a gateway that stands alone: nothing is here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl<B> Service<Request<B>> for Nothing {
    type Response = Response<http_body_util::Empty<bytes::Bytes>>;
    type Error = Rejection;
    type Future = Ready<Result<Self::Response, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Err(Rejection::not_found()))
    }
}
