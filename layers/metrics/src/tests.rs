use crate::{
    MetricsLayer, Recorder,
    recorder::{BOUNDS, Outcome},
};
use gateway_contract::{BoxError, Page, Place, Service, Target, Verb};
use http::{Method, Request, Response, StatusCode};
use std::{
    collections::HashSet,
    future::{Future, pending, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_test::mock;

const COUNT: &str = "http_server_request_duration_seconds_count";

fn service(index: u16) -> Place {
    Place::Service(Arc::new(Service { index, name: "s".into(), route: "s".into(), requires_document: true }))
}

fn asks(place: Place, verb: Verb) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(Target { place, verb, document: None });
    request
}

fn rendered(recorder: &Recorder) -> String {
    let mut text = String::new();
    recorder.render(&mut text);
    text
}

/// The counts that are shown, as service, verb, method, outcome and number.
fn counts(recorder: &Recorder) -> Vec<String> {
    let text = rendered(recorder);
    let lines = text.lines().filter_map(|line| line.strip_prefix(COUNT));
    let names = ["verb=", "http_request_method=", "http_response_status_code=", "error_type="];
    let bare = |line: &str| names.iter().fold(line.replace(['{', '}', '"'], ""), |line, name| line.replace(name, ""));
    lines.map(bare).collect()
}

async fn serve(recorder: &Recorder, request: Request<()>, status: u16) {
    let inner = service_fn(move |_: Request<()>| async move {
        Ok::<_, BoxError>(Response::builder().status(status).body("body").unwrap())
    });
    let response = MetricsLayer::new(recorder.clone()).layer(inner).oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), *response.body()), (status, "body"));
}

#[tokio::test]
async fn each_combination_counts_apart() {
    let recorder = Recorder::new(&["a", "b"]);
    serve(&recorder, asks(service(0), Verb::Status), 200).await;
    serve(&recorder, asks(service(0), Verb::Status), 204).await;
    for (method, status) in [("HEAD", 200), ("BREW", 404)] {
        let mut request = asks(service(0), Verb::Status);
        *request.method_mut() = method.parse().unwrap();
        serve(&recorder, request, status).await;
    }
    serve(&recorder, asks(service(1), Verb::Cancel), 503).await;
    serve(&recorder, asks(service(1), Verb::Page(Page::Doc)), 302).await;
    serve(&recorder, asks(Place::UnknownService, Verb::Annotate), 101).await;
    serve(&recorder, asks(Place::Gateway, Verb::Metrics), 999).await;
    serve(&recorder, asks(Place::Platform, Verb::Page(Page::TryMe)), 200).await;
    let expected = [
        "service=,annotate,GET,100 1",
        "service=,pages,GET,200 1",
        "service=,metrics,GET,500 1",
        "service=a,status,GET,200 1",
        "service=a,status,GET,204 1",
        "service=a,status,HEAD,200 1",
        "service=a,status,_OTHER,404 1",
        "service=b,cancel,GET,503 1",
        "service=b,pages,GET,302 1",
    ];
    assert_eq!(counts(&recorder), expected);
    assert_eq!(recorder.active(), 0);
}

#[tokio::test]
async fn an_index_beyond_the_table_counts_as_no_service() {
    let recorder = Recorder::new(&["a"]);
    serve(&recorder, asks(service(u16::MAX), Verb::Info), 200).await;
    serve(&recorder, asks(service(1), Verb::Info), 200).await;
    assert_eq!(counts(&recorder), ["service=,info,GET,200 2"]);
}

#[tokio::test]
async fn an_error_is_an_outcome() {
    let recorder = Recorder::new(&["a"]);
    let inner = service_fn(|_: Request<()>| async { Err::<Response<()>, BoxError>("boom".into()) });
    let error = MetricsLayer::new(recorder.clone()).layer(inner).oneshot(asks(service(0), Verb::Info)).await;
    assert_eq!(error.unwrap_err().to_string(), "boom");
    assert_eq!(counts(&recorder), ["service=a,info,GET,error 1"]);
}

#[tokio::test]
async fn what_is_dropped_was_cancelled() {
    let recorder = Recorder::new(&["a"]);
    let inner = service_fn(|_: Request<()>| pending::<Result<Response<()>, BoxError>>());
    let service = MetricsLayer::new(recorder.clone()).layer(inner);
    let mut asked = Box::pin(service.oneshot(asks(self::service(0), Verb::Status)));
    let waits = poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx).is_pending())).await;
    assert!(waits);
    assert_eq!((recorder.active(), counts(&recorder).len()), (1, 0));
    assert!(rendered(&recorder).ends_with("\nhttp_server_active_requests 1\n"));
    drop(asked);
    assert_eq!((recorder.active(), counts(&recorder)), (0, vec!["service=a,status,GET,cancelled 1".to_owned()]));
}

#[tokio::test]
async fn a_panic_below_leaves_no_request_active() {
    let recorder = Recorder::new(&["a"]);
    let inner = service_fn(|request: Request<()>| async move {
        assert!(request.extensions().is_empty(), "it panics");
        Ok::<_, BoxError>(Response::new(()))
    });
    let asked = MetricsLayer::new(recorder.clone()).layer(inner).oneshot(asks(service(0), Verb::Status));
    assert!(tokio::spawn(asked).await.unwrap_err().is_panic());
    assert_eq!((recorder.active(), counts(&recorder)), (0, vec!["service=a,status,GET,cancelled 1".to_owned()]));
}

#[tokio::test]
async fn a_request_without_target_crosses_uncounted() {
    let recorder = Recorder::new(&["a"]);
    let (inner, mut handle) = mock::pair::<Request<&'static str>, Response<&'static str>>();
    let request = Request::post("/theirs").header("x-a", "1").body("theirs").unwrap();
    let asked = tokio::spawn(MetricsLayer::new(recorder.clone()).layer(inner).oneshot(request));
    let (seen, send) = handle.next_request().await.unwrap();
    assert_eq!((*seen.body(), seen.uri().path(), seen.headers().len()), ("theirs", "/theirs", 1));
    assert_eq!(recorder.active(), 0);
    send.send_response(Response::builder().status(418).body("tea").unwrap());
    assert_eq!(asked.await.unwrap().unwrap().status(), StatusCode::IM_A_TEAPOT);
    assert!(counts(&recorder).is_empty());
}

/// The shown lines of one cell, for durations of this many nanoseconds.
fn histogram(nanoseconds: &[u64]) -> Vec<String> {
    let recorder = Recorder::new(&["a\"\\\n"]);
    let target = Target { place: service(0), verb: Verb::Status, document: None };
    for took in nanoseconds {
        recorder.begin();
        recorder.end(recorder.row(&target, &Method::GET), Outcome::Status(StatusCode::OK), Duration::from_nanos(*took));
    }
    rendered(&recorder).lines().map(str::to_owned).collect()
}

#[test]
fn the_text_is_a_prometheus_histogram() {
    let lines = histogram(&[100_000, 100_001, 5_000_000, 10_000_000_001]);
    let labels = r#"service="a\"\\\n",verb="status",http_request_method="GET",http_response_status_code="200""#;
    let name = "http_server_request_duration_seconds";
    assert_eq!(lines[0], format!("# HELP {name} Time from a request's arrival to the head of its answer."));
    assert_eq!(lines[1], format!("# TYPE {name} histogram"));
    let below = [1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3];
    for ((line, (_, bound)), below) in lines[2..].iter().zip(BOUNDS).zip(below) {
        assert_eq!(*line, format!(r#"{name}_bucket{{{labels},le="{bound}"}} {below}"#));
    }
    assert_eq!(lines[21], format!(r#"{name}_bucket{{{labels},le="+Inf"}} 4"#));
    assert_eq!(lines[22], format!("{name}_sum{{{labels}}} 10.005200002"));
    assert_eq!(lines[23], format!("{name}_count{{{labels}}} 4"));
    assert_eq!(lines[24], "# HELP http_server_active_requests Requests that are being answered now.");
    assert_eq!(lines[25..], ["# TYPE http_server_active_requests gauge", "http_server_active_requests 0"]);
}

#[test]
fn the_bounds_say_in_seconds_what_they_are_in_nanoseconds() {
    for (nanoseconds, seconds) in BOUNDS {
        assert_eq!((seconds * 1e9).round() as u64, nanoseconds);
    }
    assert!(BOUNDS.is_sorted());
}

#[test]
fn an_empty_table_shows_no_histogram() {
    assert_eq!(rendered(&Recorder::new(&["a", "b"])).lines().count(), 5);
}

#[test]
fn every_combination_has_a_cell_of_its_own() {
    let recorder = Recorder::new(&["a", "b"]);
    let statuses = [100, 200, 201, 404, 412, 503].map(|status| Outcome::Status(StatusCode::from_u16(status).unwrap()));
    let outcomes = [&statuses[..], &[Outcome::Error, Outcome::Cancelled]].concat();
    let methods = ["GET", "HEAD", "POST", "BREW"].map(|method| Method::from_bytes(method.as_bytes()).unwrap());
    for place in [Place::Gateway, service(0), service(1)] {
        for verb in Verb::all() {
            for (method, outcome) in methods.iter().flat_map(|method| outcomes.iter().map(move |it| (method, *it))) {
                let row = recorder.row(&Target { place: place.clone(), verb, document: None }, method);
                recorder.begin();
                recorder.end(row, outcome, Duration::ZERO);
            }
        }
    }
    let counts = counts(&recorder);
    assert!(counts.iter().all(|line| line.ends_with(" 1")));
    let expected = 3 * Verb::COUNT * methods.len() * outcomes.len();
    assert_eq!((counts.len(), counts.iter().collect::<HashSet<_>>().len()), (expected, expected));
}
