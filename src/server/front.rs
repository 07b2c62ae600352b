//! What stands between hyper and the stack: one for each connection.

use crate::{
    access::Line,
    answer::{Answering, Open},
    body::{Inbound, Outbound},
    count::{Counters, Tally, Ticket},
    current::{Current, Held},
    origin::{ClientAddr, Origins, Rules},
    pace::Pace,
    pulse::Pulse,
    refusal::Refusal,
    request_id::{self, Ids, X_REQUEST_ID},
};
use gateway_contract::BoxError;
use http::{Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::{
    cell::RefCell,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, OnceLock},
    task::{Context, Waker},
    time::Duration,
};
use tokio::time::Instant;
use tower_service::Service;

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) rules: Rules,
    pub(crate) counters: Arc<Counters>,
    pub(crate) max_body: u64,
    pub(crate) max_concurrency: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) request_timeout: Duration,
    /// When connections with nothing under way are closed, once the end has begun.
    draining: OnceLock<Instant>,
}

impl Hub {
    pub(crate) fn new(settings: &crate::Settings, rules: Rules, counters: Arc<Counters>) -> Self {
        Self {
            rules,
            counters,
            max_body: settings.max_body,
            max_concurrency: settings.max_concurrency,
            header_timeout: settings.header_timeout,
            request_timeout: settings.request_timeout,
            draining: OnceLock::new(),
        }
    }

    /// The end has begun; what was said first counts.
    pub(crate) fn drain(&self, close_idle: Instant) {
        let _ = self.draining.set(close_idle);
    }

    pub(crate) fn draining(&self) -> Option<Instant> {
        self.draining.get().copied()
    }
}

/// hyper's service for one connection.
#[derive(Debug)]
pub(crate) struct Front<S> {
    hub: Arc<Hub>,
    tally: Arc<Tally>,
    pulse: Arc<Pulse>,
    peer: IpAddr,
    current: Current<S>,
    /// hyper calls by shared reference, one call after the other; this spares a clone of the stack for each request.
    own: RefCell<Own<S>>,
}

#[derive(Debug)]
struct Own<S> {
    held: Held<S>,
    origins: Origins,
    ids: Ids,
}

impl<S: Clone> Front<S> {
    pub(crate) fn new(hub: Arc<Hub>, tally: Arc<Tally>, pulse: Arc<Pulse>, current: Current<S>, peer: IpAddr) -> Self {
        let origins = Origins::new(&hub.rules, peer);
        let own = RefCell::new(Own { held: current.hold(), origins, ids: Ids::new() });
        Self { hub, tally, pulse, peer, current, own }
    }

    /// Judges a request and makes it ready for the stack.
    fn admit(&self, own: &mut Own<S>, request: &mut Request<Incoming>, open: &mut Open) -> Result<(), Refusal> {
        self.judge(own, request).inspect_err(|_| self.hub.counters.count_malformed())?;
        if let (Some(line), Some(ClientAddr(client))) = (&mut open.line, request.extensions().get()) {
            line.set_client(*client);
        }
        if !is_probe(request.uri().path()) {
            let slot = self.hub.counters.slot(self.hub.max_concurrency).ok_or(Refusal::BUSY)?;
            open.ticket.take(slot);
        }
        request.headers_mut().insert(X_REQUEST_ID, open.id.clone());
        Ok(())
    }

    fn judge(&self, own: &mut Own<S>, request: &mut Request<Incoming>) -> Result<(), Refusal> {
        if self.pulse.conflict() {
            return Err(Refusal::FRAMING);
        }
        let path = request.uri().path();
        let of_server = path == "*" && request.method() == Method::OPTIONS;
        if !path.starts_with('/') && !of_server {
            return Err(Refusal::TARGET);
        }
        own.origins.stamp(&self.hub.rules, request)?;
        if request.body().size_hint().lower() > self.hub.max_body {
            return Err(Refusal::TOO_LARGE);
        }
        Ok(())
    }
}

impl<S, R> hyper::service::Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible> + Clone,
    R: Body<Data = bytes::Bytes, Error: Into<BoxError>>,
{
    type Response = Response<Outbound<R>>;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let start = Instant::now();
        let mut own = self.own.borrow_mut();
        let own = &mut *own;
        let given = if own.origins.trusted() { request_id::given(request.headers()) } else { None };
        let mut open = Open {
            id: given.unwrap_or_else(|| own.ids.next()),
            ticket: Ticket::new(Arc::clone(&self.tally), Arc::clone(&self.pulse)),
            line: Line::new(&request, self.peer, start),
            hub: Arc::clone(&self.hub),
            http1: request.version() < Version::HTTP_2,
        };
        if let Err(refusal) = self.admit(own, &mut request, &mut open) {
            return Answering::refuse(refusal, open);
        }
        if self.current.is_newer(&own.held) {
            own.held = self.current.hold();
        }
        // A stack is always ready (it limits and sheds instead of pushing back); one that is not is shed for.
        if own.held.stack.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Answering::refuse(Refusal::BUSY, open);
        }
        let deadline = start + self.hub.request_timeout;
        let size = request.body().size_hint();
        let pace = Pace::of(size.lower(), size.exact().is_some(), start, self.hub.request_timeout);
        let request = request.map(|incoming| Inbound::new(incoming, self.hub.max_body, deadline, pace.clone()));
        Answering::ask(own.held.stack.call(request), deadline, pace, open)
    }
}

/// Probes and metrics answer however busy the server is: whoever asks decides whether it lives.
fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/healthz" | "/metrics")
}
