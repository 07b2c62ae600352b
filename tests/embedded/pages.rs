//! What is told about services, the installation and the process itself.

use crate::{GATED, OPEN, go, shell, starts, support::*};
use serde_json::{Value, json};
use std::fs;

const STUB: &str = r#"
[platform.about]
name = "Our lab"
[platform.pages]
doc = "https://example.org/platform/doc"
[services.stub]
version = "0.4.3"
requires_document = false
[services.stub.about]
name = "Stub service"
synopsis = "Returns what it was given."
institution = "Example Lab"
release_time = "2026-01-01T00:00:00Z"
support_email = "support@example.org"
category = "Data Manipulation"
research_subject = "Multi-discipline"
tags = [" stub ", "testing"]
[services.stub.pages]
home = "https://example.org/stub"
doc = "https://example.org/stub/doc"
releasenotes = "first release,200"
source = ",204"
provenance = "https://example.org/données"
support = "file:@DIR@/gateway.toml"
[services.stub.worker]
command = ["true"]
concurrency = 2
[services.idle]
"#;

#[test]
fn info_says_what_a_service_is() {
    let gateway = Gateway::start(&format!("{OPEN}{STUB}"));
    let url = gateway.url();
    let version = env!("CARGO_PKG_VERSION");
    let expected = json!({
        "name": "Stub service", "synopsis": "Returns what it was given.", "institution": "Example Lab",
        "releaseTime": "2026-01-01T00:00:00Z", "supportEmail": "support@example.org",
        "category": "Data Manipulation", "researchSubject": "Multi-discipline", "tags": ["stub", "testing"],
        "version": format!("{version}_0.4.3"), "activeWorkers": 2,
    });
    for path in ["/stub/info", "/stub/service/info"] {
        let answer = get(&format!("{url}{path}"));
        assert_eq!((answer.status, answer.json()), (200, expected.clone()), "{path}");
        let head = request("HEAD", &format!("{url}{path}")).send();
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
    let idle = get(&format!("{url}/idle/info")).json();
    assert_eq!(idle["activeWorkers"], 0, "{idle}");

    for path in ["/info", "/service/info"] {
        let answer = request("GET", &format!("{url}{path}")).header("Accept", "text/html").send();
        let info = answer.json();
        assert_eq!(info["version"], version, "always JSON: {info}");
        let stub = &info["services"]["stub"];
        for (key, value) in [
            ("route_keyword", "stub"),
            ("celery_task_name", "stub"),
            ("celery_queue_name", "stub"),
            ("version", "0.4.3"),
            ("doc", "https://example.org/stub/doc"),
            ("source", ",204"),
            ("name", "Stub service"),
        ] {
            assert_eq!(stub[key], value, "{key}: {stub}");
        }
        assert!(info["services"]["idle"].is_object() && info["services"].as_object().unwrap().len() == 2, "{info}");
        for secret in ["command", "worker", "store", "broker", &*gateway.directory().to_string_lossy()] {
            assert!(!answer.text().contains(secret), "nothing else of the configuration: {secret} in {info}");
        }
    }
    let platform = get(&format!("{url}/platform/info")).json();
    assert_eq!((&platform["name"], &platform["version"]), (&"Our lab".into(), &version.into()), "{platform}");
}

#[test]
fn pages_are_as_configured() {
    let gateway = Gateway::start(&format!("{OPEN}{STUB}"));
    let url = gateway.url();
    let page = |path: &str| get(&format!("{url}{path}"));
    for (path, to) in [
        ("/stub/", "https://example.org/stub"),
        ("/stub/doc", "https://example.org/stub/doc"),
        ("/stub/service/doc", "https://example.org/stub/doc"),
        ("/platform/doc", "https://example.org/platform/doc"),
        ("/doc", "https://example.org/platform/doc"),
        ("/stub/provenance", "https://example.org/donn%C3%A9es"),
    ] {
        let answer = page(path);
        assert_eq!((answer.status, answer.header("location")), (302, Some(to)), "{path}");
    }
    let notes = page("/stub/releasenotes");
    assert_eq!((notes.status, &*notes.text()), (200, "first release"));
    assert_eq!((page("/stub/source").status, page("/stub/source").body.len()), (204, 0));
    let file = page("/stub/support");
    assert_eq!(file.status, 200);
    assert_eq!(file.body, fs::read(gateway.config()).unwrap(), "the file itself");
    assert!(file.header("content-type").unwrap().starts_with("text/html"));
    for path in ["/stub/tryme", "/stub/%2569nfo", "/idle/", "/platform/licence", "/licence", "/"] {
        page(path).refused(404, 100);
    }
    let bare = page("/stub?a=1");
    assert_eq!((bare.status, bare.header("location")), (308, Some(&*format!("{}/stub/?a=1", gateway.url()))));
}

#[test]
fn stats_count_what_was_accepted() {
    let gateway = Gateway::start(&[OPEN, &shell("one", "echo 1", ""), &shell("two", "exit 1", "")].concat());
    let url = gateway.url();
    let stats = |path: &str| {
        let answer = get(&format!("{url}{path}"));
        assert_eq!(answer.status, 200, "{path} {}", answer.text());
        answer.json()
    };
    assert_eq!(stats("/one/stats")["invocations"], 0);
    for _ in 0..3 {
        submit(&gateway, "one", &[]);
    }
    submit(&gateway, "two", &[]);
    request("POST", &format!("{url}/one/process")).body("application/json", "{").send().refused(400, 105);
    for (path, count) in [
        ("/one/stats", 3),
        ("/one/service/stats", 3),
        ("/two/stats", 1),
        ("/stats", 4),
        ("/service/stats", 4),
        ("/platform/stats", 4),
    ] {
        let told = stats(path);
        assert_eq!(told["invocations"], count, "{path}: {told}");
        let since = told["lastReset"].as_str().unwrap();
        assert!(since.len() == "2026-01-01T00:00:00Z".len() && since.parse::<jiff::Timestamp>().is_ok(), "{told}");
    }
}

#[test]
fn probes_and_metrics() {
    let gateway = Gateway::start(&[AUTH, &shell("stub", GATED, "")].concat());
    let url = gateway.url();
    let live = get(&format!("{url}/livez"));
    assert_eq!((live.status, live.json()["status"].as_str()), (200, Some("alive")));
    for path in ["/readyz", "/healthz"] {
        let ready = get(&format!("{url}{path}"));
        assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")), "{}", ready.text());
        assert_eq!(ready.json()["parts"], json!({ "store": "ok", "broker": "ok" }));
        assert_eq!(ready.header("cache-control"), Some("no-store"));
    }

    let token = gateway.token(&[]);
    for _ in 0..3 {
        assert_eq!(
            request("POST", &format!("{url}/stub/annotate?secret=hidden-argument")).token(&token).send().status,
            200
        );
    }
    request("POST", &format!("{url}/stub/annotate")).send().refused(401, 101);
    request("POST", &format!("{url}/invented-name/annotate")).token(&token).send().refused(400, 202);
    let answer = get(&format!("{url}/metrics"));
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    let count = |verb: &str, status: &str| {
        let method = "http_request_method=\"POST\"";
        let labels = format!("service=\"stub\",verb=\"{verb}\",{method},http_response_status_code=\"{status}\"");
        let line = format!("http_server_request_duration_seconds_count{{{labels}}} ");
        text.lines().find_map(|found| found.strip_prefix(&*line)?.parse::<u64>().ok())
    };
    assert_eq!(count("annotate", "200"), Some(3), "{text}");
    assert_eq!(count("annotate", "401"), Some(1), "refusals are counted, too: {text}");
    for hidden in [&token[..20], "hidden-argument", "invented-name", &KEY[..20]] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(value.parse::<f64>().is_ok() && !name.is_empty(), "{line:?}");
    }
    wait_for("it runs", || !starts(&gateway).is_empty());
    go(&gateway);
}

#[test]
fn metrics_can_be_left_out() {
    let gateway = Gateway::start(&[OPEN, "[telemetry]\nmetrics = false\n", &shell("stub", "echo 1", "")].concat());
    get(&format!("{}/metrics", gateway.url())).refused(404, 100);
}

#[test]
fn a_service_can_be_at_the_root_and_under_another_name() {
    let services = shell("root", "echo '\"root\"'", "")
        .replace("requires_document", "route = \".\"\nrequires_document")
        + &shell("stub", "echo '\"moved\"'", "").replace("requires_document", "route = \"moved\"\nrequires_document");
    let gateway = Gateway::start(&format!("{OPEN}{services}"));
    let url = gateway.url();
    let result = |base: &str| {
        let answer = request("POST", &format!("{url}{base}/annotate")).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
        until(PATIENCE, "its end", || {
            let status = get(&format!("{url}{base}/status?uuid={uuid}")).json();
            is_end(&status).then(|| status["result"].clone())
        })
    };
    assert_eq!(result(""), "root");
    assert_eq!(result("/moved"), "moved");
    request("POST", &format!("{url}/stub/annotate")).send().refused(400, 202);
    assert_eq!(get(&format!("{url}/stats")).json()["invocations"], 1, "the root service's");
    let info = get(&format!("{url}/info")).json();
    assert_eq!(info["services"]["stub"]["route_keyword"], "moved", "{info}");
    assert_ne!(info["services"]["root"], Value::Null, "/info stays the list of all: {info}");
}
