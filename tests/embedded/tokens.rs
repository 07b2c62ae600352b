//! Who is admitted.

use crate::{shell, support::*};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::time::{SystemTime, UNIX_EPOCH};

fn gateway() -> Gateway {
    gateway_with("")
}

/// With further keys of `[auth]`.
fn gateway_with(auth: &str) -> Gateway {
    Gateway::start(&[AUTH, auth, &shell("stub", "echo 1", ""), &shell("other", "echo 2", "")].concat())
}

fn submit_with(gateway: &Gateway, service: &str, authorization: Option<&str>) -> Answer {
    let request = request("POST", &format!("{}/{service}/annotate", gateway.url()));
    match authorization {
        Some(text) => request.header("Authorization", text).send(),
        None => request.send(),
    }
}

#[track_caller]
fn unauthorised(answer: &Answer) {
    answer.refused(401, 101);
    let challenge = answer.header("www-authenticate").expect("a 401 says how");
    assert!(challenge.starts_with("Bearer"), "{challenge}");
}

/// Seconds since 1970, from now.
fn at(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + offset
}

/// A token with these claims, signed by HS512 with a key in base64.
fn signed(claims: &serde_json::Value, key: &str) -> String {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    encode(&Header::new(Algorithm::HS512), claims, &EncodingKey::from_base64_secret(key).unwrap()).unwrap()
}

#[test]
fn a_token_of_our_own_is_admitted_bare_and_as_bearer() {
    let gateway = gateway();
    let token = gateway.token(&[]);
    assert_eq!(submit_with(&gateway, "stub", Some(&token)).status, 200);
    assert_eq!(submit_with(&gateway, "stub", Some(&format!("Bearer {token}"))).status, 200);
    assert_eq!(submit_with(&gateway, "other", Some(&format!("bearer {token}"))).status, 200);
}

#[test]
fn whoever_has_none_or_a_bad_one_is_refused() {
    let gateway = gateway();
    let token = gateway.token(&[]);
    unauthorised(&submit_with(&gateway, "stub", None));
    let (head, tail) = token.rsplit_once('.').unwrap();
    let none = format!(
        "{}.{}.",
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        head.split('.').nth(1).unwrap()
    );
    let flipped = format!("{head}.{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    for bad in [
        "",
        "x",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "a.b.c",
        "..",
        head,
        &none,
        &flipped,
        &format!("Bearer {token} more"),
        &format!("Token {token}"),
        &"x".repeat(16 * 1024),
    ] {
        unauthorised(&submit_with(&gateway, "stub", Some(bad)));
    }
    let url = format!("{}/stub/annotate", gateway.url());
    unauthorised(&request("POST", &url).token(&token).token(&token).send());
    unauthorised(&request("POST", &format!("{url}?token={token}&access_token={token}")).send());
    assert_eq!(submit_with(&gateway, "stub", Some(&token)).status, 200);
}

#[test]
fn claims_are_held_to_their_rules() {
    let gateway = gateway_with("leeway = \"5m\"\n");
    let good = serde_json::json!({ "aud": "service-gateway", "exp": at(600), "sub": "ann" });
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(key);
        } else {
            claims[key] = value;
        }
        submit_with(&gateway, "stub", Some(&signed(&claims, KEY)))
    };
    assert_eq!(with("iat", at(-5).into()).status, 200);
    assert_eq!(with("exp", at(-2).into()).status, 200, "within the leeway");
    assert_eq!(with("aud", serde_json::json!(["x", "service-gateway"])).status, 200);
    unauthorised(&with("exp", at(-301).into()));
    unauthorised(&with("exp", serde_json::Value::Null));
    unauthorised(&with("exp", "tomorrow".into()));
    unauthorised(&with("aud", "somebody-else".into()));
    unauthorised(&with("aud", serde_json::Value::Null));
    unauthorised(&with("aud", 5.into()));
    unauthorised(&with("nbf", at(3600).into()));
    unauthorised(&with("sub", 5.into()));
    let other = KEY.replace("MDEy", "MDEz");
    unauthorised(&submit_with(&gateway, "stub", Some(&signed(&good, &other))));
}

#[test]
fn a_token_for_another_service_is_forbidden() {
    let gateway = gateway();
    let token = gateway.token(&["--service", "other"]);
    assert_eq!(submit_with(&gateway, "other", Some(&token)).status, 200);
    let answer = submit_with(&gateway, "stub", Some(&token));
    answer.refused(403, 101);
    assert_eq!(answer.header("www-authenticate"), None, "another token would not help");
    let both = gateway.token(&["--service", "other", "--service", "stub"]);
    assert_eq!(submit_with(&gateway, "stub", Some(&both)).status, 200);
}

#[test]
fn a_token_expires_while_it_is_remembered() {
    let gateway = Gateway::start(&[AUTH, "leeway = \"0s\"\n", &shell("stub", "echo 1", "")].concat());
    let token = gateway.token(&["--expires", "10s"]);
    assert_eq!(submit_with(&gateway, "stub", Some(&token)).status, 200);
    wait_for("it expires", || submit_with(&gateway, "stub", Some(&token)).status == 401);
    unauthorised(&submit_with(&gateway, "stub", Some(&token)));
}

#[test]
fn what_is_public_needs_none_and_the_rest_does() {
    let gateway = gateway();
    let url = gateway.url();
    let answer = submit_with(&gateway, "stub", Some(&gateway.token(&[])));
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    for path in
        [&format!("/stub/status?uuid={uuid}"), "/stub/info", "/stub/stats", "/info", "/livez", "/readyz", "/metrics"]
    {
        assert_eq!(get(&format!("{url}{path}")).status, 200, "{path}");
    }
    for method in ["GET", "POST", "DELETE"] {
        unauthorised(&request(method, &format!("{url}/stub/cancel?uuid={uuid}")).send());
    }
    unauthorised(&request("POST", &format!("{url}/stub/process")).json(&serde_json::json!({})).send());
    // The token is judged before anything that it costs to find out.
    unauthorised(&request("POST", &format!("{url}/nope/annotate")).send());
    unauthorised(&request("POST", &format!("{url}/stub/process")).body("application/json", "{ malformed").send());
    unauthorised(&get(&format!("{url}/stub/cancel?uuid=unknown")));
}

#[test]
fn verbs_are_opened_and_closed_by_the_configuration() {
    let public = "public = [\"annotate\", \"info\"]\n";
    let gateway = Gateway::start(&[AUTH, public, &shell("stub", "echo 1", "")].concat());
    let url = gateway.url();
    let answer = submit_with(&gateway, "stub", None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let path = format!("{url}/stub/status?uuid={}", answer.json()["uuid"].as_str().unwrap());
    unauthorised(&get(&path));
    assert_eq!(request("GET", &path).token(&gateway.token(&[])).send().status, 200);
    unauthorised(&get(&format!("{url}/stub/stats")));
    assert_eq!(get(&format!("{url}/readyz")).status, 200, "probes need none");
}

#[test]
fn no_secret_is_told() {
    let toml = ["[auth]\nkey = \"env:TEST_KEY\"\n[telemetry]\nlog = \"debug\"\n", &shell("stub", "env", "")].concat();
    let gateway = Gateway::start_with(&toml, |command| {
        command.env("TEST_KEY", KEY);
    });
    std::fs::write(gateway.config(), toml.replace("env:TEST_KEY", KEY)).unwrap(); // for the command that signs
    let token = gateway.token(&[]);
    let answer = submit_with(&gateway, "stub", Some(&token));
    let end = end(&gateway, "stub", answer.json()["uuid"].as_str().unwrap());
    assert!(end["result"].as_str().is_some_and(|env| env.contains("SERVICE_GATEWAY_TASK=")), "{end}");
    unauthorised(&submit_with(&gateway, "stub", Some(&format!("{token}x"))));
    let url = gateway.url();
    let mut told = vec![gateway.log(), end.to_string()];
    told.extend(["/info", "/stub/info", "/metrics", "/readyz"].map(|path| get(&format!("{url}{path}")).text()));
    for text in told {
        assert!(!text.contains(&KEY[..20]) && !text.contains(token.rsplit('.').next().unwrap()), "{text}");
    }
}
