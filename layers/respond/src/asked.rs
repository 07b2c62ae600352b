//! What has to be known of a request once it is gone.

use crate::{accept::Accept, format::Formats};
use gateway_contract::{Base, Place, Service, TraceContext, Verb, target, trace_context};
use http::{HeaderName, HeaderValue, Method, Request};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is told back, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// What has to be known of a request once it is gone.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What was asked, if it was ours to answer.
    pub(crate) verb: Option<Verb>,
    /// Whom it was about.
    pub(crate) place: Option<Place>,
    /// How the client reaches us; only where a page of ours may need it.
    pub(crate) base: Option<Base>,
    /// `x-request-id`, if it is fit to be told back.
    pub(crate) request_id: Option<HeaderValue>,
    /// Its trace; for the log.
    pub(crate) trace: Option<TraceContext>,
    /// In which format each kind of answer is shown.
    pub(crate) formats: Formats,
    /// Was only the head of the answer asked for?
    pub(crate) head: bool,
    /// Are causes shown to the client?
    pub(crate) debug: bool,
}

impl Asked {
    pub(crate) fn of<B>(request: &Request<B>, debug: bool) -> Self {
        let target = target(request);
        let formats = Formats::of(&Accept::of(request.headers()), target);
        // Counting one more user of it is spared where nobody will ask.
        let base = formats.may_be_html().then(|| request.extensions().get().cloned()).flatten();
        Self {
            verb: target.map(|target| target.verb),
            place: target.map(|target| target.place.clone()),
            base,
            trace: trace_context(request).cloned(),
            request_id: request.headers().get(REQUEST_ID).filter(|id| is_fit(id)).cloned(),
            formats,
            head: *request.method() == Method::HEAD,
            debug,
        }
    }

    /// The service it was about; for the log.
    pub(crate) fn service(&self) -> Option<&Service> {
        match &self.place {
            Some(Place::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// The request's id as text.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|id| id.to_str().ok())
    }
}

/// A request id comes from the client or from the server above us: only what is short and visible is told back.
fn is_fit(id: &HeaderValue) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}
