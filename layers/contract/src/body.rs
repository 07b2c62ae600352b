//! What an answer carries.

use crate::BoxError;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// How `respond` shows data to a client that asks for something else than JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `{"uuid", "status", "result"}`; XML root `process_status`.
    ProcessStatus,
    /// `{"uuid"}`.
    Submission,
    /// CANARIE information about a service or the platform.
    Info,
    /// CANARIE statistics.
    Stats,
    /// How many workers are needed: of one service, or `{"services": {…}}`. JSON for whoever does not say.
    Needs,
    /// Always JSON, whatever the client asks for.
    JsonOnly,
    /// The error envelope.
    Error,
}

pin_project! {
    /// A response body: ours, or the inner application's, untouched and unboxed.
    #[project = BodyProj]
    #[allow(missing_docs)] // the macro takes no comments on fields; each variant says what its field is
    pub enum Body<R> {
        /// JSON text (`None` once sent) that `respond` may show as XML or HTML instead, as `view` says.
        Data {
            json: Option<Bytes>,
            view: View,
        },
        /// Bytes (`None` once sent) whose `Content-Type` the response already carries.
        Plain {
            bytes: Option<Bytes>,
        },
        /// A stream of ours (a file, say).
        Stream {
            stream: UnsyncBoxBody<Bytes, BoxError>,
        },
        /// The inner application's body.
        Inner {
            #[pin]
            body: R,
        },
    }
}

/// A response whose body is ours or the inner application's.
pub type Reply<R> = Response<Body<R>>;

/// A 200 with `json`, to be shown as `view` says.
pub fn data<R>(json: impl Into<Bytes>, view: View) -> Reply<R> {
    let mut reply = Response::new(Body::Data { json: Some(json.into()), view });
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// A 200 with `bytes` of a fixed media type.
pub fn plain<R>(bytes: impl Into<Bytes>, content_type: &'static str) -> Reply<R> {
    let mut reply = Response::new(Body::Plain { bytes: Some(bytes.into()) });
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

impl<R> http_body::Body for Body<R>
where
    R: http_body::Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        match self.project() {
            BodyProj::Data { json: bytes, .. } | BodyProj::Plain { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
            }
            BodyProj::Stream { stream } => Pin::new(stream).poll_frame(cx),
            BodyProj::Inner { body } => body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Data { json: bytes, .. } | Body::Plain { bytes } => bytes.is_none(),
            Body::Stream { stream } => stream.is_end_stream(),
            Body::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Data { json: bytes, .. } | Body::Plain { bytes } => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Body::Stream { stream } => stream.size_hint(),
            Body::Inner { body } => body.size_hint(),
        }
    }
}
