//! In front of an application that is like nothing of ours: other bodies, other errors.

use crate::support::{NOBODY, ask, builder, gateway, read};
use bytes::Bytes;
use gateway_contract::{Body, BoxError, Rejection, Side};
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use service_gateway::stack::is_gateway;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};
use tower::ServiceExt;
use tower_layer::Layer;

/// The application's body, in and out: frames in a row, the last of which may be a fault.
#[derive(Debug, Default, PartialEq)]
struct Frames(Vec<Result<Bytes, Torn>>);

/// The application's body error.
#[derive(Debug, Clone, PartialEq)]
struct Torn(u8);

/// The application's own error.
#[derive(Debug)]
struct OutOfOrder;

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("torn")
    }
}

impl std::error::Error for Torn {}

impl From<OutOfOrder> for Rejection {
    fn from(OutOfOrder: OutOfOrder) -> Self {
        Rejection::new(StatusCode::IM_A_TEAPOT, 100, Side::Outside, "out of order")
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        Poll::Ready((!self.0.is_empty()).then(|| self.0.remove(0).map(Frame::data)))
    }
}

/// Gives back the body it was sent; `/fail` fails.
async fn application(request: Request<Frames>) -> Result<Response<Frames>, OutOfOrder> {
    if request.uri().path() == "/fail" {
        return Err(OutOfOrder);
    }
    let mut response = Response::new(request.into_body());
    response.headers_mut().insert("x-theirs", header::HeaderValue::from_static("yes"));
    Ok(response)
}

fn frames() -> Frames {
    Frames(vec![Ok(Bytes::from_static(b"one")), Ok(Bytes::from_static(b"two")), Err(Torn(3))])
}

#[tokio::test]
async fn its_bodies_are_untouched_in_both_directions() {
    let gateway = gateway().await;
    let stack = is_gateway::<_, Frames, _>(gateway.layer().layer(tower::service_fn(application)));
    let request = builder("PUT", "/anything?x=1").body(frames()).unwrap();
    let response = stack.oneshot(request).await.unwrap();
    assert_eq!(response.headers().len(), 1, "nothing of ours is added: {:?}", response.headers());
    assert_eq!(response.headers()["x-theirs"], "yes");
    let Body::Inner { body } = response.into_body() else { panic!("not the application's own body") };
    assert_eq!(body, frames(), "the very same value came through the application and back");
    gateway.stop().await;
}

#[tokio::test]
async fn its_body_errors_are_its_own() {
    let gateway = gateway().await;
    let stack = gateway.layer().layer(tower::service_fn(application));
    let mut body = stack.oneshot(builder("PUT", "/x").body(frames()).unwrap()).await.unwrap().into_body();
    for expected in ["one", "two"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
    }
    let error: BoxError = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Torn>(), Some(&Torn(3)));
    gateway.stop().await;
}

#[tokio::test]
async fn its_failures_say_what_it_wants_them_to_say() {
    let gateway = gateway().await;
    let stack = gateway.layer().layer(tower::service_fn(application));
    let answer = read(stack.oneshot(ask::<Frames>("GET", "/fail")).await.unwrap()).await;
    assert_eq!((answer.status, answer.json()["description"].as_str()), (StatusCode::IM_A_TEAPOT, Some("out of order")));

    // An application that only has a box of errors is answered for with 502, and its text is for the log alone.
    let boxed = tower::service_fn(|_: Request<Frames>| async { Err::<Response<Frames>, BoxError>("a secret".into()) });
    let stack = gateway.layer().layer(boxed);
    let answer = read(stack.oneshot(ask::<Frames>("GET", "/x")).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(!answer.text.contains("secret"), "{answer:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_ours_never_reaches_it() {
    let gateway = gateway().await;
    let never = tower::service_fn(|request: Request<Frames>| async move {
        Err::<Response<Frames>, BoxError>(format!("{} came through", request.uri()).into())
    });
    let stack = gateway.layer().layer(never);
    let uri = format!("/echo/status?uuid={NOBODY}");
    let answer = read(stack.clone().oneshot(ask::<Frames>("GET", &uri)).await.unwrap()).await;
    assert_eq!(answer.refusal(), (400, 203));
    let answer = read(stack.clone().oneshot(ask::<Frames>("POST", "/quiet/annotate")).await.unwrap()).await;
    assert_eq!(answer.refusal(), (401, 101));
    let answer = read(stack.oneshot(ask::<Frames>("GET", "/echo/doc")).await.unwrap()).await;
    assert_eq!(answer.refusal(), (404, 100), "a page that is not configured is still ours");
    gateway.stop().await;
}

#[tokio::test]
async fn its_root_and_its_probes_are_its_own() {
    let gateway = gateway().await;
    let stack = gateway.layer().layer(tower::service_fn(application));
    for path in ["/", "/doc", "/stats", "/livez", "/readyz", "/metrics", "/nope/status", "/echo/else"] {
        let response = stack.clone().oneshot(ask::<Frames>("GET", path)).await.unwrap();
        assert!(response.headers().contains_key("x-theirs"), "{path}");
    }
    gateway.stop().await;
}
