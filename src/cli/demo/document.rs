//! The application behind the demo's gateway: it serves the demo's document, and nothing else.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};
use tower_service::Service;

/// Where the document is.
pub(super) const PATH: &str = "/demo/speech.wav";
const SPEECH: &[u8] = include_bytes!("speech.wav");

#[derive(Clone, Copy)]
pub(super) struct Document;

impl<B> Service<Request<B>> for Document {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let found = request.uri().path() == PATH && matches!(*request.method(), Method::GET | Method::HEAD);
        let mut response = Response::new(Full::new(Bytes::from_static(if found { SPEECH } else { b"" })));
        if found {
            let wav = header::HeaderValue::from_static("audio/wav");
            response.headers_mut().insert(header::CONTENT_TYPE, wav);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        ready(Ok(response))
    }
}
