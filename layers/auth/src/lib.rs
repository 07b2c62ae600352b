//! Gate: admits requests by their token.
//!
//! It looks at `Authorization` (and, for temporary files, at the shared key) and at nothing else, and answers at once.
//!
//! - **Needs** a [`Target`] (`route`); a request without one crosses untouched.
//! - **Leaves** an [`Identity`] in the request's extensions, unless the verb is public or the policy is open: then no
//!   token is looked at.
//! - **Refuses** with code 101: 401 if the token is missing or not valid, 403 if it is valid and its `services` do not
//!   name the service asked for. (`respond` adds `WWW-Authenticate` to every 401.) With code 205, 503, as long as the
//!   issuer's public keys ([`PolicyBuilder::published`]) could not be fetched.
//!
//! A token is a JWT in `Authorization`, bare or as `Bearer <JWT>`. Its algorithm must be one of the configured; `aud`
//! and `exp` must be there; `nbf` is honoured; `iss` must be the configured one, if one is; a header with `crit` and a
//! claim of a wrong type are refused. What was verified once is remembered until it expires, under the token's SHA-256.
//! Temporary files alone may also be had with a shared key ([`PolicyBuilder::shared_key`]) in `X-Service-Key` or
//! `?service_key=`, compared in constant time; a wrong one counts as none.
//! Probes, metrics and the redirect of `/S` to `/S/` need no token, whatever the policy.
//!
//! ```
//! use gateway_auth::{Algorithm, AuthLayer, Grant, Policy, sign};
//! use gateway_contract::{Identity, Place, Service, Target, Verb};
//! use http::{Request, Response, StatusCode};
//! use std::{convert::Infallible, sync::Arc, time::{Duration, SystemTime}};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let secret = [7; 64]; // in earnest: random bytes
//! let policy = Policy::builder().algorithms([Algorithm::HS512]).secret(&secret).audience("docs").build()?;
//! let stack = ServiceBuilder::new().layer(AuthLayer::new(policy)).service(service_fn(async |request: Request<()>| {
//!     let identity = request.extensions().get::<Identity>().cloned();
//!     Ok::<_, Infallible>(Response::new(identity.and_then(|identity| identity.subject)))
//! }));
//!
//! let stub = Arc::new(Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true });
//! let target = Target { place: Place::Service(stub), verb: Verb::Annotate, document: None };
//!
//! let refused = stack.clone().oneshot(Request::post("/stub/annotate").extension(target.clone()).body(())?).await;
//! assert_eq!(refused.expect_err("no token").refusal().status, StatusCode::UNAUTHORIZED);
//!
//! let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(600)).with_subject("ann");
//! let token = sign(&grant, &secret, Algorithm::HS512)?;
//! let request = Request::post("/stub/annotate").header("authorization", token).extension(target).body(())?;
//! assert_eq!(stack.oneshot(request).await?.into_body().as_deref(), Some("ann"));
//! # Ok(())
//! # }
//! ```

mod fault;
mod grant;
mod keys;
mod policy;
mod shared;
mod token;

pub use grant::{Grant, SignError, sign};
pub use jsonwebtoken::{Algorithm, DecodingKey};
pub use keys::{KeySet, KeySetError, Keys};
pub use policy::{Policy, PolicyBuilder, PolicyError, VERBS};

#[cfg(doc)]
use gateway_contract::{Identity, Target};
use gateway_contract::{Rejection, Step, span, target, trace_context};
use http::Request;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service as Tower;

/// Makes [`Auth`] services. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone)]
pub struct AuthLayer {
    policy: Arc<Policy>,
}

impl AuthLayer {
    /// Admits what `policy` admits.
    pub fn new(policy: impl Into<Arc<Policy>>) -> Self {
        Self { policy: policy.into() }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth { inner, policy: self.policy.clone() }
    }
}

/// Admits requests by their token. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct Auth<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S, B> Tower<Request<B>> for Auth<S>
where
    S: Tower<Request<B>>,
    S::Error: Into<Rejection>,
{
    type Response = S::Response;
    type Error = Rejection;
    type Future = Step<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(target) = target(&request) else { return Step::pass(self.inner.call(request)) };
        // A span where something is verified: an open door costs nothing.
        let place = trace_context(&request).filter(|_| self.policy.verifies(target.verb));
        let span = span!(place, "auth", "internal");
        let admitted = self.policy.admit(target, request.headers(), request.uri().query());
        if let Err(fault) = &admitted {
            span.fail(fault);
        }
        drop(span);
        match admitted {
            Ok(None) => {}
            Ok(Some(identity)) => {
                request.extensions_mut().insert(identity);
            }
            Err(fault) => return Step::refuse(fault),
        }
        Step::pass(self.inner.call(request))
    }
}
