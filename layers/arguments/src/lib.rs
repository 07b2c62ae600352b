//! Errand: reads a submission's arguments.
//!
//! It is the one layer that reads a request's body, and reads it for submissions only.
//!
//! - **Needs** a [`Target`] (`route`). A request without one, or that is no submission to a known service, is passed on
//!   with its body unread.
//! - **Leaves** [`Arguments`] in the request's extensions. Below it a request is `Request<Option<B>>`: the body is
//!   `None` once read.
//! - **Refuses** a body over the limit (413, code 208), and what cannot be read (400, code 105): malformed JSON or JSON
//!   that is no object, a malformed form, a file in a form, text that is no UTF-8, too many or too long names, and a
//!   body that ends before its time.
//!
//! Fields come from the query and from a form (`application/x-www-form-urlencoded` or `multipart/form-data`); the query
//! wins, and so does the first value of a repeated name. `process` also takes a JSON object (`application/json` or
//! `application/*+json`); JSON `null`, an empty body and any other media type count as no body. What is not wanted is
//! read and dropped, under the same limit.
//!
//! Of a **workflow** only the fields count, and a multipart form of its is passed on unread, with the query's fields:
//! there may be files in it, which are another layer's. Waiting has no deadline here: the server has one for the whole request.
//!
//! ```
//! use gateway_arguments::ArgumentsLayer;
//! use gateway_contract::{Arguments, Place, Service, Target, Verb};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = ServiceBuilder::new().layer(ArgumentsLayer::new(2 * 1024 * 1024)).service(service_fn(
//!     async |mut request: Request<Option<Full<&'static [u8]>>>| {
//!         Ok::<_, Infallible>(Response::new(request.extensions_mut().remove::<Arguments>()))
//!     },
//! ));
//!
//! let stub = Arc::new(Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true });
//! let request = Request::post("/stub/process?doc_url=http%3A%2F%2Fexample.org%2Fa.txt")
//!     .header("content-type", "application/json")
//!     .extension(Target { place: Place::Service(stub), verb: Verb::Process, document: None })
//!     .body(Full::new(br#"{"depth": 3}"#.as_slice()))?;
//!
//! let arguments = stack.oneshot(request).await?.into_body().expect("a submission has arguments");
//! assert_eq!(arguments.field("doc_url"), Some("http://example.org/a.txt"));
//! assert_eq!(arguments.json["depth"], 3);
//! # Ok(())
//! # }
//! ```

mod body;
mod fault;
mod fields;

pub use fields::{MAX_FIELDS, MAX_NAME, MAX_PARTS};

use body::Kind;
use fields::Fields;
use gateway_contract::{Arguments, BoxError, Rejection, Step, Target, Verb, target};
use http::{Request, request::Parts};
use http_body::Body;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service as Tower;

/// Makes [`ReadArguments`] services. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone, Copy)]
pub struct ArgumentsLayer {
    limit: usize,
}

impl ArgumentsLayer {
    /// Reads bodies of up to `limit` bytes (`server.max_body`).
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for ArgumentsLayer {
    type Service = ReadArguments<S>;

    fn layer(&self, inner: S) -> ReadArguments<S> {
        ReadArguments { inner, limit: self.limit }
    }
}

/// Reads a submission's arguments. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct ReadArguments<S> {
    inner: S,
    limit: usize,
}

/// Is there something to read? (An unknown service is refused further down, whatever the body is.)
fn submits(target: &Target) -> bool {
    target.verb.submits() && target.service().is_some()
}

impl<S, B> Tower<Request<B>> for ReadArguments<S>
where
    S: Tower<Request<Option<B>>> + Clone + Send + 'static,
    S::Error: Into<Rejection>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = Rejection;
    type Future = Step<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let verb = match target(&request) {
            Some(target) if submits(target) => target.verb,
            _ => return Step::pass(self.inner.call(request.map(Some))),
        };
        let (mut head, body) = request.into_parts();
        if verb == Verb::Workflow && matches!(Kind::of(verb, &head.headers), Kind::Multipart(_)) {
            return match query(&head) {
                Ok(fields) => {
                    head.extensions.insert(Arguments { fields: fields.into_map(), ..Arguments::default() });
                    Step::pass(self.inner.call(Request::from_parts(head, Some(body))))
                }
                Err(fault) => Step::refuse(fault),
            };
        }
        if let Err(fault) = body::within(self.limit, &head.headers, &body) {
            return Step::refuse(fault);
        }
        let not_ready = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, not_ready);
        let limit = self.limit;
        Step::errand(async move {
            let arguments = read(&head, verb, body, limit).await?;
            head.extensions.insert(arguments);
            ready.call(Request::from_parts(head, None)).await.map_err(Into::into)
        })
    }
}

/// The fields of the query.
fn query(head: &Parts) -> Result<Fields, fault::Fault> {
    let mut fields = Fields::default();
    fields.urlencoded(head.uri.query().unwrap_or_default().as_bytes(), "query")?;
    Ok(fields)
}

/// Reads query and body.
async fn read<B>(head: &Parts, verb: Verb, body: B, limit: usize) -> Result<Arguments, fault::Fault>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut fields = query(head)?;
    let mut arguments = Arguments::default();
    match Kind::of(verb, &head.headers) {
        Kind::Urlencoded => fields.urlencoded(&body::collect(body, limit).await?, "form")?,
        Kind::Multipart(boundary) => fields.multipart(body::collect(body, limit).await?, boundary?).await?,
        Kind::Json => arguments.json = body::object(&body::collect(body, limit).await?)?,
        Kind::Other => body::drain(body, limit).await?,
    }
    arguments.fields = fields.into_map();
    Ok(arguments)
}
