//! Watch: renders answers and refusals, at the line between a world that may refuse and one where nothing fails.
//!
//! Below this layer anything may be refused with a [`Rejection`]; above it the error is [`Infallible`], as hosts such
//! as axum demand (an error that reaches hyper closes the connection without an answer).
//!
//! - **needs** the [`Target`](gateway_contract::Target) of the request (without one the request crosses untouched), and
//!   reads `Accept`, `x-request-id` and, where it prints a link, [`Base`](gateway_contract::Base).
//! - **answers** `OPTIONS` (200, `Allow`) and methods that the verb does not know (405, code 100, `Allow`) before the
//!   inner service is asked: the method is judged before the service and before the token. `HEAD` gets the headers of
//!   `GET` and no body, whatever the server makes of it.
//! - **leaves** on every answer of ours `X-Content-Type-Options: nosniff` and the request's id; on what was submitted,
//!   asked about or cancelled, and on every refusal, also `Cache-Control: no-store` unless a layer said otherwise; on
//!   what is negotiated and may be stored, `Vary`.
//! - **refuses** nothing itself but the method; it turns each refusal into the error envelope
//!   `{"status", "description", "vesta": {"code", "message"}, "request_id"}` with `Retry-After`, `Allow` and, on a
//!   401, `WWW-Authenticate`.
//!
//! A refusal becomes data first ([`Body::Data`](gateway_contract::Body::Data) shown as [`View::Error`]), like every
//! other answer of ours; in which format it is shown is decided from there on, in one place.
//!
//! Refusals are logged here and only here: the client's faults at debug, ours and the outside's at warn or error with
//! the chain of causes. Header values, queries and tokens are never logged, and control characters in what a client
//! sent do not reach the log.
//!
//! # Formats
//!
//! `Accept` is read as RFC 9110, 12.5.1 says, q-values included; where two formats weigh the same, the one that is named
//! more closely is preferred (`application/json, */*` prefers JSON). A status is shown in every format as what it is:
//! that a worker failed is 200.
//!
//! | answer | JSON | HTML | XML |
//! |---|---|---|---|
//! | a task's status ([`View::ProcessStatus`]) | unless XML is preferred | never | preferred to JSON, and HTML not to it |
//! | about a service or the platform, statistics ([`View::Info`], [`View::Stats`]) | preferred to HTML | else | never |
//! | a refusal of these, of a page or of a path without its slash | preferred to HTML | else | never |
//! | how many workers are needed ([`View::Needs`]) | else | preferred to JSON, and XML not to it | never |
//! | any other refusal, an error page ([`View::Error`]) | else | preferred to JSON, and XML not to it | preferred to both |
//! | a uuid ([`View::Submission`]), the list of services, probes ([`View::JsonOnly`]) | always | never | never |
//!
//! What that means for the headers that clients of the original send, each held to the recorded exchanges by a test:
//!
//! | `Accept` | status | info, statistics | refusal of these | any other refusal, error page |
//! |---|---|---|---|---|
//! | none, `*/*`, `image/png` | JSON | HTML | HTML | JSON |
//! | `application/json` | JSON | JSON | JSON | JSON |
//! | `text/html` | JSON | HTML | HTML | HTML |
//! | a browser's (`text/html, …, application/xml;q=0.9, */*;q=0.8`) | JSON | HTML | HTML | HTML |
//! | `text/xml` | JSON | HTML | HTML | JSON |
//! | `application/xml` | XML | HTML | HTML | XML (the original: HTML) |
//!
//! - **XML**: `application/xml` (the original said `text/html`), root `process_status` or `error`, no type attributes,
//!   lists as `item`, null as an empty element, keys in the order of the JSON. A key that is not a name to
//!   every reader of XML (no colon, no rare scripts) becomes `<key name="…">`; a character that XML cannot hold becomes
//!   U+FFFD.
//! - **HTML**: pages of templates that escape all they are given, with a `Content-Security-Policy` under which nothing
//!   is loaded and no script runs. Their style is in the page: there is no `/static/style.css` as the original had it.
//! - Data of which XML or HTML cannot be made (nested deeper than 127 levels, say) is shown as JSON, and said to be.
//!
//! JSON that nobody wants changed is passed on as the bytes that it is, and finding that out allocates nothing.
//!
//! # An example
//!
//! An application that fails, and a client that gets an answer all the same:
//!
//! ```
//! use bytes::Bytes;
//! use gateway_contract::{BoxError, Reply};
//! use gateway_respond::RespondLayer;
//! use http::{Request, StatusCode};
//! use http_body_util::{BodyExt, Empty};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let application = service_fn(|_: Request<()>| async { Err::<Reply<Empty<Bytes>>, BoxError>("out of order".into()) });
//! let service = ServiceBuilder::new().layer(RespondLayer::new()).service(application);
//!
//! let answer = service.oneshot(Request::new(())).await?;
//! assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
//! let body = answer.into_body().collect().await?.to_bytes();
//! assert!(body.starts_with(br#"{"status":502,"description":"the application behind the gateway failed""#));
//! # Ok(())
//! # }
//! ```

mod accept;
mod answer;
mod asked;
mod envelope;
mod format;
mod html;
mod log;
mod needs;
mod render;
mod xml;

pub use answer::Responding;

use answer::Way;
use asked::Asked;
#[cfg(doc)]
use gateway_contract::View;
use gateway_contract::{Rejection, Reply, Side, Verb, code, target};
use http::{Method, Request, StatusCode};
use std::{
    convert::Infallible,
    task::{Context, Poll, ready},
};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Respond`] round a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone, Copy, Default)]
pub struct RespondLayer {
    debug: bool,
}

impl RespondLayer {
    /// Renders answers and refusals; causes are for the log alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `true`, refusals also show the chain of their causes to the client (`"cause": ["…", …]`), and where in the
    /// source they were made (`"made_at": "FILE:LINE:COLUMN"`). Default `false`: causes may name files and addresses of
    /// the installation.
    pub fn debug(mut self, debug: bool) -> Self {
        self.debug = debug;
        self
    }
}

impl<S> Layer<S> for RespondLayer {
    type Service = Respond<S>;

    fn layer(&self, inner: S) -> Respond<S> {
        Respond { inner, debug: self.debug, unready: None }
    }
}

/// Renders answers and refusals. See the [module docs](crate).
#[derive(Debug)]
pub struct Respond<S> {
    inner: S,
    debug: bool,
    /// Why the inner service will not take the next request: told to that request's client.
    unready: Option<Rejection>,
}

impl<S: Clone> Clone for Respond<S> {
    /// A clone asks its own inner service whether it is ready.
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), debug: self.debug, unready: None }
    }
}

impl<S, B, R> Service<Request<B>> for Respond<S>
where
    S: Service<Request<B>, Response = Reply<R>>,
    S::Error: Into<Rejection>,
{
    type Response = Reply<R>;
    type Error = Infallible;
    type Future = Responding<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.unready.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.unready = Some(error.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = Asked::of(&request, self.debug);
        let verb = target(&request).map(|target| target.verb);
        let way = match verb {
            Some(verb) if *request.method() == Method::OPTIONS => Way::Options { verb },
            Some(verb) if !verb.allows(request.method()) => Way::refused(method_not_allowed(verb)),
            _ => match self.unready.take() {
                Some(rejection) => Way::refused(rejection),
                None => Way::Inner { future: self.inner.call(request) },
            },
        };
        Responding::new(way, asked)
    }
}

/// 405: the verb does not know that method, whoever's verb it is.
fn method_not_allowed(verb: Verb) -> Rejection {
    let detail = format!("this path does not answer that method: it answers {}", verb.allow());
    Rejection::new(StatusCode::METHOD_NOT_ALLOWED, code::NONE, Side::Client, detail).with_allow(verb.allow())
}

#[cfg(test)]
mod tests;
