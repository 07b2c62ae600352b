//! Errand: answers questions about the services and the gateway itself.
//!
//! - **needs** a [`Target`] with one of the verbs below; reads
//!   [`Base`] where it prints a path of ours. Everything else passes, an unknown service too.
//! - **answers** from what it was given once ([`Pages`]) and from what is so now ([`Facts`], which observe their own
//!   deadlines): an errand only where workers or submissions are counted.
//! - **leaves** nothing.
//! - **refuses**, as [`PagesError`] says, a page that is not configured (404), a service that it was told nothing about,
//!   and statistics that cannot be had now (503, as CANARIE asks). An error page *is* a refusal: with its status, code
//!   100 and nothing to add, for a proxy that has no page of its own.
//!
//! | asked | of a service | of the gateway (`/…`) | of the platform (`/platform/…`) |
//! |---|---|---|---|
//! | info | what it is, how many workers | all services, as configured | what the installation is |
//! | stats | accepted submissions | of all services | of all services |
//! | needs | how many workers it needs | of each service | |
//! | a page | its page | the platform's | the platform's |
//! | bare | 308 to the path with `/` at its end | the same | the same |
//! | error page | nothing but its status, with that status | the same | the same |
//! | livez, readyz, metrics | the gateway's, whomever they are asked of | | |
//!
//! # An example
//!
//! ```
//! use bytes::Bytes;
//! use gateway_contract::{
//!     BoxError, BoxFuture, Facts, Needs, Place, Readiness, Rejection, Reply, Service, Stats, Target, Verb,
//! };
//! use gateway_pages::{Pages, PagesLayer};
//! use http::Request;
//! use http_body_util::{BodyExt, Empty};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! #[derive(Clone)]
//! struct Quiet;
//!
//! impl Facts for Quiet {
//!     fn workers(&self, _: &Service) -> BoxFuture<Option<u32>> {
//!         Box::pin(async { None })
//!     }
//!     fn stats(&self, _: Option<&Service>) -> BoxFuture<Result<Stats, Rejection>> {
//!         Box::pin(async { Ok(Stats { invocations: 0, since: 0 }) })
//!     }
//!     fn needs(&self, _: Option<&Service>) -> BoxFuture<Result<Vec<Needs>, Rejection>> {
//!         Box::pin(async { Ok(Vec::new()) })
//!     }
//!     fn readiness(&self) -> Readiness {
//!         Readiness::default()
//!     }
//!     fn metrics(&self) -> String {
//!         String::new()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let application = service_fn(|_: Request<()>| async { Err::<Reply<Empty<Bytes>>, _>(Rejection::not_found()) });
//! let pages = Pages { version: "0.1.0".into(), ..Pages::default() };
//! let service = ServiceBuilder::new().layer(PagesLayer::new(Quiet, pages.into())).service(application);
//!
//! let mut request = Request::get("/livez").body(())?;
//! request.extensions_mut().insert(Target { place: Place::Gateway, verb: Verb::Livez, document: None });
//! let answer = service.oneshot(request).await?;
//! assert_eq!(answer.into_body().collect().await?.to_bytes(), r#"{"status":"alive"}"#);
//! # Ok(())
//! # }
//! ```

mod error;
mod info;
mod needs;
mod pages;
mod place;
mod probe;
mod source;
mod stats;

pub use error::PagesError;
pub use pages::{About, Pages, Profile, ServicePages};
pub use source::PageSource;

use gateway_contract::{Base, Facts, Place, Rejection, Reply, Step, Target, Verb, target};
use http::Request;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Puts [`Answers`] in front of a service. See the [module docs](crate).
#[must_use = "a layer does nothing until it is put round a service"]
#[derive(Debug, Clone)]
pub struct PagesLayer<F> {
    facts: F,
    pages: Arc<Pages>,
    metrics: bool,
}

impl<F: Facts> PagesLayer<F> {
    /// Answers with what `pages` says, and with `facts` for what changes.
    pub fn new(facts: F, pages: Arc<Pages>) -> Self {
        Self { facts, pages, metrics: true }
    }

    /// Is `/metrics` answered? Default `true`; with `false` it passes like what is not ours (`telemetry.metrics`).
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }
}

impl<S, F: Clone> Layer<S> for PagesLayer<F> {
    type Service = Answers<S, F>;

    fn layer(&self, inner: S) -> Answers<S, F> {
        Answers { inner, facts: self.facts.clone(), pages: self.pages.clone(), metrics: self.metrics }
    }
}

/// Answers questions about the services and the gateway itself. See the [module docs](crate).
///
/// (Not `Pages`, as the house's way of naming would have it: that is the data.)
#[derive(Debug, Clone)]
pub struct Answers<S, F> {
    inner: S,
    facts: F,
    pages: Arc<Pages>,
    metrics: bool,
}

impl<S, F, B, R> Service<Request<B>> for Answers<S, F>
where
    S: Service<Request<B>, Response = Reply<R>>,
    S::Error: Into<Rejection>,
    F: Facts,
    R: Send + 'static,
{
    type Response = Reply<R>;
    type Error = Rejection;
    type Future = Step<S::Future, Reply<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = target(&request).filter(|target| !matches!(target.place, Place::UnknownService));
        let Some(Target { place, verb, .. }) = asked else {
            return Step::pass(self.inner.call(request));
        };
        let base = request.extensions().get::<Base>();
        match verb {
            Verb::Info => self.info(place, base),
            Verb::Stats => stats::answer(&self.facts, place),
            Verb::Needs => needs::answer(&self.facts, place),
            Verb::Page(page) => at_once(place::page(&self.pages, place, *page)),
            Verb::Bare => at_once(place::bare(place, base, request.uri().query())),
            Verb::Livez => Step::answer(probe::livez()),
            Verb::Readyz => Step::answer(probe::readyz(&self.facts.readiness())),
            Verb::ErrorPage(status) => Step::refuse(PagesError::Shown(*status)),
            Verb::Metrics if self.metrics => Step::answer(probe::metrics(self.facts.metrics())),
            Verb::Metrics | Verb::Status | Verb::Cancel => Step::pass(self.inner.call(request)),
            Verb::Annotate | Verb::Process | Verb::Workflow => Step::pass(self.inner.call(request)),
            Verb::UploadPath | Verb::Upload | Verb::Download => Step::pass(self.inner.call(request)),
        }
    }
}

impl<S, F: Facts> Answers<S, F> {
    fn info<G, R: Send + 'static>(&self, place: &Place, base: Option<&Base>) -> Step<G, Reply<R>> {
        match place {
            Place::Service(service) => {
                let Some(at) = self.pages.position(service) else {
                    return Step::refuse(PagesError::Untold);
                };
                let (pages, workers) = (self.pages.clone(), self.facts.workers(service));
                Step::errand(async move { Ok(info::of_service(&pages, &pages.services[at], workers.await)) })
            }
            Place::Platform => Step::answer(info::of_platform(&self.pages)),
            Place::Gateway | Place::UnknownService => Step::answer(info::of_all(&self.pages, base)),
        }
    }
}

fn at_once<G, R>(result: Result<Reply<R>, PagesError>) -> Step<G, Reply<R>> {
    match result {
        Ok(reply) => Step::answer(reply),
        Err(error) => Step::refuse(error),
    }
}

#[cfg(test)]
mod tests;
