//! THE file: every layer, in order, each with the reason for its place.
//!
//! The order is code; configuration sets layers up and never reorders them.

mod beyond;
mod live;

pub use beyond::{Beyond, BeyondLayer, Nothing};
pub use live::Live;

use crate::{
    files::Shelf,
    keeper::{Installation, Keeper, Sender},
    locate::Documents,
};
use arc_swap::ArcSwap;
use gateway_arguments::{ArgumentsLayer, ReadArguments};
use gateway_auth::{Auth, AuthLayer, Policy};
use gateway_contract::{Body, Sampler};
use gateway_dispatch::{Dispatch, DispatchLayer};
use gateway_document::{Document, DocumentLayer};
use gateway_files::{Files, FilesLayer};
use gateway_metrics::{Metrics, MetricsLayer, Recorder};
use gateway_pages::{Answers, Pages, PagesLayer};
use gateway_respond::{Respond, RespondLayer};
use gateway_route::{Route, RouteLayer, Routes};
use gateway_status::{Status, StatusLayer};
use gateway_trace::{Trace, TraceLayer};
use gateway_workflow::{Workflow, WorkflowLayer};
use http::{Request, Response};
use std::{convert::Infallible, sync::Arc};
use tower_layer::Layer;
use tower_service::Service;

/// The gateway round any application, as a type a host can name: [`Layers`], exchanged as a whole by a reload.
pub type Stack<S> = Live<S>;
/// The whole stack. No box and no `dyn` on its hot paths.
pub type Layers<S> =
    Route<Trace<Metrics<Respond<Auth<Status<Answers<ReadArguments<Reading<S>>, Installation>, Keeper>>>>>>;
/// The part of the stack that bodies reach.
pub type Reading<S> = Files<Workflow<Document<Dispatch<Beyond<S>, Sender>, Documents>>, Shelf>;

/// What the stack is made of: built once from the configuration, cloned cheaply.
#[derive(Clone, Debug)]
pub(crate) struct Materials {
    pub(crate) routes: Arc<Routes>,
    pub(crate) sampler: Sampler,
    pub(crate) recorder: Recorder,
    pub(crate) policy: Arc<Policy>,
    pub(crate) keeper: Keeper,
    pub(crate) installation: Installation,
    pub(crate) pages: Arc<Pages>,
    pub(crate) metrics: bool,
    pub(crate) shelf: Shelf,
    pub(crate) max_file: u64,
    pub(crate) max_body: usize,
    pub(crate) documents: Documents,
    pub(crate) sender: Sender,
    /// The routes that a workflow's steps may name, if nobody but us can run it.
    pub(crate) steps: Option<Arc<[Box<str>]>>,
    /// Are causes shown to clients?
    pub(crate) debug: bool,
}

/// The gateway as a [`Layer`]; see [`crate::Gateway::layer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct GatewayLayer {
    pub(crate) materials: Arc<ArcSwap<Materials>>,
    /// Nothing is behind us: a known verb under an unknown service is refused here.
    pub(crate) alone: bool,
}

impl<S: Clone> Layer<S> for GatewayLayer {
    type Service = Stack<S>;

    fn layer(&self, application: S) -> Stack<S> {
        Live::new(self.materials.clone(), self.alone, application)
    }
}

impl Materials {
    fn compose<S>(&self, alone: bool, application: S) -> Layers<S> {
        let Materials {
            routes,
            sampler,
            recorder,
            policy,
            keeper,
            installation,
            pages,
            metrics,
            shelf,
            max_file,
            max_body,
            documents,
            sender,
            steps,
            debug,
        } = self.clone();
        let route = if alone { RouteLayer::alone(routes) } else { RouteLayer::new(routes) };
        tower::ServiceBuilder::new()
            // Name it: everything below works on the name alone, and a request without one crosses untouched.
            .layer(route)
            // Trace it: its span holds the time of everything below, and the refusals.
            .layer(TraceLayer::new(sampler))
            // Measure it: above respond, so that refusals are measured too.
            .layer(MetricsLayer::new(recorder))
            // Catch it: below this line anything may be refused with a `Rejection`, above it nothing fails.
            .layer(RespondLayer::new().debug(debug))
            // Admit it: before anything that costs.
            .layer(AuthLayer::new(policy))
            // Answer it, if it asks about a task already sent: the most frequent question, so the first answer.
            .layer(StatusLayer::new(keeper))
            // Answer it, if it asks about a service or about us.
            .layer(PagesLayer::new(installation, pages).metrics(metrics))
            // Read it, if it is a submission; the seed's clients send `doc_url` in a form. What may hold files is left.
            .layer(ArgumentsLayer::new(max_body))
            // Keep it, or give it back, if it is a temporary file or has some in its form: both are larger than the
            // body of a submission, and the form's other fields join the arguments.
            .layer(FilesLayer::new(shelf, max_file, max_body as u64))
            // Read the chain, if it is a workflow: its files have URLs by now.
            .layer(WorkflowLayer::new(steps))
            // Find it: a storage id becomes a URL, every URL is judged.
            .layer(DocumentLayer::new(documents))
            // Send it: written down, then answered.
            .layer(DispatchLayer::new(sender))
            // Hand over what is not ours.
            .layer(BeyondLayer)
            .service(application)
    }
}

/// Pins a type error to the line that calls it: `service` is a gateway for requests with body `B`.
pub fn is_gateway<S, B, R>(service: S) -> S
where
    S: Service<Request<B>, Response = Response<Body<R>>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    service
}
