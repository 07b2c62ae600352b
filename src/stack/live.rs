//! The stack in use: a reload exchanges it as a whole, also inside services that a host was given long before.

use super::{Layers, Materials};
use arc_swap::ArcSwap;
use http::Request;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// The whole stack round an application, always the newest one: before each request it asks whether there was a reload
/// (one atomic load), and if so composes the new stack round a clone of the application. A request is answered from
/// its first to its last layer by one stack.
pub struct Live<S> {
    source: Arc<ArcSwap<Materials>>,
    held: Arc<Materials>,
    alone: bool,
    application: S,
    stack: Layers<S>,
}

impl<S: Clone> Live<S> {
    pub(super) fn new(source: Arc<ArcSwap<Materials>>, alone: bool, application: S) -> Self {
        let held = source.load_full();
        let stack = held.compose(alone, application.clone());
        Self { source, held, alone, application, stack }
    }

    fn follow(&mut self) {
        let newest = self.source.load();
        if !Arc::ptr_eq(&newest, &self.held) {
            self.held = Arc::clone(&newest);
            self.stack = self.held.compose(self.alone, self.application.clone());
        }
    }
}

impl<S: Clone> Clone for Live<S> {
    fn clone(&self) -> Self {
        let Self { source, held, alone, application, stack } = self;
        let (source, held, application, stack) = (source.clone(), held.clone(), application.clone(), stack.clone());
        Self { source, held, alone: *alone, application, stack }
    }
}

impl<S> fmt::Debug for Live<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("alone", &self.alone).finish_non_exhaustive()
    }
}

impl<S, B> Service<Request<B>> for Live<S>
where
    S: Clone,
    Layers<S>: Service<Request<B>>,
{
    type Response = <Layers<S> as Service<Request<B>>>::Response;
    type Error = <Layers<S> as Service<Request<B>>>::Error;
    type Future = <Layers<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Here and not in `call`: a stack is asked whether it is ready before it is called.
        self.follow();
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.stack.call(request)
    }
}
