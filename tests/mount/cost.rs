//! What a request costs beside time: clones and room.

use crate::support::{NOBODY, ask, ask_with_token, gateway};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// An application that counts its clones.
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, SeqCst);
        Self(self.0.clone())
    }
}

impl Service<Request<Full<Bytes>>> for Counted {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}

#[tokio::test]
async fn only_a_submission_clones_the_stack_and_only_once() {
    let gateway = gateway().await;
    let clones = Arc::<AtomicUsize>::default();
    let mut stack = gateway.layer().layer(Counted(clones.clone()));
    let status = format!("/echo/status?uuid={NOBODY}");
    let asked = [
        (ask("GET", &status), 0, "status"),
        (ask("GET", "/theirs"), 0, "what is not ours"),
        (ask("POST", "/echo/process"), 0, "refused"),
        (ask_with_token("POST", &format!("/echo/cancel?uuid={NOBODY}")), 0, "cancel"),
        (ask("GET", "/echo/info"), 0, "info"),
        (ask_with_token("POST", "/echo/process"), 1, "accepted"),
    ];
    for (request, expected, what) in asked {
        let before = clones.load(SeqCst);
        std::future::poll_fn(|cx| Service::<Request<Full<Bytes>>>::poll_ready(&mut stack, cx)).await.unwrap();
        stack.call(request).await.unwrap();
        assert_eq!(clones.load(SeqCst) - before, expected, "{what}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn stack_and_future_stay_small() {
    let gateway = gateway().await;
    let mut stack = gateway.layer().layer(Counted(Arc::default()));
    // A connection holds one stack, a request one future: a type that grows tenfold by accident is noticed here.
    assert!(size_of_val(&stack) <= 256, "the stack takes {} bytes", size_of_val(&stack));
    let future = stack.call(ask("GET", "/theirs"));
    assert!(size_of_val(&future) <= 512, "a request's future takes {} bytes", size_of_val(&future));
    future.await.unwrap();
    gateway.stop().await;
}
