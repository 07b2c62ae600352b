//! Gate: reads a chain of services that the workflow service is to run.
//!
//! It judges the chain by its text; nothing is asked, so it answers at once.
//!
//! - **Needs** a [`Target`](gateway_contract::Target) with [`Verb::Workflow`] (`route`) and [`Arguments`] (`arguments`,
//!   `files`); everything else passes. Reads [`Base`](gateway_contract::Base) and `Authorization`.
//! - **Leaves** [`Work`] in the request's extensions and takes the [`Arguments`] out.
//! - **Refuses** a form without a field `json` (or `null` in it), a chain without `services` and a step without
//!   `service_name` (400, code 206); JSON that is malformed or of another shape, more than [`MAX_STEPS`] steps, a step
//!   that names the workflow service itself, a [place-holder](Placeholder) that is none, and a document that is a
//!   place-holder of which no earlier step knows (400, code 105); where the layer is told which services there are, a
//!   step that names another (400, code 202).
//!
//! # The chain
//!
//! The form's field `json` holds an object with a list `services`, one table a step, in order: its `service_name`, and
//! whatever that service takes: `{"service_name": "transcoder", "url": "file1", "target": "s__audio.wav__e"}`.
//!
//! A string anywhere in it that is the name of an uploaded file's field becomes that file's URL. Place-holders stay: who
//! runs the chain gives each its URL. The worker's `misc` is the object, and
//!
//! | key | what |
//! |---|---|
//! | `stateful` | `false` |
//! | `sg_url` | where this gateway is reached, with a slash at the end |
//! | `sg_token` | the caller's `Authorization`, if there is one: a secret |
//!
//! ```
//! use gateway_contract::{Arguments, Place, Rejection, Service, Target, Upload, Verb, Work};
//! use gateway_workflow::WorkflowLayer;
//! use http::{Request, Response};
//! use std::sync::Arc;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = ServiceBuilder::new().layer(WorkflowLayer::new(None)).service(service_fn(
//!     async |mut request: Request<()>| Ok::<_, Rejection>(Response::new(request.extensions_mut().remove::<Work>())),
//! ));
//!
//! let name = Service::WORKFLOW;
//! let service = Service { index: 0, name: name.into(), route: name.into(), requires_document: false };
//! let chain = r#"{"services": [{"service_name": "words", "url": "my file"}]}"#;
//! let file = Upload { field: "my file".into(), url: "http://h/temporary_file/x".into(), digest: "00".into() };
//! let request = Request::post("/simple_workflow/process")
//!     .header("host", "h")
//!     .extension(Target { place: Place::Service(Arc::new(service)), verb: Verb::Workflow, document: None })
//!     .extension(Arguments {
//!         fields: [("json".to_owned(), chain.into())].into_iter().collect(),
//!         uploads: vec![file],
//!         ..Arguments::default()
//!     })
//!     .body(())?;
//!
//! let work = stack.oneshot(request).await?.into_body().expect("a chain is work");
//! assert_eq!(work.misc["services"][0]["url"], "http://h/temporary_file/x");
//! assert_eq!(work.misc["sg_url"], "http://h/");
//! # Ok(())
//! # }
//! ```

mod chain;
mod fault;
mod placeholder;

pub use chain::MAX_STEPS;
pub use placeholder::{MAX_ID, Malformed, Placeholder};

use chain::Chain;
use gateway_contract::{Arguments, Rejection, Service, Step, Verb, Work, place, target};
use http::{Request, header::AUTHORIZATION};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service as Tower;

/// Makes [`Workflow`] services. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone)]
pub struct WorkflowLayer {
    services: Option<Arc<[Box<str>]>>,
}

impl WorkflowLayer {
    /// With the routes of all services, if a step that names another cannot work; `None`: whoever runs the chain judges
    /// that.
    pub fn new(services: Option<Arc<[Box<str>]>>) -> Self {
        Self { services }
    }
}

impl<S> Layer<S> for WorkflowLayer {
    type Service = Workflow<S>;

    fn layer(&self, inner: S) -> Workflow<S> {
        Workflow { inner, services: self.services.clone() }
    }
}

/// Reads a chain of services. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct Workflow<S> {
    inner: S,
    services: Option<Arc<[Box<str>]>>,
}

impl<S, B> Tower<Request<B>> for Workflow<S>
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
        let workflow = target(&request).filter(|target| target.verb == Verb::Workflow);
        let Some(service) = workflow.and_then(|target| target.service()).cloned() else {
            return Step::pass(self.inner.call(request));
        };
        let Some(arguments) = request.extensions_mut().remove::<Arguments>() else {
            return Step::refuse(Rejection::misplaced("the layer `workflow` stands below `arguments`"));
        };
        match self.work(&service, &arguments, &request) {
            Ok(work) => {
                request.extensions_mut().insert(work);
                Step::pass(self.inner.call(request))
            }
            Err(fault) => Step::refuse(fault),
        }
    }
}

impl<S> Workflow<S> {
    fn work<B>(&self, service: &Service, arguments: &Arguments, request: &Request<B>) -> Result<Work, fault::Fault> {
        let chain = Chain::read(arguments)?;
        chain.judge(service, self.services.as_deref())?;
        let essence = chain.essence(&arguments.uploads);
        let mut misc = chain.with_files(&arguments.uploads);
        misc.insert("stateful".into(), false.into());
        misc.insert("sg_url".into(), format!("{}/", place(request)).into());
        misc.shift_remove("sg_token");
        for limit in ["wait_limit", "run_limit"] {
            if let Some(value) = arguments.fields.get(limit) {
                misc.insert(limit.into(), value.clone());
            }
        }
        if let Some(token) = request.headers().get(AUTHORIZATION).and_then(|token| token.to_str().ok()) {
            misc.insert("sg_token".into(), token.into());
        }
        Ok(Work { document_url: None, annotations_url: None, misc, essence: Some(essence) })
    }
}
