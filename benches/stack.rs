//! What the stack itself costs a request: no socket, no runtime, no store; one request at a time on one thread.
//!
//! ```text
//! cargo bench --bench stack
//! ```
//!
//! `layers/*` put one layer after the other round an application that answers at once, so that the difference of two
//! lines is what a layer costs. `whole/*` is the stack as `stack.rs` composes it. Making the request is not measured,
//! dropping the answer is.

mod support {
    pub(crate) mod stack;
}

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use gateway_arguments::ArgumentsLayer;
use gateway_auth::AuthLayer;
use gateway_dispatch::DispatchLayer;
use gateway_document::DocumentLayer;
use gateway_metrics::{MetricsLayer, Recorder};
use gateway_respond::RespondLayer;
use gateway_route::RouteLayer;
use gateway_status::StatusLayer;
use http::{Request, Response};
use http_body_util::Full;
use service_gateway::stack::BeyondLayer;
use std::{hint::black_box, time::Duration};
use support::stack::{Archive, At, Fake, Known, Running, application, policy, routes, status, submission};
use tower::ServiceBuilder;
use tower_service::Service;

/// Measures `stack` with requests like `request`: whatever it does must be done when it is first polled.
fn measure<S, X>(criterion: &mut Criterion, name: &str, mut stack: S, request: impl Fn() -> Request<Full<Bytes>>)
where
    S: Service<Request<Full<Bytes>>, Response = Response<X>>,
{
    let answer = stack.call(request()).now_or_never().and_then(Result::ok).expect("an answer at once");
    assert!(answer.status().is_success(), "{name}: {}", answer.status());
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            &request,
            |request| black_box(stack.call(request).now_or_never().is_some()),
            BatchSize::SmallInput,
        );
    });
}

/// The layers that a status crosses, one more in each line.
fn layers(criterion: &mut Criterion) {
    let known = Known::new();
    let ask = || status(known.id());
    let recorder = || MetricsLayer::new(Recorder::new(&["stub"]));
    let route = || RouteLayer::new(routes());

    measure(criterion, "layers/0 application alone", application(), ask);
    let stack = ServiceBuilder::new().layer(route()).service(application());
    measure(criterion, "layers/1 route", stack, ask);
    let stack = ServiceBuilder::new().layer(route()).layer(recorder()).service(application());
    measure(criterion, "layers/2 + metrics", stack, ask);
    let to_respond = || ServiceBuilder::new().layer(route()).layer(recorder()).layer(RespondLayer::new());
    measure(criterion, "layers/3 + respond", to_respond().service(application()), ask);
    let public = to_respond().layer(AuthLayer::new(policy(&["status"]))).service(application());
    measure(criterion, "layers/4 + auth, a public verb", public, ask);
    let (policy, token) = (policy(&[]), support::stack::token());
    let with_token = || At::authorised(status(known.id()), &token);
    let cached = to_respond().layer(AuthLayer::new(policy)).service(application());
    measure(criterion, "layers/4 + auth, a token known already", cached, with_token);
    let hit = to_respond().layer(AuthLayer::new(support::stack::policy(&["status"])));
    let hit = hit.layer(StatusLayer::new(known.clone())).service(application());
    measure(criterion, "layers/5 + status, a task known already", hit, ask);
}

/// A submission, from the path to what would write it down.
fn submit(criterion: &mut Criterion) {
    let token = support::stack::token();
    let stack = ServiceBuilder::new()
        .layer(RouteLayer::new(routes()))
        .layer(MetricsLayer::new(Recorder::new(&["stub"])))
        .layer(RespondLayer::new())
        .layer(AuthLayer::new(policy(&[])))
        .layer(ArgumentsLayer::new(2 << 20))
        .layer(DocumentLayer::new(Archive))
        .layer(DispatchLayer::new(Fake))
        .layer(BeyondLayer)
        .service(application());
    measure(criterion, "submit/up to the sender", stack, || At::authorised(submission(), &token));
}

/// The stack of a running gateway.
fn whole(criterion: &mut Criterion) {
    let running = Running::start();
    let id = running.task();
    measure(criterion, "whole/status", running.gateway().service(), || status(id));
    measure(criterion, "whole/not ours", running.in_front_of_an_application(), || At::path("/hello"));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = layers, submit, whole
}
criterion_main!(benches);
