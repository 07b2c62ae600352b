//! Public keys that an issuer publishes: which tokens they admit, and what happens when they change.

#![allow(clippy::unwrap_used)] // tests

#[allow(unreachable_pub)]
#[path = "../../../tests/support/signer.rs"]
mod signer;

use gateway_auth::{Algorithm, AuthLayer, Grant, KeySet, KeySetError, Keys, Policy, sign};
use gateway_contract::{Place, Rejection, Service, Target, Verb, code};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use signer::{Signer, jwks};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower::{Layer, ServiceExt, service_fn};

const ALL: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// What an issuer publishes.
#[derive(Default)]
struct Published {
    set: Mutex<Option<Arc<KeySet>>>,
    missed: AtomicUsize,
}

impl Keys for Published {
    fn current(&self) -> Option<Arc<KeySet>> {
        self.set.lock().unwrap().clone()
    }

    fn missed(&self) {
        self.missed.fetch_add(1, SeqCst);
    }
}

impl Published {
    fn publish(&self, set: &Value) {
        let set = KeySet::from_jwks(set.to_string().as_bytes()).expect("a key set");
        *self.set.lock().unwrap() = Some(Arc::new(set));
    }

    fn layer(self: &Arc<Self>, algorithms: &[Algorithm]) -> AuthLayer {
        let policy = Policy::builder().algorithms(algorithms.iter().copied()).audience("docs").published(self.clone());
        AuthLayer::new(policy.secret(&[7; 64]).build().expect("a policy"))
    }
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    json!({"aud": "docs", "exp": now + 600, "sub": "ann"})
}

async fn ask(layer: &AuthLayer, token: &str) -> Result<(), Rejection> {
    let service = Service { index: 0, name: "stub".into(), route: "stub".into(), requires_document: true };
    let target = Target { place: Place::Service(Arc::new(service)), verb: Verb::Annotate, document: None };
    let request = Request::post("/").header("authorization", token).extension(target).body(()).expect("a request");
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(http::Response::new(())));
    layer.layer(inner).oneshot(request).await.map(drop)
}

async fn refused(layer: &AuthLayer, token: &str) -> String {
    let rejection = ask(layer, token).await.expect_err("refused");
    let refusal = rejection.refusal();
    assert_eq!((refusal.status, refusal.code), (StatusCode::UNAUTHORIZED, code::TOKEN));
    refusal.detail.to_string()
}

#[tokio::test]
async fn every_algorithm_is_verified_with_the_key_it_names() {
    let signers: Vec<_> =
        ALL.iter().enumerate().map(|(n, algorithm)| Signer::new(&n.to_string(), *algorithm)).collect();
    let published = Arc::new(Published::default());
    published.publish(&jwks(&signers.iter().collect::<Vec<_>>()));
    let layer = published.layer(&ALL);
    for (signer, algorithm) in signers.iter().zip(ALL) {
        ask(&layer, &signer.token(&claims())).await.unwrap_or_else(|fault| panic!("{algorithm:?}: {fault}"));
        // There is one key for each "alg": no choice without a "kid".
        assert!(ask(&layer, &signer.token_as(&claims(), None, algorithm)).await.is_ok(), "{algorithm:?}");
        let stranger = Signer::new(&signer.id, algorithm);
        assert!(refused(&layer, &stranger.token(&claims())).await.contains("signature"), "{algorithm:?}");
    }
    // A key is for the algorithm that it says, and no other of its family.
    let other = signers[0].token_as(&claims(), Some("0"), Algorithm::RS512);
    assert!(refused(&layer, &other).await.contains("kid"));
}

#[tokio::test]
async fn no_token_chooses_how_it_is_verified() {
    let (rsa, ed) = (Signer::new("rsa", Algorithm::RS256), Signer::new("ed", Algorithm::EdDSA));
    let published = Arc::new(Published::default());
    let mut set = jwks(&[&rsa, &ed]);
    // A shared key among the public ones is published to everybody.
    set["keys"].as_array_mut().unwrap().push(json!({"kty": "oct", "kid": "rsa", "alg": "HS256", "k": "AAAA"}));
    published.publish(&set);
    let layer = published.layer(&[Algorithm::RS256, Algorithm::EdDSA]);

    // HS256 with bytes that everybody has: the modulus, the JWK itself, the set's "oct".
    let jwk = rsa.jwk();
    for secret in [jwk["n"].as_str().unwrap().as_bytes(), jwk.to_string().as_bytes(), &[0, 0, 0]] {
        let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(60));
        let confused = sign(&grant, secret, Algorithm::HS256).expect("a token");
        assert!(refused(&layer, &confused).await.contains("algorithm"));
        assert!(
            refused(&published.layer(&[Algorithm::RS256, Algorithm::HS256]), &confused).await.contains("signature")
        );
    }
    let unsigned = rsa.token(&claims());
    let payload = unsigned.split('.').nth(1).unwrap();
    for head in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIiwia2lkIjoicnNhIn0"] {
        assert!(refused(&layer, &format!("{head}.{payload}.")).await.contains("algorithm"));
    }
    // Another key's id with the wrong kind of signature.
    assert!(refused(&layer, &ed.token_as(&claims(), Some("rsa"), Algorithm::EdDSA)).await.contains("kid"));
}

#[tokio::test]
async fn keys_come_go_and_are_missed() {
    let (old, new) = (Signer::new("old", Algorithm::ES256), Signer::new("new", Algorithm::ES256));
    let published = Arc::new(Published::default());
    let layer = published.layer(&[Algorithm::ES256, Algorithm::HS512]);

    let early = ask(&layer, &old.token(&claims())).await.expect_err("there are no keys yet");
    let refusal = early.refusal();
    assert_eq!(
        (refusal.status, refusal.code, refusal.retry_after.is_some()),
        (StatusCode::SERVICE_UNAVAILABLE, code::UNAVAILABLE, true)
    );
    assert!(refusal.detail.contains("keys could not be fetched"), "{}", refusal.detail);
    assert_eq!(published.missed.load(SeqCst), 1);
    // What needs no published key is verified all the same.
    let grant = Grant::new("docs", SystemTime::now() + Duration::from_secs(60));
    assert!(ask(&layer, &sign(&grant, &[7; 64], Algorithm::HS512).expect("a token")).await.is_ok());

    published.publish(&jwks(&[&old]));
    let token = old.token(&claims());
    assert!(ask(&layer, &token).await.is_ok());
    assert!(ask(&layer, &token).await.is_ok(), "remembered");
    assert_eq!(published.missed.load(SeqCst), 1, "a known key asks for nothing");
    assert!(refused(&layer, &new.token(&claims())).await.contains("kid"));
    assert_eq!(published.missed.load(SeqCst), 2);

    published.publish(&jwks(&[&old, &new]));
    assert!(ask(&layer, &new.token(&claims())).await.is_ok());
    assert!(refused(&layer, &old.token_as(&claims(), None, Algorithm::ES256)).await.contains("kid"), "which of two?");
    published.publish(&jwks(&[&new]));
    assert!(refused(&layer, &token).await.contains("kid"), "what was remembered goes with its key");
}

#[test]
fn only_keys_that_verify_signatures_are_read() {
    let signer = Signer::new("a", Algorithm::ES256);
    let with = |changes: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        KeySet::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()).map(|set| set.len())
    };
    for good in [json!({}), json!({"kid": null}), json!({"key_ops": ["verify"]}), json!({"x5c": ["AA"], "extra": 5})] {
        assert_eq!(with(good.clone()), Ok(1), "{good}");
    }
    let bad = [
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"alg": "HS256"}),
        json!({"alg": "ES384"}),
        json!({"alg": "none"}),
        json!({"crv": "P-384"}),
        json!({"crv": "secp256k1"}),
        json!({"x": "AAAA"}),
        json!({"y": 5}),
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "oct", "k": "AAAA"}),
    ];
    for bad in bad {
        assert_eq!(with(bad.clone()), Err(KeySetError::NoKey), "{bad}");
    }
    for text in ["", "[]", "{}", "{\"keys\": 5}", "<html>"] {
        assert_eq!(KeySet::from_jwks(text.as_bytes()).err(), Some(KeySetError::NotASet), "{text}");
    }
    let many = json!({"keys": vec![signer.jwk(); 101]}).to_string();
    assert_eq!(KeySet::from_jwks(many.as_bytes()).err(), Some(KeySetError::TooMany));
}
