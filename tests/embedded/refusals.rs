//! Bad input: each refusal has its status, its code and the whole envelope, and after each a good request still works.

use crate::{OPEN, shell, support::*};
use serde_json::json;

/// Two services, one with a document; `stub` answers 1.
fn gateway() -> Gateway {
    let stub = shell("stub", "echo 1", "");
    let other = shell("other", "echo 2", "");
    Gateway::start(&format!(
        "[server]\nmax_body = \"64 KiB\"\n[auth]\nmode = \"none\"\n{stub}{other}\
         [services.sum.worker]\ncommand = [\"sha256sum\", \"{{document}}\"]\n"
    ))
}

fn to(gateway: &Gateway, method: &str, path: &str) -> Request {
    request(method, &format!("{}{path}", gateway.url()))
}

/// A good request still works, and the gateway is ready.
#[track_caller]
fn unharmed(gateway: &Gateway) {
    assert_eq!(get(&format!("{}/readyz", gateway.url())).status, 200);
    let end = ends(gateway, "stub", &[("language", "fr")]);
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &1.into()), "{end}");
}

#[test]
fn paths_that_lead_nowhere() {
    let gateway = gateway();
    for path in ["/nope/annotate", "/nope/process", "/nope/annotate/doc.wav"] {
        let message = to(&gateway, "POST", path).send().refused(400, 202);
        assert!(message.contains("/info") || message.contains("nope"), "{message}");
    }
    for path in ["/nope/status?uuid=1", "/nope/info", "/nope/stats", "/nope/doc"] {
        to(&gateway, "GET", path).send().refused(400, 202);
    }
    for path in
        ["/nope/", "/nope", "/stub/nope", "/stub/info/more", "/a/b/c", "/favicon.ico", "/stub//annotate", "/%ff%fe/x"]
    {
        to(&gateway, "GET", path).send().refused(404, 100);
    }
    to(&gateway, "GET", "/stub/doc").send().refused(404, 100);
    unharmed(&gateway);
}

#[test]
fn methods_that_are_not_meant() {
    let gateway = gateway();
    for (method, path, allow) in [
        ("GET", "/stub/annotate", "POST"),
        ("DELETE", "/stub/annotate", "POST"),
        ("PUT", "/stub/process", "POST"),
        ("GET", "/nope/annotate", "POST"),
        ("POST", "/stub/status?uuid=1", "GET"),
        ("POST", "/stub/info", "GET"),
        ("DELETE", "/info", "GET"),
        ("PATCH", "/stub/cancel?uuid=1", "GET"),
        ("POST", "/livez", "GET"),
    ] {
        let answer = to(&gateway, method, path).send();
        answer.refused(405, 100);
        let told = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}: no Allow"));
        let methods: Vec<_> = told.split(',').map(str::trim).collect();
        assert!(methods.contains(&allow) && !methods.contains(&method), "{method} {path}: {told}");
    }
    let cancel = to(&gateway, "PATCH", "/stub/cancel?uuid=1").send();
    for method in ["GET", "POST", "DELETE"] {
        assert!(cancel.header("allow").unwrap().contains(method), "{:?}", cancel.headers);
    }
    let options = to(&gateway, "OPTIONS", "/stub/annotate").send();
    assert_eq!((options.status, options.header("allow").map(|allow| allow.contains("POST"))), (200, Some(true)));
    unharmed(&gateway);
}

#[test]
fn documents_that_are_missing_or_not_allowed() {
    let gateway = gateway();
    let submit = |url: &str| to(&gateway, "POST", "/sum/annotate").form(&[("doc_url", url)]).send();
    to(&gateway, "POST", "/sum/annotate").send().refused(400, 206);
    to(&gateway, "POST", "/sum/process").json(&json!({ "a": 1 })).send().refused(400, 206);
    to(&gateway, "POST", "/sum/annotate/doc.wav").send().refused(400, 206); // no storage is configured

    for url in [
        "",
        "no url",
        "example.org/a.wav",
        "http://",
        "http:///a.wav",
        "http://example.org",
        "/a.wav",
        "http://[::1/a",
        "http://exa mple.org/a",
    ] {
        let answer = submit(url);
        let code = answer.json()["vesta"]["code"].clone();
        assert!(answer.status == 400 && (code == 207 || url.is_empty() && code == 206), "{url:?}: {}", answer.text());
    }
    for url in ["file:///etc/passwd", "ftp://example.org/a.wav", "gopher://example.org/a", "data:text/plain,x"] {
        let answer = submit(url);
        let code = answer.json()["vesta"]["code"].clone();
        assert!(answer.status == 400 && (code == 207 || code == 211), "{url:?}: {}", answer.text());
    }
    for url in [
        "http://127.0.0.1/a.wav",
        "http://127.1/a.wav",
        "http://2130706433/a.wav",
        "http://0x7f000001/a.wav",
        "http://0177.0.0.1/a.wav",
        "http://[::1]/a.wav",
        "http://[::ffff:127.0.0.1]/a.wav",
        "http://10.0.0.1/a.wav",
        "http://192.168.1.1/a.wav",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/a.wav",
        "http://[fe80::1]/a.wav",
        "http://[fd00::1]/a.wav",
    ] {
        submit(url).refused(400, 211);
    }
    // Not only the document: every URL that a worker may fetch.
    let url = "/stub/annotate?callback_url=http%3A%2F%2F127.0.0.1%2Fhook";
    to(&gateway, "POST", url).send().refused(400, 211);
    to(&gateway, "POST", "/stub/annotate?txt_url=nonsense").send().refused(400, 207);
    unharmed(&gateway);
}

/// What a URL leads to is judged again by the worker: here, a redirect to an address that nobody has allowed.
#[test]
fn a_redirect_to_a_private_address_is_refused_by_the_worker() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let to = format!("http://127.0.0.2:{}/secret", address.port());
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    let worker = "[services.sum.worker]\ncommand = [\"sha256sum\", \"{document}\"]\n";
    let gateway = Gateway::start(&format!("{OPEN}{worker}"));
    let end = ends(&gateway, "sum", &[("doc_url", &format!("http://{address}/a"))]);
    assert_eq!((&end["status"], &end["result"]["code"]), (&"FAILURE".into(), &301.into()), "{end}");
    let message = end["result"]["message"].as_str().unwrap();
    assert!(message.contains("127.0.0.2") && message.contains("private"), "{message}");
}

#[test]
fn bodies_that_cannot_be_read() {
    let gateway = gateway();
    let json = |body: &[u8]| to(&gateway, "POST", "/stub/process").body("application/json", body).send();
    for body in [
        &b"{"[..],
        b"{\"a\": }",
        b"[1, 2]",
        b"\"text\"",
        b"5",
        b"true",
        b"{\"a\": 1} and more",
        b"\xff\xfe{}",
        b"{\"a\": \"\xff\"}",
        b"{'a': 1}",
        b"{\"a\": 1e999999}",
        b"NaN",
    ] {
        json(body).refused(400, 105);
    }
    let deep = "{\"a\":".repeat(5000) + "1" + &"}".repeat(5000);
    json(deep.as_bytes()).refused(400, 105);
    assert_eq!(json(b"null").status, 200, "null is no body");
    let other = to(&gateway, "POST", "/stub/process").body("application/ld+json", "[]").send();
    other.refused(400, 105);
    let text = to(&gateway, "POST", "/stub/process").body("text/plain", "{ no JSON").send();
    assert_eq!(text.status, 200, "other types are no body: {}", text.text());

    let multipart = |body: &str| {
        to(&gateway, "POST", "/stub/annotate").body("multipart/form-data; boundary=b", body.as_bytes()).send()
    };
    multipart("no form at all").refused(400, 105);
    multipart("--b\r\nContent-Disposition: form-data; name=\"x\"; filename=\"x.wav\"\r\n\r\nx\r\n--b--\r\n")
        .refused(400, 105);
    let good = multipart("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--\r\n");
    assert_eq!(good.status, 200, "{}", good.text());
    to(&gateway, "POST", "/stub/annotate").body("multipart/form-data", "x").send().refused(400, 105);
    let form = "application/x-www-form-urlencoded";
    to(&gateway, "POST", "/stub/annotate").body(form, &b"a=%ff%fe"[..]).send().refused(400, 105);
    unharmed(&gateway);
}

#[test]
fn bodies_that_are_too_large() {
    let gateway = gateway();
    let form = "application/x-www-form-urlencoded";
    let large = format!("a={}", "x".repeat(100_000));
    to(&gateway, "POST", "/stub/annotate").body(form, large.clone()).send().refused(413, 208);
    to(&gateway, "POST", "/stub/process")
        .body("application/json", format!("{{\"a\": \"{large}\"}}"))
        .send()
        .refused(413, 208);
    to(&gateway, "POST", "/stub/annotate").body("text/plain", large.clone()).send().refused(413, 208);
    // One that does not say how long it is.
    let mut chunked = "POST /stub/annotate HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\
                       Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        .to_owned();
    for _ in 0..100 {
        chunked.push_str(&format!("3e8\r\n{}\r\n", "y".repeat(1000)));
    }
    chunked.push_str("0\r\n\r\n");
    raw(&gateway.address().to_string(), chunked.as_bytes()).unwrap().refused(413, 208);
    // One that only says that it is large.
    let lie = "POST /stub/annotate HTTP/1.1\r\nHost: gateway\r\nContent-Length: 99999999999\r\n\r\n";
    raw(&gateway.address().to_string(), lie.as_bytes()).unwrap().refused(413, 208);
    let fits = format!("a={}", "x".repeat(60_000));
    assert_eq!(to(&gateway, "POST", "/stub/annotate").body(form, fits).send().status, 200);
    unharmed(&gateway);
}

#[test]
fn a_body_that_does_not_come() {
    // Good requests must be done in that time, too.
    let server = "[server]\nrequest_timeout = \"10s\"\n";
    let gateway = Gateway::start(&[server, OPEN, &shell("stub", "echo 1", "")].concat());
    let half = "POST /stub/annotate HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\na=1";
    raw(&gateway.address().to_string(), half.as_bytes()).unwrap().refused(408, 100);
    unharmed(&gateway);
}

#[test]
fn queries_and_heads_that_are_strange() {
    let gateway = gateway();
    let many = vec!["a=1"; 10_000].join("&");
    to(&gateway, "POST", &format!("/stub/annotate?{many}")).send().refused(400, 105);
    let form = "application/x-www-form-urlencoded";
    to(&gateway, "POST", "/stub/annotate").body(form, many).send().refused(400, 105);

    for query in ["a=%", "a=%zz", "a=%4", "%=%", "a=%u1234"] {
        let answer = to(&gateway, "POST", &format!("/stub/annotate?{query}")).send();
        assert!(answer.status == 200 || answer.status == 400, "{query}: {}", answer.text());
    }
    to(&gateway, "POST", "/stub/annotate?a=%ff").send().refused(400, 105);
    for path in
        ["/stub/annotate/%", "/stub/annotate/%zz", "/stub/annotate/%ff", "/stub/annotate/a%2Fb", "/stub/annotate/.."]
    {
        let answer = to(&gateway, "POST", path).send();
        assert!(answer.status == 404 || answer.status == 400, "{path}: {}", answer.text());
    }

    let long = "x".repeat(16 * 1024);
    let answer = to(&gateway, "POST", "/stub/annotate").header("X-Long", &long).send();
    assert_eq!(answer.status, 200, "a header that nobody reads: {}", answer.text());
    to(&gateway, "POST", "/stub/annotate").header("Idempotency-Key", &long).send().refused(400, 209);
    let answer = to(&gateway, "POST", "/stub/annotate").header("X-Long", &"x".repeat(200 * 1024)).send();
    assert_eq!(answer.status, 431, "{}", answer.text());

    let host = gateway.address().to_string();
    let twice =
        "POST /stub/annotate HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    raw(&host, twice.as_bytes()).unwrap().refused(400, 100);
    raw(&host, b"GET /info HTTP/1.1\r\n\r\n").unwrap().refused(400, 100);
    let answer = raw(&host, b"this is no HTTP\r\n\r\n");
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 400), "{answer:?}");
    unharmed(&gateway);
}

#[test]
fn tasks_that_are_not_there() {
    let gateway = gateway();
    let uuid = submit(&gateway, "stub", &[]);
    end(&gateway, "stub", &uuid);
    let unknown = "01890a5d-ac96-774b-bcce-b302099a8057";
    let upper = uuid.to_uppercase();
    let braced = format!("%7B{uuid}%7D");
    let simple = uuid.replace('-', "");
    for (method, verb) in
        [("GET", "status"), ("HEAD", "status"), ("GET", "cancel"), ("POST", "cancel"), ("DELETE", "cancel")]
    {
        for asked in [unknown, &upper, &braced, &simple, "", "1", "null", "%00", "%ff", "' OR 1=1", "../../etc"] {
            let asked = asked.replace(' ', "%20");
            let answer = to(&gateway, method, &format!("/stub/{verb}?uuid={asked}")).send();
            if method == "HEAD" {
                assert_eq!((answer.status, answer.body.len()), (400, 0), "{asked}");
            } else {
                answer.refused(400, 203);
            }
        }
        let other = to(&gateway, method, &format!("/other/{verb}?uuid={uuid}")).send();
        assert_eq!(other.status, 400, "another service's");
        let missing = to(&gateway, method, &format!("/stub/{verb}")).send();
        assert_eq!(missing.status, 400);
        if method != "HEAD" {
            other.refused(400, 203);
            missing.refused(400, 206);
        }
    }
    assert_eq!(status(&gateway, "stub", &uuid)["status"], "SUCCESS");
    unharmed(&gateway);
}

#[test]
fn errors_never_show_what_is_inside_and_escape_what_came() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", "echo 1", "")].concat());
    let path = "/%3Cscript%3Ealert(1)%3C%2Fscript%3E/annotate";
    let answer = to(&gateway, "POST", path).header("Accept", "text/html").send();
    assert_eq!(answer.status, 400);
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
    let answer = to(&gateway, "GET", "/stub/status?uuid=%1b%5b31m").send();
    answer.refused(400, 203);
    assert!(!gateway.log().contains('\u{1b}'), "no control characters in the log");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
