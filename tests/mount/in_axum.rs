//! In axum.

use crate::support::{NOBODY, ask, ask_with_token, builder, do_a_task, gateway, read};
use axum::{Router, body::Body, http::HeaderMap, routing::get};
use http::header;
use tower::ServiceExt;
use tower_layer::Layer;

/// An application with two routes of its own.
fn application() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/token", get(|headers: HeaderMap| async move { format!("{:?}", headers.get(header::AUTHORIZATION)) }))
}

async fn ask_axum(router: &Router, request: axum::http::Request<Body>) -> crate::support::Answer {
    read(router.clone().oneshot(request).await.unwrap()).await
}

/// What must hold wherever the gateway stands in front of the whole application.
async fn holds_in_front(router: &Router) {
    let ours = ask_axum(router, ask("GET", &format!("/echo/status?uuid={NOBODY}"))).await;
    assert_eq!(ours.refusal(), (400, 203), "{ours:?}");
    let theirs = ask_axum(router, ask("GET", "/hello")).await;
    assert_eq!((theirs.status.as_u16(), theirs.text.as_str()), (200, "hello"));
    let nobodys = ask_axum(router, ask("GET", "/nobody")).await;
    assert_eq!((nobodys.status.as_u16(), nobodys.text.as_str()), (404, ""), "axum's own 404, not ours");
    let unknown = ask_axum(router, ask("POST", "/nope/annotate")).await;
    assert_eq!((unknown.status.as_u16(), unknown.text.as_str()), (404, ""), "may be a route of the application");
    let refused = ask_axum(router, ask("POST", "/echo/process")).await;
    assert_eq!(refused.refusal(), (401, 101));

    let request = builder("GET", "/token").header(header::AUTHORIZATION, "not ours").body(Body::empty()).unwrap();
    let theirs = ask_axum(router, request).await;
    assert_eq!(theirs.text, r#"Some("not ours")"#, "the application's tokens are its own affair");
}

#[tokio::test]
async fn as_a_layer_of_a_router() {
    let gateway = gateway().await;
    holds_in_front(&application().layer(gateway.layer())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn round_a_router() {
    let gateway = gateway().await;
    holds_in_front(&Router::new().fallback_service(gateway.layer().layer(application()))).await;
    gateway.stop().await;
}

#[tokio::test]
async fn as_the_fallback_of_a_router() {
    let gateway = gateway().await;
    let router = application().fallback_service(gateway.service());
    let ours = ask_axum(&router, ask("GET", "/info")).await;
    assert_eq!(ours.json()["services"]["echo"]["route_keyword"], "echo");
    let theirs = ask_axum(&router, ask("GET", "/hello")).await;
    assert_eq!(theirs.text, "hello");
    // The gateway is the last one asked, so it may speak for what nobody knows.
    let nobodys = ask_axum(&router, ask("GET", "/nobody")).await;
    assert_eq!(nobodys.refusal(), (404, 100));
    let unknown = ask_axum(&router, ask_with_token("POST", "/nope/annotate")).await;
    assert_eq!(unknown.refusal(), (400, 202));
    gateway.stop().await;
}

#[tokio::test]
async fn nested_under_a_prefix_and_at_work() {
    let gateway = gateway().await;
    let router = application().nest_service("/gateway", gateway.service());
    let theirs = ask_axum(&router, ask("GET", "/hello")).await;
    assert_eq!(theirs.text, "hello");
    do_a_task("/gateway", async |method, path| ask_axum(&router, ask_with_token(method, &path)).await).await;
    gateway.stop().await;
}
