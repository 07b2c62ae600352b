//! What every path asks for, mounted and alone.

use gateway_contract::{Page, Place, Service, Target, Verb, target};
use gateway_route::{RESERVED, RouteError, RouteLayer, Routes};
use http::Request;
use std::{convert::Infallible, sync::Arc};
use tower::{Layer, ServiceExt, service_fn};

fn service(index: u16, name: &str, route: &str) -> Arc<Service> {
    Arc::new(Service { index, name: name.into(), route: route.into(), requires_document: true })
}

fn routes(routed: &[&str]) -> Arc<Routes> {
    let services = routed.iter().zip(0..).map(|(route, index)| service(index, &format!("service{index}"), route));
    Arc::new(Routes::new(services).expect("these routes are fine"))
}

/// The stamp as text: `place verb document`, or `none`.
async fn ask(layer: RouteLayer, path: &str) -> String {
    ask_by("GET", layer, path).await
}

async fn ask_by(method: &str, layer: RouteLayer, path: &str) -> String {
    let stack = layer.layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(target(&request).map_or("none".to_owned(), show))
    }));
    let request = Request::builder().method(method).uri(path).body(()).expect("a valid path");
    stack.oneshot(request).await.expect("infallible")
}

fn show(target: &Target) -> String {
    let place = match &target.place {
        Place::Service(service) => &*service.route,
        Place::UnknownService => "unknown",
        Place::Gateway => "gateway",
        Place::Platform => "platform",
    };
    let verb = match target.verb {
        Verb::Page(page) => page.name(),
        Verb::ErrorPage(ref status) => status.as_str(),
        verb => verb.name(),
    };
    format!("{place} {verb} {}", target.document.as_deref().unwrap_or("")).trim_end().to_owned()
}

async fn check(layer: RouteLayer, cases: &[(&str, &str)]) {
    for (path, expected) in cases {
        assert_eq!(ask(layer.clone(), path).await, *expected, "{path}");
    }
}

#[tokio::test]
async fn a_known_service_is_found_however_the_gateway_stands() {
    let cases = [
        ("/stub/annotate", "stub annotate"),
        ("/stub/annotate/abc.wav", "stub annotate abc.wav"),
        ("/stub/annotate/a%20b%C3%A9?x=1", "stub annotate a bé"),
        ("/stub/process", "stub process"),
        ("/stub/process/1", "stub process 1"),
        ("/stub/status?uuid=/a/b", "stub status"),
        ("/stub/%73tatus", "stub status"),
        ("/%73tub/cancel", "stub cancel"),
        ("/stub/info", "stub info"),
        ("/stub/service/info", "stub info"),
        ("/stub/stats", "stub stats"),
        ("/stub/service/stats", "stub stats"),
        ("/stub/needs", "stub needs"),
        ("/needs", "gateway needs"),
        ("/stub/", "stub home"),
        ("/stub", "stub bare"),
        ("/%C3%A9t%C3%A9/status", "été status"),
        ("/platform/info", "platform info"),
        ("/platform/stats", "platform stats"),
        ("/platform/", "platform home"),
        ("/platform/factsheet", "platform factsheet"),
        ("/info", "gateway info"),
        ("/service/info", "gateway info"),
    ];
    let routes = routes(&["stub", "été"]);
    check(RouteLayer::new(routes.clone()), &cases).await;
    check(RouteLayer::alone(routes), &cases).await;
}

#[tokio::test]
async fn every_page_is_found_with_and_without_service() {
    let layer = RouteLayer::new(routes(&["stub"]));
    for page in Page::ALL.into_iter().filter(|page| *page != Page::Home) {
        let expected = format!("stub {}", page.name());
        for path in [format!("/stub/{}", page.name()), format!("/stub/service/{}", page.name())] {
            assert_eq!(ask(layer.clone(), &path).await, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_path_of_ours_gets_no_target() {
    let cases = [
        "/stub/home",
        "/stub/service",
        "/stub/service/",
        "/stub/service/home",
        "/stub/service/annotate",
        "/stub/annotate/",
        "/stub/annotate/a/b",
        "/stub/annotate/a/",
        "/stub/annotate/a%2Fb",
        "/stub/annotate/a%20b%2Fc%C3%A9.mp4",
        "/stub/annotate/%2e%2e",
        "/stub/annotate/.",
        "/stub/annotate/%FF",
        "/%FF/annotate",
        "/stub/status/",
        "/stub/status/x",
        "/stub/%FF",
        "/stub//",
        "//stub/status",
        "/Stub/nothing",
        "/nope",
        "/nope/",
        "/nope/service/",
        "/does/not/exist",
        "/platform",
        "/platform/annotate",
        "/platform/service/info",
        "/platform/info/x",
        "/service/annotate",
        "/annotate",
        "/annotate/x",
        "/status",
        "/livez/",
        "/metrics/x",
        "/temporary_file/",
        "/temporary_file/a/b",
        "/temporary_file/../a",
        "/temporary_file/%FF",
        "/temporary_upload_path/x",
        "/static/info",
        "*",
    ];
    let routes = routes(&["stub"]);
    for path in cases {
        assert_eq!(ask(RouteLayer::alone(routes.clone()), path).await, "none", "{path}");
        assert_eq!(ask(RouteLayer::new(routes.clone()), path).await, "none", "{path}");
    }
}

#[tokio::test]
async fn a_known_verb_under_an_unknown_service_is_told_apart_only_alone() {
    let cases = [
        ("/nope/annotate", "unknown annotate"),
        ("/nope/process/x", "unknown process x"),
        ("/nope/status", "unknown status"),
        ("/nope/info", "unknown info"),
        ("/nope/service/stats", "unknown stats"),
        ("/nope/doc", "unknown doc"),
    ];
    let routes = routes(&["stub"]);
    check(RouteLayer::alone(routes.clone()), &cases).await;
    for (path, _) in cases {
        assert_eq!(ask(RouteLayer::new(routes.clone()), path).await, "none", "{path}");
    }
}

#[tokio::test]
async fn the_root_is_the_platforms_alone_and_the_applications_when_mounted() {
    let cases = [
        ("/", "platform home"),
        ("/doc", "platform doc"),
        ("/service/doc", "platform doc"),
        ("/stats", "platform stats"),
        ("/service/stats", "platform stats"),
        ("/livez", "gateway livez"),
        ("/readyz", "gateway readyz"),
        ("/healthz", "gateway readyz"),
        ("/metrics", "gateway metrics"),
    ];
    let routes = routes(&["stub"]);
    check(RouteLayer::alone(routes.clone()), &cases).await;
    for (path, _) in cases {
        assert_eq!(ask(RouteLayer::new(routes.clone()), path).await, "none", "{path}");
    }
}

#[tokio::test]
async fn a_temporary_file_is_found_by_path_and_method() {
    let cases = [
        ("GET", "/temporary_upload_path?extension=wav", "gateway upload_path"),
        ("POST", "/temporary_file", "gateway upload"),
        ("GET", "/temporary_file", "gateway upload"),
        ("POST", "/temporary_file/a.wav", "gateway upload a.wav"),
        ("GET", "/temporary_file/a%20b", "gateway download a b"),
        ("HEAD", "/temporary_file/status", "gateway download status"),
        ("PUT", "/temporary_file/a", "gateway download a"),
        // Its name is judged where it is used.
        ("POST", "/temporary_file/..%2f..%2Fetc%2fpasswd", "gateway upload ../../etc/passwd"),
    ];
    let routes = routes(&["stub", "."]);
    for (method, path, expected) in cases {
        for layer in [RouteLayer::alone(routes.clone()), RouteLayer::new(routes.clone())] {
            assert_eq!(ask_by(method, layer, path).await, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn error_pages_are_for_a_proxy_that_has_none() {
    let pages = ["400", "401", "403", "404", "405", "408", "413", "429", "500", "502", "503", "504"];
    let not = ["/200", "/418", "/600", "/4040", "/40", "/0404", "/404/", "/404/x", "/503/status", "/platform/404"];
    for routes in [routes(&["stub"]), routes(&["."])] {
        for page in pages {
            let (path, expected) = (format!("/{page}"), format!("gateway {page}"));
            assert_eq!(ask(RouteLayer::alone(routes.clone()), &path).await, expected);
            assert_eq!(ask(RouteLayer::new(routes.clone()), &path).await, "none", "the application's own: {path}");
            assert!(RESERVED.contains(&page), "{page}");
        }
        for path in not {
            assert_eq!(ask(RouteLayer::alone(routes.clone()), path).await, "none", "{path}");
        }
    }
}

#[tokio::test]
async fn the_service_routed_dot_answers_without_a_segment() {
    let both = [
        ("/annotate", ". annotate"),
        ("/process/x", ". process x"),
        ("/status", ". status"),
        ("/cancel", ". cancel"),
        ("/info", "gateway info"),
        ("/stub/status", "stub status"),
        ("/annotate/", "none"),
    ];
    let alone = [("/", ". home"), ("/stats", ". stats"), ("/service/stats", ". stats"), ("/doc", ". doc")];
    let mounted = [("/", "none"), ("/stats", "none"), ("/doc", "none"), ("/./annotate", "none")];
    let routes = routes(&[".", "stub"]);
    check(RouteLayer::alone(routes.clone()), &both).await;
    check(RouteLayer::alone(routes.clone()), &alone).await;
    check(RouteLayer::new(routes.clone()), &both).await;
    check(RouteLayer::new(routes), &mounted).await;
}

#[test]
fn a_route_is_one_segment_free_and_not_reserved() {
    let fault = |routed: &[&str]| {
        let services = routed.iter().zip(["a", "b"]).zip(0..).map(|((route, name), i)| service(i, name, route));
        Routes::new(services).expect_err("a fault")
    };
    for reserved in RESERVED {
        assert!(matches!(fault(&[reserved]), RouteError::Reserved { .. }), "{reserved}");
    }
    for odd in ["", "..", "a/b", "/"] {
        assert!(matches!(fault(&[odd]), RouteError::NotASegment { .. }), "{odd}");
    }
    for route in ["x", "."] {
        let duplicate = RouteError::Duplicate { route: route.into(), first: "a".into(), second: "b".into() };
        assert_eq!(fault(&[route, route]), duplicate);
    }
    for verb in ["annotate", "process", "status", "cancel"] {
        let shadowed = RouteError::Shadowed { service: "a".into(), route: verb.into(), root: "b".into() };
        assert_eq!(fault(&[verb, "."]), shadowed);
    }
    assert!(Routes::new([service(0, "simple_workflow", "simple_workflow")]).is_ok());
    assert!(Routes::new([service(0, "status", "status")]).is_ok(), "nothing is routed \".\" beside it");
}

#[tokio::test]
async fn the_request_itself_is_left_as_it_was() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<&str>, u8>();
    let stack = RouteLayer::new(routes(&["stub"])).layer(mock);
    let request = Request::post("/stub/annotate?a=1").header("x", "y").body("body").expect("a request");
    let answer = tokio::spawn(stack.oneshot(request));
    let (seen, respond) = handle.next_request().await.expect("it comes through");
    assert_eq!((seen.uri().to_string().as_str(), seen.headers().len()), ("/stub/annotate?a=1", 1));
    assert_eq!(*seen.body(), "body");
    respond.send_response(7);
    assert_eq!(answer.await.expect("no panic").expect("an answer"), 7);
}
