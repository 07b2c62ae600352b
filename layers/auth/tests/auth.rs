//! Which tokens are admitted, to what, and why the others are not.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway_auth::{Algorithm, AuthLayer, DecodingKey, Grant, Policy, PolicyBuilder, PolicyError, VERBS, sign};
use gateway_contract::{Identity, Place, Rejection, Service, Target, Verb, code};
use http::{HeaderValue, Request, StatusCode};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower::{Layer, ServiceExt, service_fn};

const SECRET: [u8; 64] = [7; 64];
/// The Ed25519 example key of RFC 8037, appendix A.
const ED_PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const ED_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn builder() -> PolicyBuilder {
    Policy::builder().algorithms([Algorithm::HS512]).secret(&SECRET).audience("docs")
}

fn layer(builder: PolicyBuilder) -> AuthLayer {
    AuthLayer::new(builder.build().expect("a policy"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn target(verb: Verb) -> Target {
    let service = Service { index: 0, name: "stub".into(), route: "s".into(), requires_document: true };
    Target { place: Place::Service(Arc::new(service)), verb, document: None }
}

/// A token with these claims, signed with the shared key.
fn token(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS512), claims, &EncodingKey::from_secret(&SECRET)).expect("a token")
}

/// A token that is good, but for what `changes` says; null removes a claim.
fn changed(changes: Value) -> String {
    let mut claims = json!({"aud": "docs", "exp": now() + 600, "sub": "ann"});
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    token(&claims)
}

/// Who was stamped; `None`: nobody.
async fn ask(layer: &AuthLayer, target: Option<Target>, authorization: &[&str]) -> Result<Option<Identity>, Rejection> {
    let stack = layer.layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(request.extensions().get::<Identity>().cloned())
    }));
    let mut request = Request::new(());
    for value in authorization {
        request.headers_mut().append("authorization", HeaderValue::from_str(value).expect("a value"));
    }
    request.extensions_mut().extend(
        target
            .map(|target| {
                let mut extensions = http::Extensions::new();
                extensions.insert(target);
                extensions
            })
            .unwrap_or_default(),
    );
    stack.oneshot(request).await
}

async fn refused(layer: &AuthLayer, authorization: &[&str]) -> String {
    let rejection = ask(layer, Some(target(Verb::Annotate)), authorization).await.expect_err("it is refused");
    let refusal = rejection.into_refusal();
    assert_eq!((refusal.status, refusal.code), (StatusCode::UNAUTHORIZED, code::TOKEN), "{}", refusal.detail);
    refusal.detail
}

async fn subject(layer: &AuthLayer, authorization: &str) -> Option<Arc<str>> {
    let identity = ask(layer, Some(target(Verb::Annotate)), &[authorization]).await.expect("admitted");
    identity.expect("stamped").subject
}

#[tokio::test]
async fn a_good_token_is_admitted_bare_and_as_bearer() {
    let layer = layer(builder());
    let token = changed(json!({}));
    for value in [token.clone(), format!("Bearer {token}"), format!("bearer   {token} "), format!("BEARER {token}")] {
        assert_eq!(subject(&layer, &value).await.as_deref(), Some("ann"), "{value}");
    }
    assert_eq!(subject(&layer, &changed(json!({"sub": null}))).await, None);
    assert_eq!(subject(&layer, &changed(json!({"aud": ["other", "docs"]}))).await.as_deref(), Some("ann"));
    assert_eq!(subject(&layer, &changed(json!({"exp": now() as f64 + 99.5}))).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_token_of_the_original_is_admitted() {
    // As recorded: claims in another order, spaces in the JSON, neither sub nor iat.
    let head = URL_SAFE_NO_PAD.encode(r#"{"typ": "JWT", "alg": "HS512"}"#);
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"aud": "docs", "exp": {}}}"#, now() + 9));
    let message = format!("{head}.{claims}");
    let key = EncodingKey::from_secret(&SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS512).expect("signed");
    assert_eq!(subject(&layer(builder()), &format!("{message}.{signature}")).await, None);
}

#[tokio::test]
async fn a_token_must_be_there_and_be_one() {
    let layer = layer(builder());
    let good = changed(json!({}));
    assert!(refused(&layer, &[]).await.contains("needed"));
    for nothing in ["", " ", "Bearer", "Bearer "] {
        assert!(refused(&layer, &[nothing]).await.contains("needed"), "{nothing:?}");
    }
    for odd in ["abc", "a.b", "a.b.c", "a.b.c.d", "Basic YTpi", "Bearerabc", "e30.e30.e30", "é", &format!("x{good}")] {
        assert!(refused(&layer, &[odd]).await.contains("not a JWT"), "{odd:?}");
    }
    assert!(refused(&layer, &[&good, &good]).await.contains("several"));
    let large = format!("{}.{}", "x".repeat(8 * 1024), good);
    assert!(refused(&layer, &[&large]).await.contains("8192"));
}

#[tokio::test]
async fn claims_are_required_and_judged() {
    let layer = layer(builder());
    let cases = [
        (json!({"exp": null}), "missing"),
        (json!({"aud": null}), "missing"),
        (json!({"exp": "9999999999"}), "wrong type"),
        (json!({"exp": -5}), "wrong type"),
        (json!({"exp": {}}), "wrong type"),
        (json!({"aud": 5}), "wrong type"),
        (json!({"aud": ["docs", 5]}), "wrong type"),
        (json!({"sub": 5}), "wrong type"),
        (json!({"iss": ["a"]}), "wrong type"),
        (json!({"nbf": "soon"}), "wrong type"),
        (json!({"iat": "now"}), "wrong type"),
        (json!({"services": "stub"}), "wrong type"),
        (json!({"services": [1]}), "wrong type"),
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": []}), "audience"),
        (json!({"aud": ""}), "audience"),
        (json!({"exp": now() - 12}), "expired"),
        (json!({"exp": 0}), "expired"),
        (json!({"nbf": now() + 60}), "not valid yet"),
    ];
    for (change, says) in cases {
        let detail = refused(&layer, &[&changed(change.clone())]).await;
        assert!(detail.contains(says), "{change}: {detail}");
    }
    let null = token(&json!({"aud": "docs", "exp": now() + 600, "services": null}));
    assert!(refused(&layer, &[&null]).await.contains("wrong type"), "null must not mean every service");
    assert!(refused(&layer, &[&token(&json!([1]))]).await.contains("wrong type"));
}

#[tokio::test]
async fn clocks_may_be_apart_by_the_leeway() {
    let lenient = layer(builder().leeway(Duration::from_secs(60)));
    assert!(subject(&lenient, &changed(json!({"exp": now() - 30}))).await.is_some());
    assert!(subject(&lenient, &changed(json!({"nbf": now() + 30}))).await.is_some());
    let strict = layer(builder().leeway(Duration::ZERO));
    assert!(refused(&strict, &[&changed(json!({"exp": now() - 2}))]).await.contains("expired"));
}

#[tokio::test]
async fn an_issuer_is_checked_only_if_configured() {
    let any = layer(builder().issuer(""));
    assert!(subject(&any, &changed(json!({"iss": "whoever"}))).await.is_some());
    let one = layer(builder().issuer("us"));
    assert!(subject(&one, &changed(json!({"iss": "us"}))).await.is_some());
    assert!(refused(&one, &[&changed(json!({"iss": "them"}))]).await.contains("issuer"));
    assert!(refused(&one, &[&changed(json!({}))]).await.contains("iss (text)"));
}

#[tokio::test]
async fn signatures_algorithms_and_extensions_are_judged() {
    let layer = layer(builder());
    let claims = json!({"aud": "docs", "exp": now() + 600});
    let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(600));

    let other_key = sign(&grant, &[8; 64], Algorithm::HS512).expect("a token");
    assert!(refused(&layer, &[&other_key]).await.contains("signature"));
    let good = sign(&grant, &SECRET, Algorithm::HS512).expect("a token");
    let (message, _) = good.rsplit_once('.').expect("three parts");
    assert!(refused(&layer, &[&format!("{message}.")]).await.contains("signature"));

    let other_algorithm = sign(&grant, &SECRET, Algorithm::HS256).expect("a token");
    assert!(refused(&layer, &[&other_algorithm]).await.contains("algorithm"));
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    for alg in ["none", "None", "hs512", "HS999", "EdDSA"] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
        assert!(refused(&layer, &[&format!("{head}.{payload}.")]).await.contains("algorithm"), "{alg}");
    }
    for crit in [json!(["exp"]), json!([]), json!("b64"), Value::Null] {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "HS512", "crit": crit}).to_string());
        let message = format!("{head}.{payload}");
        let key = EncodingKey::from_secret(&SECRET);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS512).expect("signed");
        assert!(refused(&layer, &[&format!("{message}.{signature}")]).await.contains("crit"), "{crit}");
    }
    for head in [r#"{"alg":5}"#, r#"{}"#, "[]", r#"{"alg":"HS512","alg":"none"}"#, r#"{"alg":"HS512","kid":5}"#] {
        let head = URL_SAFE_NO_PAD.encode(head);
        assert!(refused(&layer, &[&format!("{head}.{payload}.")]).await.contains("not a JWT"), "{head}");
    }
}

/// A token signed with the private key of [`ED_PUBLIC`].
fn ed_token(kid: Option<&str>) -> String {
    let seed = URL_SAFE_NO_PAD.decode(ED_PRIVATE).expect("base64");
    // PKCS#8: a fixed preamble, then the seed.
    let der = [b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(), &seed].concat();
    let head = Header { kid: kid.map(Into::into), ..Header::new(Algorithm::EdDSA) };
    let claims = json!({"aud": "docs", "exp": now() + 600, "sub": "ed"});
    encode(&head, &claims, &EncodingKey::from_ed_der(&der)).expect("a token")
}

#[tokio::test]
async fn public_keys_are_chosen_by_their_id() {
    let key = DecodingKey::from_ed_components(ED_PUBLIC).expect("a key");
    let other = DecodingKey::from_ed_components(ED_PRIVATE).expect("32 bytes");
    let both = builder().algorithms([Algorithm::EdDSA, Algorithm::HS512]).key("one", key);
    let one = layer(both.clone());
    assert_eq!(subject(&one, &ed_token(Some("one"))).await.as_deref(), Some("ed"));
    assert_eq!(subject(&one, &ed_token(None)).await.as_deref(), Some("ed"), "there is no choice");
    assert_eq!(subject(&one, &changed(json!({}))).await.as_deref(), Some("ann"), "the shared key stays");
    assert!(refused(&one, &[&ed_token(Some("two"))]).await.contains("kid"));

    let two = layer(both.key("two", other));
    assert!(refused(&two, &[&ed_token(None)]).await.contains("kid"), "which of two?");
    assert!(refused(&two, &[&ed_token(Some("two"))]).await.contains("signature"));

    // The public key is no secret: a token signed with its bytes as a shared key must not pass.
    let public = URL_SAFE_NO_PAD.decode(ED_PUBLIC).expect("base64");
    let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(600));
    let confused = sign(&grant, &public, Algorithm::HS512).expect("a token");
    assert!(refused(&one, &[&confused]).await.contains("signature"));
}

#[tokio::test]
async fn a_token_may_be_for_some_services_only() {
    let layer = layer(builder());
    let token = |services: &[&str]| {
        let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(60)).with_services(services.to_vec());
        sign(&grant, &SECRET, Algorithm::HS512).expect("a token")
    };
    assert!(ask(&layer, Some(target(Verb::Cancel)), &[&token(&["x", "stub"])]).await.is_ok());
    for services in [&["x"][..], &[], &["s"]] {
        let rejection = ask(&layer, Some(target(Verb::Annotate)), &[&token(services)]).await.expect_err("refused");
        let refusal = rejection.refusal();
        assert_eq!((refusal.status, refusal.code), (StatusCode::FORBIDDEN, code::TOKEN), "{services:?}");
    }
    // An unknown service is the business of a later layer, and so is the platform.
    for place in [Place::UnknownService, Place::Platform, Place::Gateway] {
        let target = Target { place, verb: Verb::Stats, document: None };
        assert!(ask(&layer, Some(target), &[&token(&["x"])]).await.is_ok());
    }
}

#[tokio::test]
async fn public_verbs_and_requests_of_the_application_need_no_token() {
    let layer = layer(builder().public(["status", "pages", "needs"]));
    for verb in Verb::all() {
        let always = matches!(verb, Verb::Bare | Verb::Livez | Verb::Readyz | Verb::Metrics | Verb::ErrorPage(_));
        let public = always || matches!(verb, Verb::Status | Verb::Needs | Verb::Page(_));
        assert_eq!(ask(&layer, Some(target(verb)), &[]).await.is_ok(), public, "{verb:?}");
        if public {
            let stamped = ask(&layer, Some(target(verb)), &["not even a token"]).await.expect("not looked at");
            assert_eq!(stamped, None, "{verb:?}");
        }
    }
    assert!(ask(&layer, None, &["not even a token"]).await.expect("untouched").is_none());
    let unknown = Target { place: Place::UnknownService, verb: Verb::Process, document: None };
    assert!(ask(&layer, Some(unknown), &[]).await.is_err(), "the token is checked before 202 is told");
}

/// Is a request with that header and that query admitted without a token?
async fn by_key(builder: PolicyBuilder, verb: Verb, header: Option<&str>, query: &str) -> bool {
    let stack = layer(builder).layer(service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(request.extensions().get::<Identity>().is_none())
    }));
    let mut request = Request::builder().uri(format!("/x{query}")).extension(target(verb));
    if let Some(header) = header {
        request = request.header("x-service-key", header);
    }
    stack.oneshot(request.body(()).expect("a request")).await.is_ok_and(|nobody| nobody)
}

#[tokio::test]
async fn the_shared_key_admits_to_temporary_files_and_to_nothing_else() {
    let keyed = || builder().shared_key("a key & more");
    for verb in Verb::all() {
        let about_files = matches!(verb, Verb::UploadPath | Verb::Upload | Verb::Download);
        let always = matches!(verb, Verb::Bare | Verb::Livez | Verb::Readyz | Verb::Metrics | Verb::ErrorPage(_));
        let admitted = about_files || always;
        assert_eq!(by_key(keyed(), verb, Some("a key & more"), "").await, admitted, "{verb:?}");
        assert_eq!(by_key(keyed(), verb, None, "?a=b&service_key=a+key%20%26+more").await, admitted, "{verb:?}");
    }
    for wrong in ["", "a key", "a key & more.", "A KEY & MORE"] {
        assert!(!by_key(keyed(), Verb::Upload, Some(wrong), "").await, "{wrong:?}");
        assert!(!by_key(keyed(), Verb::Upload, Some(wrong), "?service_key=a+key+%26+more").await, "the header counts");
    }
    assert!(!by_key(keyed(), Verb::Upload, None, "?service_key=x&service_key=a+key+%26+more").await);
    for (header, query) in [(Some(""), ""), (None, "?service_key="), (None, "?service_key"), (None, "")] {
        assert!(!by_key(builder(), Verb::Upload, header, query).await, "there is no key");
        assert!(!by_key(builder().shared_key(""), Verb::Upload, header, query).await, "an empty key is none");
    }
    let policy = keyed().build().expect("a policy");
    assert!(!format!("{policy:?}").contains("a key"));
}

#[tokio::test]
async fn an_open_policy_admits_everything_and_stamps_nobody() {
    let layer = AuthLayer::new(Policy::open());
    for verb in Verb::all() {
        let stamped = ask(&layer, Some(target(verb)), &["not even a token"]).await.expect("admitted");
        assert_eq!(stamped, None, "{verb:?}");
    }
}

#[test]
fn a_policy_that_cannot_work_is_refused() {
    let fault = |builder: PolicyBuilder| builder.build().expect_err("a fault");
    assert_eq!(fault(builder().algorithms([])), PolicyError::NoAlgorithm);
    assert_eq!(fault(builder().algorithms([Algorithm::HS512, Algorithm::RS256])), PolicyError::NoKey(Algorithm::RS256));
    assert_eq!(
        fault(Policy::builder().algorithms([Algorithm::HS256]).audience("a")),
        PolicyError::NoKey(Algorithm::HS256)
    );
    assert_eq!(fault(builder().secret(&[])), PolicyError::EmptyKey);
    assert_eq!(fault(builder().audience("")), PolicyError::NoAudience);
    assert_eq!(fault(builder().leeway(Duration::from_secs(86_401))), PolicyError::Leeway);
    let unknown = fault(builder().public(["status", "anotate"]));
    assert_eq!(unknown, PolicyError::UnknownVerb("anotate".into()));
    assert!(VERBS.iter().all(|verb| unknown.to_string().contains(verb)), "{unknown}");
    assert!(builder().public(VERBS).build().is_ok());
}

#[test]
fn keys_never_show() {
    let secret = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let builder = builder().secret(&secret);
    let shown = format!("{builder:?} {:?} {:?}", builder.clone().build(), layer(builder.clone()));
    assert!(shown.contains("HS512") && shown.contains("docs"), "{shown}");
    assert!(!shown.contains("0123456789abcdef") && !shown.contains("48, 49, 50"), "{shown}");
}

#[test]
fn only_shared_keys_sign() {
    let grant = Grant::new("docs", SystemTime::now()).with_issuer("us");
    assert!(sign(&grant, &SECRET, Algorithm::RS256).is_err());
    assert!(sign(&grant, &[], Algorithm::HS512).is_err());
}

#[tokio::test]
async fn a_granted_token_says_what_it_should() {
    let expires = SystemTime::now() + Duration::from_secs(600);
    let grant = Grant::new("docs", expires).with_subject("ann").with_issuer("us").with_services(["stub"]);
    let token = sign(&grant, &SECRET, Algorithm::HS512).expect("a token");
    assert_eq!(subject(&layer(builder().issuer("us")), &token).await.as_deref(), Some("ann"));
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(&token).expect("claims").claims;
    assert!(claims["iat"].as_u64().is_some_and(|iat| now() - iat < 60), "{claims}");
    assert!(claims["exp"].as_u64().is_some_and(|exp| exp > now() + 500), "{claims}");
}
