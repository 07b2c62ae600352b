//! Chains of services, run by the gateway's own worker.

use crate::{
    OPEN, go, shell, starts,
    support::{AUTH, Answer, Documents, Gateway, get, is_end, is_state, request, status, until, wait_for},
};
use serde_json::{Value, json};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);
const KIND: &str = "multipart/form-data; boundary=X";

fn field(name: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
}

fn file(name: &str, file: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n{content}\r\n")
}

fn post(gateway: &Gateway, parts: &[String]) -> crate::support::Request {
    let url = format!("{}/simple_workflow/process", gateway.url());
    request("POST", &url).body(KIND, parts.concat() + "--X--\r\n")
}

#[track_caller]
fn uuid(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["uuid"].as_str().unwrap().to_owned()
}

#[track_caller]
fn submit(gateway: &Gateway, steps: &Value) -> String {
    uuid(&post(gateway, &[field("json", &json!({ "services": steps }).to_string())]).send())
}

#[track_caller]
fn end(gateway: &Gateway, uuid: &str) -> Value {
    until(LONG, &format!("the end of chain {uuid}"), || Some(status(gateway, "simple_workflow", uuid)).filter(is_end))
}

/// A service that reads its document, tells what it was given, and says so in upper case.
fn loud(name: &str) -> String {
    format!(
        "[services.{name}]\n[services.{name}.worker]\ncommand = [\"sh\", \"-c\", '''tr a-z A-Z < \"$1\"''', \"sh\", \
         \"{{document}}\"]\n"
    )
}

const CHAINS: &str = "[services.simple_workflow]\n";

#[test]
fn an_uploaded_file_goes_through_two_services() {
    let documents = Documents::serve("from elsewhere");
    let script = format!(
        "echo 'progress: 50' >&2; echo '{{\"files\": [{{\"name\": \"a\", \"url\": \"'{}'\"}}]}}'",
        documents.url("made.txt")
    );
    let leave = "[services.leave]\nrequires_document = false\n[services.leave.worker]\n\
         command = [\"sh\", \"-c\", \"printf left > $0/a.txt\", \"{output}\"]\n";
    let text = OPEN.to_owned() + CHAINS + &shell("make", &script, "") + &loud("loud") + leave;
    let gateway = Gateway::start(&text);
    let steps = json!([{"service_name": "loud", "url": "my file"}]);
    let parts = [field("json", &json!({ "services": steps }).to_string()), file("my file", "a.txt", "hello")];
    let one = uuid(&post(&gateway, &parts).send());
    let done = end(&gateway, &one);
    assert!(is_state(&done, "SUCCESS") && done["result"] == "HELLO", "{done}");

    // What the first step says that it made is what the second reads.
    let two = submit(&gateway, &json!([{"service_name": "make"}, {"service_name": "loud"}]));
    let done = end(&gateway, &two);
    assert!(is_state(&done, "SUCCESS") && done["result"] == "FROM ELSEWHERE", "{done}");
    // So is what it leaves in its directory.
    let three = submit(&gateway, &json!([{"service_name": "leave"}, {"service_name": "loud"}]));
    let done = end(&gateway, &three);
    assert!(is_state(&done, "SUCCESS") && done["result"] == "LEFT", "{done}");
    // Steps are tasks as any others.
    for (service, count) in [("make", 1), ("leave", 1), ("loud", 3), ("simple_workflow", 3)] {
        assert_eq!(get(&format!("{}/{service}/stats", gateway.url())).json()["invocations"], count, "{service}");
    }
    let info = get(&format!("{}/simple_workflow/info", gateway.url())).json();
    assert_eq!(info["activeWorkers"], 64);
    // The form may be urlencoded, too; a chain without steps is soon done.
    let url = format!("{}/simple_workflow/process", gateway.url());
    let none = uuid(&request("POST", &url).form(&[("json", "{\"services\": []}")]).send());
    let done = end(&gateway, &none);
    assert!(is_state(&done, "SUCCESS") && done["result"].is_null(), "{done}");
}

#[test]
fn a_place_holder_is_one_file_for_all_steps() {
    let script = r#"
url=$(sed -n 's/.*"target":"\([^"]*\)".*/\1/p' params.json)
python3 - "$url" <<'PY'
import sys, urllib.request
body = b'--X\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nkept for later\r\n--X--\r\n'
urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, {"Content-Type": "multipart/form-data; boundary=X"}))
PY
echo "\"$url\""
"#;
    let text = OPEN.to_owned() + CHAINS + &shell("put", script, "") + &loud("loud");
    let gateway = Gateway::start(&text);
    let steps =
        json!([{"service_name": "put", "target": "s__kept.txt__e"}, {"service_name": "loud", "url": "s__kept.txt__e"}]);
    let done = end(&gateway, &submit(&gateway, &steps));
    assert!(is_state(&done, "SUCCESS") && done["result"] == "KEPT FOR LATER", "{done}");
}

#[test]
fn progress_is_over_all_steps_and_the_first_failure_ends_it() {
    let gated = format!("echo 'progress: 50' >&2\n{}", crate::GATED);
    let text = OPEN.to_owned()
        + CHAINS
        + &shell("quick", "echo '\"quick\"'", "")
        + &shell("gated", &gated, "")
        + &shell("broken", "echo why >&2; exit 3", "")
        + &shell("never", "touch @DIR@/never", "");
    let gateway = Gateway::start(&text);
    let steps = json!([{"service_name": "quick"}, {"service_name": "gated"}, {"service_name": "broken"}, {"service_name": "never"}]);
    let uuid = submit(&gateway, &steps);
    // One of four is done, and half of the second.
    until(LONG, "it is three eighths through", || {
        let now = status(&gateway, "simple_workflow", &uuid);
        (now["result"]["current"] == 37 && now["result"]["total"] == 100).then_some(())
    });
    go(&gateway);
    let failed = end(&gateway, &uuid);
    assert!(is_state(&failed, "FAILURE"), "{failed}");
    assert_eq!(failed["result"]["code"], 642, "{failed}");
    let message = failed["result"]["message"].as_str().unwrap();
    assert!(message.starts_with("step 3 of 4 (broken): ") && message.contains("why"), "{message}");
    assert!(!gateway.directory().join("never").exists());
}

#[test]
fn cancelling_a_chain_reaches_the_step_that_runs() {
    let gateway = Gateway::start(&(OPEN.to_owned() + CHAINS + &shell("gated", crate::GATED, "")));
    let uuid = submit(&gateway, &json!([{"service_name": "gated"}, {"service_name": "gated"}]));
    wait_for("the step runs", || !starts(&gateway).is_empty());
    let step = starts(&gateway).remove(0).uuid;
    let answer = request("POST", &format!("{}/simple_workflow/cancel?uuid={uuid}", gateway.url())).send().json();
    assert_eq!((&answer["status"], &answer["result"]["code"]), (&json!("REVOKED"), &json!(109)));
    until(LONG, "the step is cancelled, too", || is_state(&status(&gateway, "gated", &step), "REVOKED").then_some(()));
    assert_eq!(starts(&gateway).len(), 1, "the second step is never begun");
}

#[test]
fn bad_chains_are_refused() {
    let gateway = Gateway::start(&(OPEN.to_owned() + CHAINS + &loud("loud")));
    let json = |text: &str| post(&gateway, &[field("json", text)]).send();
    for (text, code) in [
        ("null", 206),
        ("{bad", 105),
        ("[1]", 105),
        ("{}", 206),
        (r#"{"services": "x"}"#, 105),
        (r#"{"services": [{}]}"#, 206),
        (r#"{"services": [{"service_name": "nope"}]}"#, 202),
        (r#"{"services": [{"service_name": "simple_workflow"}]}"#, 105),
        (r#"{"services": [{"service_name": "loud", "url": "s__nothing__e"}]}"#, 105),
    ] {
        json(text).refused(400, code);
    }
    post(&gateway, &[file("f", "x", "y")]).send().refused(400, 206);
    post(&gateway, &[file("json", "j.json", "{\"services\": []}")]).send().refused(400, 206);
    post(&gateway, &[file("f", "x", "1"), file("f", "y", "2")]).send().refused(400, 105);
    post(&gateway, &[field("a", "1").repeat(10_000)]).send().refused(400, 105);
    let url = format!("{}/simple_workflow/process", gateway.url());
    request("POST", &url).json(&json!({"json": {"services": []}})).send().refused(400, 206);
    request("POST", &url).send().refused(400, 206);
    let latin = [b"--X\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\ncaf\xe9\r\n--X--\r\n".to_vec()].concat();
    request("POST", &url).body(KIND, latin).send().refused(400, 105);
    let get = request("GET", &url).send();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(crate::support::get(&format!("{}/simple_workflow/stats", gateway.url())).json()["invocations"], 0);
}

#[test]
fn a_chain_needs_a_token_and_hands_it_on_without_showing_it() {
    // Nothing is said of hosts: the gateway admits its own temporary files, and goes to itself.
    let text = format!("{AUTH}{CHAINS}")
        + &shell("echo", "cat params.json", "")
        + &shell("quick", "echo 1", "")
        + &loud("loud");
    let gateway = Gateway::start(&text);
    let steps = json!([{"service_name": "quick"}, {"service_name": "loud", "url": "f"}, {"service_name": "echo"}]);
    let parts = [field("json", &json!({ "services": steps }).to_string()), file("f", "a.txt", "hello")];
    post(&gateway, &parts).send().refused(401, 101);
    let token = gateway.token(&[]);
    let done = end(&gateway, &uuid(&post(&gateway, &parts).token(&token).send()));
    assert!(is_state(&done, "SUCCESS"), "{done}");
    // A step is a task of its own, which is not told what the chain is told.
    assert!(!done.to_string().contains("sg_token"), "{done}");
    let limited = gateway.token(&["--service", "simple_workflow"]);
    let refused = end(&gateway, &uuid(&post(&gateway, &parts).token(&limited).send()));
    let message = refused["result"]["message"].as_str().unwrap();
    assert!(message.starts_with("step 1 of 3 (quick): ") && message.contains("403"), "{refused}");
    for secret in [token, limited] {
        assert!(!gateway.log().contains(&secret));
    }
}

#[test]
fn the_same_key_is_the_same_chain_though_its_files_lie_elsewhere() {
    let gateway = Gateway::start(&(OPEN.to_owned() + CHAINS + &loud("loud")));
    let steps = json!({"services": [{"service_name": "loud", "url": "f"}]}).to_string();
    let send = |content: &str| {
        post(&gateway, &[field("json", &steps), file("f", "a.txt", content)]).header("Idempotency-Key", "one").send()
    };
    assert_eq!(uuid(&send("hello")), uuid(&send("hello")));
    send("another").refused(422, 209);
}
