//! One line an event, no secrets, whatever clients and workers send.

use crate::{
    support::{AUTH, Gateway, KEY, end, raw, request, wait_for},
    traces::{TRACE, traceparent},
};
use serde_json::Value;

const SECRET: &str = "s3cr3t-w0rd";

/// Every level, so that nothing is left out.
fn gateway(format: &str) -> Gateway {
    Gateway::start(&format!(
        "{AUTH}shared_key = \"{SECRET}\"\n[telemetry]\nlog = \"debug,hyper_util=off,reqwest=off\"\nlog_format = \"{format}\"\n\
         [services.stub]\nrequires_document = false\n[services.stub.worker]\n\
         command = [\"sh\", \"-c\", \"printf 'a\\\\033[31mb\\\\rINFO forged c\\\\n' >&2; exit 3\"]\n"
    ))
}

/// Asks with what should not be in a log; gives the uuid of a task that failed.
fn ask(gateway: &Gateway) -> String {
    let token = gateway.token(&[]);
    let url = gateway.url();
    let submission = request("POST", &format!("{url}/stub/annotate?note=%0aINFO%20forged%1b%5b31m"))
        .token(&token)
        .header("traceparent", &traceparent(TRACE))
        .header("x-request-id", "request-1")
        .header("user-agent", "evil\u{85}\u{2028} agent")
        .form(&[("password", SECRET), ("callback_url", &format!("http://u:{SECRET}@192.0.2.1/back"))]);
    let answer = submission.send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    assert_eq!(end(gateway, "stub", &uuid)["status"], "FAILURE");
    for path in ["/stub/annotate%0aINFO%20forged", "/stub/status?uuid=%1b%5b2J%0d%0aINFO+forged", "/%e2%80%a8forged"] {
        assert!(request("GET", &format!("{url}{path}")).send().status >= 400);
    }
    let bad = request("POST", &format!("{url}/stub/annotate?doc_url=http://u:{SECRET}@127.0.0.1/%0aINFO%20forged"));
    assert_eq!(bad.token(&token).send().status, 400);
    assert_eq!(request("POST", &format!("{url}/stub/annotate")).token(&format!("{SECRET}.x.y")).send().status, 401);
    let key = request("GET", &format!("{url}/get_temporary_file_path?service_key={SECRET}"));
    drop(key.send());
    drop(raw(&gateway.address().to_string(), b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n"));
    drop(raw(&gateway.address().to_string(), b"G\x1b[31mT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    uuid
}

fn holds_no_secret(log: &str) {
    assert!(!log.contains(SECRET) && !log.contains(KEY), "{log}");
    let treacherous = |c: char| (c.is_control() && c != '\n') || c == '\u{2028}';
    assert!(!log.contains(treacherous), "{log:?}");
}

#[test]
fn text_is_one_line_an_event() {
    let gateway = gateway("text");
    let uuid = ask(&gateway);
    let log = gateway.log();
    holds_no_secret(&log);
    for line in log.lines().filter(|line| !line.starts_with("--- ")) {
        // 2026-01-01T00:00:00.000000Z LEVEL …
        let mut words = line.split_whitespace();
        let stamp = words.next().is_some_and(|it| it.ends_with('Z') && it.starts_with("20"));
        let level = words.next().is_some_and(|it| ["ERROR", "WARN", "INFO", "DEBUG"].contains(&it));
        assert!(stamp && level, "{line:?} is no event");
    }
    let accepted =
        log.lines().find(|line| line.contains("accepted") && line.contains(&uuid)).expect("an accepted task");
    for part in ["request_id=\"request-1\"", "service=\"stub\"", &format!("trace_id={TRACE}")] {
        assert!(accepted.contains(part), "{part}: {accepted}");
    }
    wait_for("its end is told", || gateway.log().lines().any(|line| line.contains("ended") && line.contains(&uuid)));
}

#[test]
fn json_is_one_object_an_event() {
    let gateway = gateway("json");
    let uuid = ask(&gateway);
    let of_end = |event: &Value| event["message"] == "ended" && event["uuid"] == *uuid && event["state"] == "FAILURE";
    let events = || -> Vec<Value> {
        let log = gateway.log();
        holds_no_secret(&log);
        let lines = log.lines().filter(|line| !line.starts_with("--- "));
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    };
    wait_for("its end is told", || events().iter().any(of_end));
    let events = events();
    let accepted = events.iter().find(|event| event["message"] == "accepted").expect("an accepted task");
    let ended = events.iter().find(|event| of_end(event)).unwrap();
    for event in [accepted, ended] {
        assert_eq!(
            (&event["uuid"], &event["service"], &event["trace_id"]),
            (&Value::from(&*uuid), &"stub".into(), &TRACE.into())
        );
    }
    assert_eq!(accepted["request_id"], "request-1");
    let refused = events.iter().filter(|event| event["message"].as_str().is_some_and(|it| it.starts_with("refused: ")));
    assert!(refused.clone().count() >= 3);
    assert!(refused.clone().all(|event| event["request_id"].is_string() && event["code"].is_number()));
}
