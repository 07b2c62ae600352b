//! What a client sees through NGINX, and what it cannot make the gateway believe.

use crate::{
    OPEN, STUB,
    proxy::{Mount, Nginx},
    support::*,
};
use serde_json::Value;
use std::process::Command;

const PAGES: &str = "[services.stub.pages]\nsupport = \"file:@DIR@/gateway.toml\"\n";

fn behind(mount: Mount) -> (Gateway, Nginx) {
    let gateway = Gateway::start(&[OPEN, STUB, PAGES].concat());
    let nginx = Nginx::start(mount, [gateway.address(), gateway.address()]);
    (gateway, nginx)
}

/// The URL of the service's page, as the gateway prints it.
fn printed(answer: &Value) -> String {
    answer["services"]["stub"]["support"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn below_a_prefix_every_link_has_it() {
    let (gateway, nginx) = behind(Mount::Prefix);
    let url = format!("{}/gateway", nginx.url());
    assert_eq!(get(&nginx.url()).text(), "host", "the rest is the host's");
    assert_eq!(printed(&get(&format!("{url}/info")).json()), format!("{url}/stub/support"));
    let redirect = get(&format!("{url}/stub"));
    assert_eq!(redirect.status, 308);
    let location = redirect.header("location").unwrap();
    assert!(location == "/gateway/stub/" || location == format!("{url}/stub/"), "{location}");

    let answer = request("POST", &format!("{url}/stub/annotate")).form(&[("a", "b")]).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    wait_for("its end, through NGINX", || get(&format!("{url}/stub/status?uuid={uuid}")).json()["status"] == "SUCCESS");

    // A temporary file goes through as it comes, and back.
    let boundary = "b";
    let large = "x".repeat(3 << 20);
    let body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.txt\"\r\n\r\n{large}\r\n--{boundary}--\r\n"
    );
    let kept = request("POST", &format!("{url}/temporary_file")).body("multipart/form-data; boundary=b", body).send();
    assert_eq!(kept.status, 201, "{}", kept.text());
    let file = kept.text().trim().to_owned();
    assert!(file.starts_with(&format!("{url}/temporary_file/")), "{file}");
    assert_eq!(get(&file).text().len(), large.len());
    drop(gateway);
}

#[test]
fn nobody_but_the_proxy_says_who_asks() {
    let (gateway, nginx) = behind(Mount::Prefix);
    let url = format!("{}/gateway", nginx.url());
    let forged = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Script-Name", "/evil"),
        ("X-Scheme", "gopher"),
        ("Forwarded", "for=203.0.113.9;host=evil.example;proto=gopher"),
        ("X-Request-Id", "evil-request"),
    ];
    let ask = |path: &str| {
        forged
            .iter()
            .fold(request("GET", &format!("{url}{path}")), |request, (name, value)| request.header(name, value))
            .send()
    };
    let info = ask("/info");
    assert_eq!(printed(&info.json()), format!("{url}/stub/support"));
    let id = info.header("x-request-id").unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "NGINX's own: {id}");
    wait_for("NGINX logs it", || nginx.log().contains(&format!("request_id={id}")));
    let refused = ask("/stub/status");
    let id = refused.header("x-request-id").unwrap().to_owned();
    assert_eq!(refused.json()["request_id"], id.as_str());
    assert!(!gateway.log().contains("evil") && !gateway.log().contains("203.0.113.9"), "{}", gateway.log());

    // A gateway that trusts no proxy believes none.
    let gateway = Gateway::start(&["[server]\ntrusted_proxies = [\"192.0.2.1/32\"]\n", OPEN, STUB, PAGES].concat());
    let nginx = Nginx::start(Mount::Root, [gateway.address(), gateway.address()]);
    let (status, _, body) = tls(&format!("{}/info", nginx.tls_url()));
    assert_eq!(status, 200);
    let printed = printed(&serde_json::from_str(&body).unwrap());
    assert!(printed.starts_with("http://localhost:"), "it does not know of TLS: {printed}");
}

#[test]
fn a_server_of_its_own_speaks_tls() {
    let (gateway, nginx) = behind(Mount::Root);
    let redirect = get(&format!("{}/stub/info?a=b", nginx.url()));
    assert_eq!(redirect.status, 308);
    assert_eq!(redirect.header("location"), Some("https://127.0.0.1/stub/info?a=b"));
    let (status, headers, body) = tls(&format!("{}/info", nginx.tls_url()));
    assert_eq!(status, 200, "{body}");
    let address = nginx.tls_url();
    assert_eq!(printed(&serde_json::from_str(&body).unwrap()), format!("{address}/stub/support"));
    assert!(headers["x-request-id"].is_string(), "{headers}");
    drop(gateway);
}

#[test]
fn what_nginx_refuses_looks_as_what_we_refuse() {
    // The port stays its own when it is gone.
    let port = Port::hold();
    let gateway = Gateway::start_at(&[OPEN, STUB, PAGES].concat(), port.address());
    let nginx = Nginx::start(Mount::Prefix, [port.address(), port.address()]);
    let url = format!("{}/gateway", nginx.url());
    let large = request("POST", &format!("{url}/stub/annotate")).body("text/plain", vec![b'x'; 3 << 20]).send();
    assert_eq!(large.status, 413);
    assert_eq!(large.json()["status"], 413, "{}", large.text());
    let metrics = get(&format!("{url}/metrics"));
    assert_eq!((metrics.status, metrics.json()["status"].clone()), (403, 403.into()), "{}", metrics.text());
    // What the gateway says goes through untouched.
    get(&format!("{url}/stub/status?uuid=nope")).refused(400, 203);
    drop(gateway);
    for answer in [get(&format!("{url}/stub/info")), request("POST", &format!("{url}/stub/annotate")).send()] {
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["vesta"]["code"], 205, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
}

/// `GET` over TLS, whoever signed the certificate: status, headers, body. Python's, as the tests have no such client.
fn tls(url: &str) -> (u16, Value, String) {
    let code = "import json, ssl, sys, urllib.request as r\n\
                c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE\n\
                a = r.urlopen(r.Request(sys.argv[1], headers={'Accept': 'application/json'}), context=c, timeout=60)\n\
                print(json.dumps([a.status, {k.lower(): v for k, v in a.headers.items()}, a.read().decode()]))";
    let output = Command::new("python3").args(["-c", code, url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
