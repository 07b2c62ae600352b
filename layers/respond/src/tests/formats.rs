use super::*;
use http::header;

/// What firefox and others send.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";

/// The type of the answer, in a word.
async fn shown(accept: Option<&str>, place: Place, verb: Verb, answer: Result<View, ()>) -> &'static str {
    let mut request = asks(if verb.submits() { Method::POST } else { Method::GET }, place, verb);
    if let Some(accept) = accept {
        request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
    }
    let inner = service_fn(move |_: Request<()>| async move {
        answer.map(|view| data::<App>("{}", view)).map_err(|()| Rejection::not_found())
    });
    let reply = RespondLayer::new().layer(inner).oneshot(request).await.unwrap();
    match reply.headers()["content-type"].to_str().unwrap() {
        "application/json" => "json",
        "application/xml" => "xml",
        "text/html; charset=utf-8" => "html",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_format_follows_the_header() {
    // Accept; what a task's status, a page and a refusal elsewhere are shown in.
    let cases = [
        (None, "json", "html", "json"),
        (Some(""), "json", "html", "json"),
        (Some("*/*"), "json", "html", "json"),
        (Some("*/*;q=0.1"), "json", "html", "json"),
        (Some("image/png"), "json", "html", "json"),
        (Some("text/xml"), "json", "html", "json"),
        (Some("application/json"), "json", "json", "json"),
        (Some("application/json, text/javascript, */*; q=0.01"), "json", "json", "json"),
        (Some("application/json, text/plain, */*"), "json", "json", "json"),
        (Some("application/*"), "json", "json", "json"),
        (Some("text/html"), "json", "html", "html"),
        (Some("text/*"), "json", "html", "html"),
        (Some(BROWSER), "json", "html", "html"),
        (Some("text/html, application/json"), "json", "html", "json"),
        (Some("text/html;q=0.5, application/json;q=0.6"), "json", "json", "json"),
        (Some("text/html;q=0.6, application/json;q=0.5"), "json", "html", "html"),
        (Some("application/xml"), "xml", "html", "xml"),
        (Some("application/xml, */*"), "xml", "html", "xml"),
        (Some("application/xml;q=0.5, application/json;q=0.5"), "json", "json", "json"),
        (Some("application/xml;q=0.5, application/json;q=0.4"), "xml", "json", "xml"),
        (Some("application/xml, text/html"), "xml", "html", "html"),
        (Some("application/xml;q=0.9, text/html"), "json", "html", "html"),
        (Some("application/json;q=0"), "json", "html", "json"),
        (Some("application/json;q=0, */*"), "xml", "html", "html"),
        (Some("text/html;q=0, */*"), "json", "json", "json"),
        (Some("text/html;q=nonsense"), "json", "html", "json"),
    ];
    for (accept, task, page, error) in cases {
        for verb in [Verb::Status, Verb::Cancel] {
            assert_eq!(shown(accept, stub(), verb, Ok(View::ProcessStatus)).await, task, "{accept:?}");
            assert_eq!(shown(accept, stub(), verb, Err(())).await, error, "{accept:?}");
        }
        for (verb, view) in [(Verb::Info, View::Info), (Verb::Stats, View::Stats)] {
            for place in [stub(), Place::Platform] {
                assert_eq!(shown(accept, place, verb, Ok(view)).await, page, "{accept:?}");
            }
        }
        for verb in [Verb::Info, Verb::Stats, Verb::Bare, Verb::Page(gateway_contract::Page::Doc)] {
            for place in [stub(), Place::Platform, Place::UnknownService] {
                assert_eq!(shown(accept, place, verb, Err(())).await, page, "{accept:?} {verb:?}");
            }
        }
        let elsewhere = [Verb::Info, Verb::Livez, Verb::Metrics, Verb::ErrorPage(StatusCode::NOT_FOUND)];
        for verb in elsewhere {
            assert_eq!(shown(accept, Place::Gateway, verb, Err(())).await, error, "{accept:?} {verb:?}");
        }
        // Never negotiated.
        assert_eq!(shown(accept, stub(), Verb::Process, Ok(View::Submission)).await, "json", "{accept:?}");
        assert_eq!(shown(accept, Place::Gateway, Verb::Info, Ok(View::JsonOnly)).await, "json", "{accept:?}");
    }
}

#[tokio::test]
async fn needs_are_json_unless_a_page_is_preferred() {
    for (accept, format) in
        [("*/*", "json"), ("application/json", "json"), ("application/xml", "json"), (BROWSER, "html")]
    {
        assert_eq!(shown(Some(accept), stub(), Verb::Needs, Ok(View::Needs)).await, format, "{accept}");
    }
}

#[tokio::test]
async fn what_may_be_stored_says_that_it_was_negotiated() {
    for (view, varies) in
        [(View::Info, true), (View::Needs, true), (View::JsonOnly, false), (View::ProcessStatus, false)]
    {
        for accept in ["*/*", "application/json"] {
            let inner = service_fn(move |_: Request<()>| async move { Ok::<Reply<App>, Rejection>(data("{}", view)) });
            let mut request = asks(Method::GET, stub(), Verb::Info);
            request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
            let reply = RespondLayer::new().layer(inner).oneshot(request).await.unwrap();
            assert_eq!(reply.headers().get(header::VARY).is_some_and(|vary| vary == "accept"), varies, "{view:?}");
        }
    }
}

#[tokio::test]
async fn json_that_nobody_asks_to_be_changed_is_the_very_same_bytes() {
    let json = Bytes::from_static(br#"{"uuid":"u","status":"PENDING","result":null}"#);
    for accept in [None, Some("*/*"), Some("application/json"), Some(BROWSER)] {
        let given = json.clone();
        let inner = service_fn(move |_: Request<()>| {
            let reply: Reply<App> = data(given.clone(), View::ProcessStatus);
            async { Ok::<_, Rejection>(reply) }
        });
        let mut request = asks(Method::GET, stub(), Verb::Status);
        if let Some(accept) = accept {
            request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        }
        let reply = RespondLayer::new().layer(inner).oneshot(request).await.unwrap();
        let Body::Data { json: Some(shown), .. } = reply.into_body() else { panic!("it was rendered") };
        assert_eq!((shown.as_ptr(), shown.len()), (json.as_ptr(), json.len()));
    }
}

#[tokio::test]
async fn data_that_cannot_be_shown_as_asked_stays_json() {
    for (accept, view, json) in [
        ("application/xml", View::ProcessStatus, "[".repeat(200) + &"]".repeat(200)),
        ("text/html", View::Info, "[]".to_owned()),
        ("text/html", View::Error, "{}".to_owned()),
    ] {
        let given = json.clone();
        let inner = service_fn(move |_: Request<()>| {
            let reply: Reply<App> = data(given.clone(), view);
            async { Ok::<_, Rejection>(reply) }
        });
        let mut request = asks(Method::GET, stub(), Verb::Status);
        request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        let reply = RespondLayer::new().layer(inner).oneshot(request).await.unwrap();
        assert_eq!(reply.headers()["content-type"], "application/json");
        assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), json);
    }
}

#[tokio::test]
async fn a_refusal_as_xml_says_what_the_envelope_says() {
    let mut request = asks(Method::GET, stub(), Verb::Status);
    request.headers_mut().insert(header::ACCEPT, "application/xml".parse().unwrap());
    request.headers_mut().insert("x-request-id", "r-1".parse().unwrap());
    let reply = refused(RespondLayer::new(), request, Rejection::unavailable("<away> & \"gone\"", 5)).await;
    assert_eq!(
        (reply.status(), &reply.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    let text = reply.into_body().collect().await.unwrap().to_bytes();
    let expected = concat!(
        r#"<?xml version="1.0" encoding="UTF-8" ?><error><status>503</status>"#,
        "<description>&lt;away&gt; &amp; &quot;gone&quot;</description>",
        "<vesta><code>205</code><message>&lt;away&gt; &amp; &quot;gone&quot;</message></vesta>",
        "<request_id>r-1</request_id></error>"
    );
    assert_eq!(text, expected);
}
