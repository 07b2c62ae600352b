use super::*;
use crate::html::{POLICY, STYLE};
use base64::{Engine, engine::general_purpose::STANDARD};
use gateway_contract::Base;
use http::header;
use sha2::{Digest, Sha256};

const EVIL: &str = "<script>alert('x')</script>\"&\u{202e}";

fn service(name: &str, route: &str) -> Place {
    Place::Service(Arc::new(Service { index: 0, name: name.into(), route: route.into(), requires_document: true }))
}

/// The page that comes of it, checked for what every page of ours must hold.
async fn page(place: Place, verb: Verb, base: Option<&str>, answer: Result<(Value, View), Rejection>) -> String {
    let mut request = asks(Method::GET, place, verb);
    request.headers_mut().insert(header::ACCEPT, "text/html".parse().unwrap());
    if let Some(base) = base {
        request.extensions_mut().insert(Base(base.into()));
    }
    let answer = Arc::new(Mutex::new(Some(answer)));
    let inner = service_fn(move |_: Request<()>| {
        let answer = answer.lock().unwrap().take().unwrap();
        async move { answer.map(|(json, view)| data::<App>(json.to_string(), view)) }
    });
    let reply = RespondLayer::new().debug(true).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(reply.headers()["content-security-policy"], POLICY);
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    let page = String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for needed in ["<!DOCTYPE html>", r#"<html lang="en">"#, r#"<meta charset="utf-8">"#, "<main>", "<nav aria-label="]
    {
        assert!(page.contains(needed), "{needed}: {page}");
    }
    for forbidden in ["<script", "<img", "<link", "src=", "url(", "@import", "javascript:", "style=", "onerror"] {
        assert!(!page.contains(forbidden), "{forbidden}: {page}");
    }
    page
}

fn info(text: &str) -> Value {
    json!({
        "name": text, "synopsis": text, "institution": text, "releaseTime": text, "supportEmail": text,
        "category": text, "researchSubject": text, "tags": [text, text], "version": text, "activeWorkers": null, text: text,
    })
}

#[tokio::test]
async fn what_a_page_is_told_is_text_and_nothing_else() {
    let escaped = "&#60;script&#62;alert(&#39;x&#39;)&#60;/script&#62;&#34;&#38;\u{202e}";
    let about = page(service(EVIL, EVIL), Verb::Info, None, Ok((info(EVIL), View::Info))).await;
    assert_eq!(about.matches(escaped).count(), 13, "{about}");
    let stats = json!({ "invocations": EVIL, "lastReset": null });
    let stats = page(service(EVIL, EVIL), Verb::Stats, None, Ok((stats, View::Stats))).await;
    assert_eq!(stats.matches(escaped).count(), 3, "{stats}");
    assert!(stats.contains("<dd>unknown</dd>"), "{stats}");
    let cause = io::Error::other(EVIL);
    let refusal = Rejection::client(207, EVIL).with_cause(cause);
    let refusal = page(service(EVIL, EVIL), Verb::Status, Some(EVIL), Err(refusal)).await;
    assert_eq!(refusal.matches(escaped).count(), 2, "{refusal}");
}

#[tokio::test]
async fn the_policy_admits_our_style_and_no_other() {
    let page = page(stub(), Verb::Stats, None, Ok((json!({}), View::Stats))).await;
    let (_, rest) = page.split_once("<style>").unwrap();
    let (style, rest) = rest.split_once("</style>").unwrap();
    assert_eq!(style, STYLE);
    assert!(!rest.contains("<style"));
    let hash = STANDARD.encode(Sha256::digest(style));
    assert!(POLICY.contains(&format!("style-src 'sha256-{hash}';")), "write this hash into POLICY: {hash}");
}

#[tokio::test]
async fn links_know_where_we_are_mounted() {
    let links = |page: &str| -> Vec<String> {
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let at = async |place: Place, base: Option<&str>| {
        links(&page(place, Verb::Status, base, Err(Rejection::not_found())).await)
    };
    let platform = ["/platform/info", "/platform/stats"];
    assert_eq!(at(stub(), None).await, ["/stub/info", "/stub/stats", platform[0], platform[1]]);
    assert_eq!(at(Place::UnknownService, None).await, platform);
    assert_eq!(at(service("root", "."), None).await, platform);
    let prefixed = at(service("café", "un café"), Some("https://example.org/gate/way")).await;
    assert_eq!(prefixed[0], "/gate/way/un%20caf%C3%A9/info");
    assert_eq!(prefixed[2], "/gate/way/platform/info");
    for base in ["https://h//evil.example", "https://h/\\evil.example"] {
        let links = at(stub(), Some(base)).await;
        assert!(links.iter().all(|link| link.starts_with('/') && !link.starts_with("//")), "{links:?}");
    }

    let mail = json!({ "supportEmail": "info-cra+x@crim.ca?body=a\" b" });
    let mail = links(&page(stub(), Verb::Info, None, Ok((mail, View::Info))).await);
    assert_eq!(mail[0], "mailto:info-cra%2Bx@crim.ca%3Fbody%3Da%22%20b");
}

#[tokio::test]
async fn a_refusal_says_the_same_facts_to_people() {
    let mut request = asks(Method::GET, stub(), Verb::Status);
    request.headers_mut().insert(header::ACCEPT, "text/html".parse().unwrap());
    request.headers_mut().insert("x-request-id", "r-7".parse().unwrap());
    let reply = refused(RespondLayer::new(), request, Rejection::unavailable("the broker is away", 7)).await;
    assert_eq!(
        (reply.status(), &reply.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap())
    );
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let page = String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    for fact in [
        "<title>503 Service Unavailable</title>",
        "<h1>503 Service Unavailable</h1>",
        ">the broker is away<",
        "Try again in 7 s.",
        "<dd>205</dd>",
        "<dd>r-7</dd>",
    ] {
        assert!(page.contains(fact), "{fact}: {page}");
    }
}

#[tokio::test]
async fn an_error_page_says_its_status_alone() {
    let verb = Verb::ErrorPage(StatusCode::SERVICE_UNAVAILABLE);
    let refusal = || Rejection::of_status(StatusCode::SERVICE_UNAVAILABLE);
    let json = json_of(refused(RespondLayer::new(), asks(Method::GET, Place::Gateway, verb), refusal()).await).await;
    let expected =
        json!({ "status": 503, "description": "Service Unavailable", "vesta": { "code": 100, "message": "" } });
    assert_eq!(json, expected);
    let page = page(Place::Gateway, verb, None, Err(refusal())).await;
    assert!(page.contains("<h1>503 Service Unavailable</h1>") && !page.contains("class=\"message\""), "{page}");
}
