use super::*;
use gateway_contract::{Base, Side, View};
use serde_json::json;
use tower_test::mock;

#[tokio::test]
async fn info_says_what_a_service_is() {
    // `info.stub_service.json` of the recording, tags trimmed.
    let recorded = r#"{"activeWorkers":1,"category":"Data Manipulation","institution":"CRIM","name":"Stub service",
        "releaseTime":"2015-01-01T00:00:00Z","researchSubject":"system integration",
        "supportEmail":"info-cra@crim.ca","synopsis":"RESTful service providing service stub.",
        "tags":["stub","research"],"version":"1.9.3_0.4.3"}"#;
    let reply = ask(stub(), Verb::Info).await.unwrap();
    assert!(matches!(reply.body(), Body::Data { view: View::Info, .. }));
    assert_eq!(json_of(reply).await, serde_json::from_str::<Value>(recorded).unwrap());
}

#[tokio::test]
async fn workers_that_cannot_be_counted_are_null() {
    let facts = Known { workers: None, ..Known::without_broker() };
    let info = json_of(request(facts, asks(stub(), Verb::Info)).await.unwrap()).await;
    assert_eq!(info["activeWorkers"], Value::Null);
}

#[tokio::test]
async fn global_info_says_every_service_as_configured() {
    let mut asked = asks(Place::Gateway, Verb::Info);
    asked.extensions_mut().insert(Base("https://example.org/gw".into()));
    let reply = request(Known::default(), asked).await.unwrap();
    assert!(matches!(reply.body(), Body::Data { view: View::JsonOnly, .. }));
    let info = json_of(reply).await;
    // The recording's keys, without `os_args` and `rubber_params`.
    let expected = json!({
        "category": "Data Manipulation", "celery_queue_name": "stub", "celery_task_name": "stub",
        "doc": "https://github.com/crim-ca/Service#doc", "factsheet": "",
        "home": "https://github.com/crim-ca/Service", "institution": "CRIM", "licence": "",
        "name": "Stub service", "provenance": "", "releaseTime": "2015-01-01T00:00:00Z",
        "releasenotes": "https://example.org/gw/stub/releasenotes", "researchSubject": "system integration",
        "route_keyword": "stub", "source": ",204", "support": "Not available,404",
        "supportEmail": "info-cra@crim.ca", "synopsis": "RESTful service providing service stub.",
        "tags": "stub, research", "tryme": "", "version": "0.4.3",
    });
    assert_eq!(info["services"]["stub"], expected);
    assert_eq!(info["version"], "1.9.3");
    assert_eq!(info["services"]["keyname"]["route_keyword"], "other route");
    assert_eq!(info.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn platform_info_says_what_the_installation_is() {
    let info = json_of(ask(Place::Platform, Verb::Info).await.unwrap()).await;
    assert_eq!((&info["name"], &info["version"]), (&json!("Example platform"), &json!("1.9.3")));
    assert_eq!((&info["tags"], info.get("activeWorkers")), (&json!(["all"]), None));
}

#[tokio::test]
async fn stats_count_what_was_accepted() {
    let reply = ask(stub(), Verb::Stats).await.unwrap();
    assert!(matches!(reply.body(), Body::Data { view: View::Stats, .. }));
    assert_eq!(text(reply).await, r#"{"invocations":30,"lastReset":"2026-11-23T20:21:11Z"}"#);
    for place in [Place::Platform, Place::Gateway] {
        assert_eq!(json_of(ask(place, Verb::Stats).await.unwrap()).await["invocations"], 80);
    }
}

#[tokio::test]
async fn stats_are_503_when_they_cannot_be_had() {
    let broken = |status| Known { broken: Some(status), ..Known::default() };
    let facts =
        [Known::without_broker(), broken(StatusCode::SERVICE_UNAVAILABLE), broken(StatusCode::INTERNAL_SERVER_ERROR)];
    for facts in facts {
        for place in [stub(), Place::Platform] {
            let refusal = request(facts.clone(), asks(place, Verb::Stats)).await.err().unwrap();
            assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        }
    }
    let nobody = Known { workers: Some(0), ..Known::default() };
    assert!(request(nobody, asks(stub(), Verb::Stats)).await.is_ok());
}

#[tokio::test]
async fn pages_are_as_configured() {
    let doc = ask(stub(), Verb::Page(Page::Doc)).await.unwrap();
    assert_eq!(
        (doc.status(), doc.headers()["location"].as_bytes()),
        (StatusCode::FOUND, &b"https://github.com/crim-ca/Service#doc"[..])
    );

    let notes = ask(stub(), Verb::Page(Page::ReleaseNotes)).await.unwrap();
    assert_eq!(
        (notes.status(), notes.headers()["content-type"].as_bytes()),
        (StatusCode::OK, &b"text/html; charset=utf-8"[..])
    );
    assert_eq!(text(notes).await, "<p>1.0</p>");

    // `canarie.service.support` and `canarie.service.source` of the recording.
    let support = ask(stub(), Verb::Page(Page::Support)).await.unwrap();
    assert_eq!(support.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!((support.status(), text(support).await), (StatusCode::NOT_FOUND, "Not available".into()));
    let source = ask(stub(), Verb::Page(Page::Source)).await.unwrap();
    assert!(http_body::Body::is_end_stream(source.body()));
    assert_eq!(source.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_page_that_is_not_configured_is_404() {
    for (place, page) in [(stub(), Page::Licence), (Place::Platform, Page::Doc), (Place::Gateway, Page::Doc)] {
        let refusal = ask(place, Verb::Page(page)).await.err().unwrap();
        assert_eq!((refusal.status, refusal.code), (StatusCode::NOT_FOUND, 100));
        assert!(refusal.detail.contains(page.name()));
    }
}

#[tokio::test]
async fn pages_without_a_service_are_the_platforms() {
    for place in [Place::Gateway, Place::Platform] {
        let home = ask(place, Verb::Page(Page::Home)).await.unwrap();
        assert_eq!(home.headers()["location"], "https://example.org/");
    }
}

#[tokio::test]
async fn an_error_page_is_a_refusal_that_says_its_status_alone() {
    for status in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::BAD_REQUEST] {
        let refusal = ask(Place::Gateway, Verb::ErrorPage(status)).await.err().unwrap();
        assert_eq!((refusal.status, refusal.code, refusal.detail.as_str()), (status, 100, ""));
        assert_eq!((refusal.side, refusal.retry_after), (Side::Client, None));
    }
}

async fn bare(place: Place, uri: &str, base: Option<&str>) -> String {
    let mut asked = asks(place, Verb::Bare);
    *asked.uri_mut() = uri.parse().unwrap();
    if let Some(base) = base {
        asked.extensions_mut().insert(Base(base.into()));
    }
    let reply = request(Known::default(), asked).await.unwrap();
    assert_eq!(reply.status(), StatusCode::PERMANENT_REDIRECT);
    reply.headers()["location"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bare_route_gets_its_slash() {
    assert_eq!(bare(stub(), "/stub", None).await, "/stub/");
    assert_eq!(bare(stub(), "/stub?a=b&c=%20", None).await, "/stub/?a=b&c=%20");
    assert_eq!(bare(stub(), "/stub", Some("https://example.org")).await, "https://example.org/stub/");
    let there = bare(stub(), "/stub?a", Some("https://example.org/gate/way")).await;
    assert_eq!(there, "https://example.org/gate/way/stub/?a");
    assert_eq!(bare(Place::Platform, "/platform", Some("http://h/gw")).await, "http://h/gw/platform/");
    let odd = Place::Service(service(1, "keyname", "un café/\r\n"));
    assert_eq!(bare(odd, "/x", None).await, "/un%20caf%C3%A9%2F%0D%0A/");
}

#[tokio::test]
async fn a_prefix_never_becomes_a_host() {
    for base in ["http://h//evil.example", "http://h/\\evil.example", "http://h/\u{e9} "] {
        let location = bare(stub(), "/stub", Some(base)).await;
        let path = location.strip_prefix("http://h/").unwrap();
        assert!(!path.starts_with('/') && !path.contains('\\'), "{location}");
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location}");
    }
}

#[tokio::test]
async fn probes_say_what_works() {
    let alive = request(Known::without_broker(), asks(Place::Gateway, Verb::Livez)).await.unwrap();
    assert_eq!((alive.status(), text(alive).await), (StatusCode::OK, r#"{"status":"alive"}"#.into()));

    let ready = ask(Place::Gateway, Verb::Readyz).await.unwrap();
    assert_eq!((ready.status(), ready.headers()["cache-control"].as_bytes()), (StatusCode::OK, &b"no-store"[..]));
    let expected = r#"{"status":"ready","parts":{"broker":"ok","results":"not durable"}}"#;
    assert_eq!(text(ready).await, expected);

    let not_ready = request(Known::without_broker(), asks(Place::Gateway, Verb::Readyz)).await.unwrap();
    assert_eq!(not_ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(not_ready.headers()["cache-control"], "no-store");
    let body = json_of(not_ready).await;
    assert_eq!(body["status"], "not ready");
    assert_eq!(body["parts"]["broker"], "connection refused: is RabbitMQ running?");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let reply = ask(Place::Gateway, Verb::Metrics).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(text(reply).await, "up 1\n");
    let off = PagesLayer::new(Known::default(), pages()).metrics(false).layer(inner());
    let reply = off.oneshot(asks(Place::Gateway, Verb::Metrics)).await.unwrap();
    assert_eq!(text(reply).await, "inner");
}

#[tokio::test]
async fn a_service_is_found_by_its_index() {
    let mut turned = Pages::clone(&pages());
    turned.services.reverse();
    let layer = PagesLayer::new(Known::default(), Arc::new(turned));
    let reply = layer.layer(inner()).oneshot(asks(stub(), Verb::Info)).await.unwrap();
    assert_eq!(json_of(reply).await["name"], "Stub service");
    for verb in [Verb::Info, Verb::Page(Page::Doc)] {
        let refusal = ask(Place::Service(service(9, "x", "x")), verb).await.err().unwrap();
        assert_eq!((refusal.status, refusal.code), (StatusCode::INTERNAL_SERVER_ERROR, 103));
    }
}

#[tokio::test]
async fn everything_else_passes() {
    let mut others: Vec<_> = Verb::all().into_iter().map(|verb| asks(Place::UnknownService, verb)).collect();
    others.extend([Verb::Annotate, Verb::Process, Verb::Status, Verb::Cancel].map(|verb| asks(stub(), verb)));
    for asked in others {
        assert_eq!(text(request(Known::default(), asked).await.unwrap()).await, "inner");
    }
}

#[tokio::test]
async fn a_request_without_target_crosses_untouched() {
    let (inner, mut handle) = mock::pair::<Request<&'static str>, Reply<App>>();
    let theirs = Request::get("/info?a").header("x-a", "1").body("theirs").unwrap();
    let asked = tokio::spawn(PagesLayer::new(Known::default(), pages()).layer(inner).oneshot(theirs));
    let (seen, send) = handle.next_request().await.unwrap();
    assert_eq!((*seen.body(), seen.uri().to_string(), seen.headers().len()), ("theirs", "/info?a".into(), 1));
    send.send_response(Response::builder().status(418).body(Body::Inner { body: App::from("tea") }).unwrap());
    let reply = asked.await.unwrap().unwrap();
    assert_eq!((reply.status(), text(reply).await), (StatusCode::IM_A_TEAPOT, "tea".into()));
}

#[tokio::test]
async fn needs_are_flat_for_one_service_and_by_name_for_all() {
    let one = json_of(ask(stub(), Verb::Needs).await.unwrap()).await;
    assert_eq!((&one["service"], &one["desired_workers"]), (&"stub".into(), &3.into()));
    assert!(one["arrival_rate"].is_null() && one.as_object().unwrap().len() == 14, "{one}");
    let all = json_of(ask(Place::Gateway, Verb::Needs).await.unwrap()).await;
    let names: Vec<_> = all["services"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["keyname", "stub"]);
    assert_eq!(all["services"]["stub"], one);
}

#[tokio::test]
async fn needs_that_nobody_can_tell_are_refused() {
    let facts = Known { workers: None, ..Known::default() };
    let refused = request(facts, asks(stub(), Verb::Needs)).await.map(drop).unwrap_err();
    assert_eq!((refused.status, refused.code), (StatusCode::SERVICE_UNAVAILABLE, 205));
}
