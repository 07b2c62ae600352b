//! Stamp: names the target of a request.
//!
//! It says what a path asks for, and never refuses.
//!
//! - **Needs** nothing of other layers.
//! - **Leaves** a [`Target`] in the request's extensions, if the path is ours.
//! - **Refuses** nothing. A request whose path is not ours goes on without a target, and every layer below lets such a
//!   request cross untouched.
//!
//! | path (`S` = a service's route) | target | claimed when mounted |
//! |---|---|---|
//! | `/S/annotate[/DOC]`, `/S/process[/DOC]`, `/S/status`, `/S/cancel` | the service's | yes |
//! | `/simple_workflow/process` (where the service of that *name* is routed) | the workflow service's `Workflow` | yes |
//! | `/S/info`, `/S/stats`, `/S/doc` … `/S/factsheet`, also as `/S/service/…` | the service's | yes |
//! | `/S/`, `/S` | the service's home page; `Bare` | yes |
//! | `/platform/`, `/platform/info`, `/platform/stats`, `/platform/doc` … | the platform's | yes |
//! | `/info`, `/service/info` | the gateway's list of services | yes |
//! | `/temporary_upload_path`; `/temporary_file`, `/temporary_file/NAME` (`POST`: upload, else download) | the gateway's | yes |
//! | `/annotate[/DOC]`, `/process[/DOC]`, `/status`, `/cancel` | of the service routed `.`, if there is one | yes |
//! | `/stats`, `/doc` … , also as `/service/…`, and `/` | of the service routed `.`, else the platform's | no |
//! | `/livez`, `/readyz`, `/healthz`, `/metrics` | the gateway's | no |
//! | `/400 /401 /403 /404 /405 /408 /413 /429 /500 /502 /503 /504` | the gateway's error page of that status | no |
//! | `/X/annotate` … where no service is routed `X` | [`Place::UnknownService`] | no |
//!
//! *Mounted* ([`RouteLayer::new`]) the gateway stands in front of an application and claims only what cannot be the
//! application's own: `/`, `/doc`, the probes and the error pages stay with the host. *Alone* ([`RouteLayer::alone`]) it
//! owns the whole server and claims every row.
//!
//! Segments are compared percent-decoded. The name of a temporary file is any segment of UTF-8 that is not empty: it is
//! judged where it is used, so that a bad one is told. A document id that is empty, holds a `/` (also as `%2F`), is a dot segment or
//! is no UTF-8 gives no target, and so do further segments after a path of the table.
//!
//! ```
//! use gateway_contract::{Service, Target, Verb};
//! use gateway_route::{RouteLayer, Routes};
//! use http::{Request, Response};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stub = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
//! let routes = Arc::new(Routes::new([Arc::new(stub)])?);
//!
//! let stack = ServiceBuilder::new().layer(RouteLayer::new(routes)).service(service_fn(
//!     async |request: Request<()>| Ok::<_, Infallible>(Response::new(request.extensions().get::<Target>().cloned())),
//! ));
//!
//! let target = stack.clone().oneshot(Request::get("/stub/status?uuid=1").body(())?).await?.into_body();
//! assert_eq!(target.map(|target| target.verb), Some(Verb::Status));
//!
//! let target = stack.oneshot(Request::get("/shop/status").body(())?).await?.into_body();
//! assert!(target.is_none(), "a path of the application itself");
//! # Ok(())
//! # }
//! ```

mod routes;

pub use routes::{RESERVED, RouteError, Routes};

#[cfg(doc)]
use gateway_contract::{Place, Target};
use http::Request;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service as Tower;

/// Makes [`Route`] services. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone)]
pub struct RouteLayer {
    routes: Arc<Routes>,
    alone: bool,
}

impl RouteLayer {
    /// In front of an application: what is not surely ours gets no target.
    pub fn new(routes: Arc<Routes>) -> Self {
        Self { routes, alone: false }
    }

    /// On a server of its own: `/` and the probes are ours too, and a known verb under an unknown service gets
    /// [`Place::UnknownService`], so that its token is checked before code 202 is told.
    pub fn alone(routes: Arc<Routes>) -> Self {
        Self { routes, alone: true }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route { inner, routes: self.routes.clone(), alone: self.alone }
    }
}

/// Stamps the target of a request. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct Route<S> {
    inner: S,
    routes: Arc<Routes>,
    alone: bool,
}

impl<S, B> Tower<Request<B>> for Route<S>
where
    S: Tower<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(target) = self.routes.find(request.method(), request.uri().path(), self.alone) {
            request.extensions_mut().insert(target);
        }
        self.inner.call(request)
    }
}
