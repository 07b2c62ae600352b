//! Tokens verified with the public keys that an issuer publishes.

use crate::{
    shell,
    signer::{Signer, jwks},
    support::*,
};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Publishes a key set, or whatever it is told to.
struct Issuer {
    address: SocketAddr,
    says: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn new(status: u16, body: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new((status, body.to_string())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (says.clone(), asked.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                count.fetch_add(1, SeqCst);
                let (status, body) = answer.lock().unwrap().clone();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { address, says, asked }
    }

    fn says(&self, status: u16, body: &Value) {
        *self.says.lock().unwrap() = (status, body.to_string());
    }

    fn gateway(&self) -> Gateway {
        let algorithms = "[\"RS256\", \"ES256\", \"EdDSA\"]";
        let auth = format!("[auth]\nalgorithms = {algorithms}\njwks_url = \"http://{}/keys\"\n", self.address);
        Gateway::start(&[&auth, &*shell("stub", "echo 1")].concat())
    }
}

fn claims() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({ "aud": "service-gateway", "exp": now + 600, "sub": "ann" })
}

fn submit_as(gateway: &Gateway, token: &str) -> Answer {
    request("POST", &format!("{}/stub/annotate", gateway.url())).token(token).send()
}

#[test]
fn an_issuers_keys_admit_change_and_outlive_it() {
    let (rsa, ec, ed) =
        (Signer::new("a", Algorithm::RS256), Signer::new("b", Algorithm::ES256), Signer::new("c", Algorithm::EdDSA));
    let issuer = Issuer::new(200, &jwks(&[&rsa, &ec]));
    let gateway = issuer.gateway();
    // Its start waits for them, but not for long.
    wait_for("the keys come", || submit_as(&gateway, &rsa.token(&claims())).status != 503);
    for signer in [&rsa, &ec] {
        assert_eq!(submit_as(&gateway, &signer.token(&claims())).status, 200, "{:?}", signer.algorithm);
    }
    submit_as(&gateway, &ed.token(&claims())).refused(401, 101);

    // A new key and a withdrawn one. The unknown key is what makes the gateway look.
    issuer.says(200, &jwks(&[&ec, &ed]));
    let token = ed.token(&claims());
    until(Duration::from_secs(60), "the new key is found", || {
        (submit_as(&gateway, &token).status == 200).then_some(())
    });
    submit_as(&gateway, &rsa.token(&claims())).refused(401, 101);
    let asked = issuer.asked.load(SeqCst);

    // Gone: what is known goes on, and strangers do not make us ask all the time.
    issuer.says(500, &json!("no"));
    for _ in 0..50 {
        submit_as(&gateway, &Signer::new("x", Algorithm::EdDSA).token(&claims())).refused(401, 101);
    }
    let ready = || get(&format!("{}/readyz", gateway.url()));
    wait_for("it warns", || ready().text().contains("auth.jwks_url") && ready().text().contains("500"));
    assert_eq!(ready().status, 200, "a warning: {}", ready().text());
    assert_eq!(submit_as(&gateway, &ec.token(&claims())).status, 200);
    assert!(issuer.asked.load(SeqCst) - asked < 10, "{asked} and then {}", issuer.asked.load(SeqCst));
}

#[test]
fn without_keys_it_starts_says_so_and_takes_them_when_they_come() {
    let signer = Signer::new("a", Algorithm::RS256);
    let issuer = Issuer::new(200, &json!({"keys": "none"}));
    let gateway = issuer.gateway();
    submit_as(&gateway, "nonsense").refused(401, 101);
    let answer = submit_as(&gateway, &signer.token(&claims()));
    answer.refused(503, 205);
    assert!(answer.header("retry-after").is_some());
    // Its start waits for the first answer, but not for long.
    let ready = until(PATIENCE, "it says what it got", || {
        Some(get(&format!("{}/readyz", gateway.url()))).filter(|ready| ready.text().contains("Key Set"))
    });
    assert!(ready.status == 503 && ready.text().contains("keys"), "{}", ready.text());
    assert_eq!(get(&format!("{}/livez", gateway.url())).status, 200);

    issuer.says(200, &jwks(&[&signer]));
    let token = signer.token(&claims());
    until(Duration::from_secs(60), "the keys come", || (submit_as(&gateway, &token).status == 200).then_some(()));
    assert_eq!(get(&format!("{}/readyz", gateway.url())).status, 200);
}
