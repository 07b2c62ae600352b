//! Gate: finds a submission's document.
//!
//! It judges ids and URLs; nothing is resolved or fetched, so it answers at once.
//!
//! - **Needs** a [`Target`] (`route`) and, for a submission, [`Arguments`] (`arguments`). A request without a target,
//!   or that is no submission to a known service, crosses untouched; so does a workflow, whose steps have the documents.
//! - **Leaves** [`Work`] in the request's extensions and takes the [`Arguments`] out.
//! - **Refuses** a submission without a document to a service that needs one (400, code 206), an id that can be none
//!   (400, code 105), and whatever [`Locate`] refuses (codes 207 and 211).
//!
//! **The document** is the one whose id the path names; else what `doc_url` points at; else there is none. A `doc_url`
//! that is given is judged even if it is not the document, or the service needs none.
//!
//! **`misc`** is made in this order, the later winning:
//!
//! 1. the JSON object of the body, as it is;
//! 2. `<type>_url` for each `storage_<type>_id` (type = what stands between the first and the second underscore);
//! 3. every field whose name ends in `_url`, judged and normalised;
//! 4. every other field, as a string; those that begin with `storage_` are not passed;
//! 5. `upload_url`, which only the gateway sets: a caller's is dropped, wherever it comes from.
//!
//! `ann_doc_id` also names the document whose annotations the worker hands in.
//!
//! ```
//! use gateway_contract::{Arguments, Locate, Place, Rejection, Service, Target, Verb, Work};
//! use gateway_document::DocumentLayer;
//! use http::{Request, Response};
//! use std::{convert::Infallible, sync::Arc};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! #[derive(Clone)]
//! struct Archive;
//!
//! impl Locate for Archive {
//!     fn document(&self, id: &str) -> Result<String, Rejection> {
//!         Ok(format!("http://archive/get/{id}")) // in earnest: percent-encoded
//!     }
//!     fn annotations(&self, id: &str) -> Result<String, Rejection> {
//!         Ok(format!("http://notes/{id}"))
//!     }
//!     fn admit(&self, _name: &str, url: &str) -> Result<String, Rejection> {
//!         Ok(url.into())
//!     }
//!     fn upload(&self) -> Option<String> {
//!         None
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = ServiceBuilder::new().layer(DocumentLayer::new(Archive)).service(service_fn(
//!     async |mut request: Request<()>| Ok::<_, Infallible>(Response::new(request.extensions_mut().remove::<Work>())),
//! ));
//!
//! let stub = Arc::new(Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true });
//! let request = Request::post("/stub/annotate/abc.wav")
//!     .extension(Target { place: Place::Service(stub), verb: Verb::Annotate, document: Some("abc.wav".into()) })
//!     .extension(Arguments::default())
//!     .body(())?;
//!
//! let work = stack.oneshot(request).await?.into_body().expect("a submission is work");
//! assert_eq!(work.document_url.as_deref(), Some("http://archive/get/abc.wav"));
//! # Ok(())
//! # }
//! ```

mod work;

use gateway_contract::{Arguments, Locate, Rejection, Step, Verb, span, target, trace_context};
#[cfg(doc)]
use gateway_contract::{Target, Work};
use http::Request;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service as Tower;

/// Makes [`Document`] services. See the [crate documentation](crate).
#[must_use = "a layer does nothing until it is given a service"]
#[derive(Debug, Clone)]
pub struct DocumentLayer<L> {
    locate: L,
}

impl<L: Locate> DocumentLayer<L> {
    /// Finds documents by `locate`, and lets it judge URLs.
    pub fn new(locate: L) -> Self {
        Self { locate }
    }
}

impl<S, L: Locate> Layer<S> for DocumentLayer<L> {
    type Service = Document<S, L>;

    fn layer(&self, inner: S) -> Document<S, L> {
        Document { inner, locate: self.locate.clone() }
    }
}

/// Finds a submission's document. See the [crate documentation](crate).
#[derive(Debug, Clone)]
pub struct Document<S, L> {
    inner: S,
    locate: L,
}

impl<S, L, B> Tower<Request<B>> for Document<S, L>
where
    S: Tower<Request<B>>,
    S::Error: Into<Rejection>,
    L: Locate,
{
    type Response = S::Response;
    type Error = Rejection;
    type Future = Step<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let submission = target(&request).filter(|target| target.verb.submits() && target.verb != Verb::Workflow);
        let Some((service, document)) = submission.and_then(|t| Some((t.service()?.clone(), t.document.clone())))
        else {
            return Step::pass(self.inner.call(request));
        };
        let Some(arguments) = request.extensions_mut().remove::<Arguments>() else {
            return Step::refuse(Rejection::misplaced("the layer `document` stands below `arguments`"));
        };
        let span = span!(trace_context(&request), "document", "internal");
        match work::find(&self.locate, &service, document.as_deref(), arguments) {
            Ok(work) => {
                drop(span);
                request.extensions_mut().insert(work);
                Step::pass(self.inner.call(request))
            }
            Err(rejection) => {
                span.fail(&rejection.refusal().detail);
                Step::refuse(rejection)
            }
        }
    }
}
