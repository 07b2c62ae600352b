//! The main job: a document goes in, a program works on it, progress and a result come out.

use crate::{OPEN, shell, support::*};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Large enough that it does not come in one piece, and no text.
fn recording() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes().into_iter().take(1)).collect()
}

/// A program in two steps, each let go by the test; tells its progress before each.
const IN_STEPS: &str = r#"
[services.digest]
version = "1.2"
[services.digest.worker]
command = ["sh", "-c", '''
    echo "progress: 12.5" >&2
    until [ -e @DIR@/step1 ]; do sleep 0.02; done
    echo "an ordinary line" >&2
    echo "progress: 60" >&2
    until [ -e @DIR@/step2 ]; do sleep 0.02; done
    sha256sum < "$0" | cut -d " " -f 1
''', "{document}"]
"#;

#[test]
fn a_document_is_worked_on_and_its_progress_and_result_are_seen() {
    let bytes = recording();
    let documents = Documents::serve(bytes.clone());
    let gateway = Gateway::start(&format!("{AUTH}[documents]\nallow_hosts = [\"127.0.0.1\"]\n{IN_STEPS}"));
    let url = gateway.url();

    let answer = request("POST", &format!("{url}/digest/annotate"))
        .token(&gateway.token(&[]))
        .form(&[("doc_url", &documents.url("recording.wav"))])
        .send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let uuid = body["uuid"].as_str().unwrap().to_owned();
    assert_eq!(body, json!({ "uuid": uuid }), "nothing else");

    // No token is needed to ask, and nothing but the three is answered.
    let progress = |current: u8| {
        until(PATIENCE, &format!("progress {current}"), || {
            let answer = get(&format!("{url}/digest/status?uuid={uuid}"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let status = answer.json();
            assert!(!is_end(&status), "{status}");
            (status["result"]["current"] == current).then_some(status)
        })
    };
    let seen = progress(12);
    let Value::Object(result) = &seen["result"] else { panic!("{seen}") };
    assert_eq!(seen["status"], "PROGRESS");
    assert_eq!(seen["uuid"], uuid.as_str());
    assert_eq!(seen.as_object().unwrap().len(), 3, "{seen}");
    let mut keys: Vec<_> = result.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["current", "host", "start_time", "total", "type", "worker_id_version"], "{seen}");
    assert_eq!(
        (&result["total"], &result["worker_id_version"], &result["type"]),
        (&100.into(), &"1.2".into(), &"digest".into())
    );

    fs::write(gateway.directory().join("step1"), "").unwrap();
    progress(60);
    fs::write(gateway.directory().join("step2"), "").unwrap();
    let end = end(&gateway, "digest", &uuid);
    assert_eq!(end["status"], "SUCCESS", "{end}");
    assert_eq!(end["result"], digest(&bytes), "the whole document, byte for byte");
    let plain = get(&format!("{url}/digest/status?uuid={uuid}")).json();
    assert_eq!(plain, json!({ "uuid": uuid, "status": "SUCCESS", "result": digest(&bytes) }));

    detail(&end);
    let left: Vec<_> = fs::read_dir(gateway.directory().join("gateway.db.runs")).unwrap().flatten().collect();
    assert!(left.is_empty(), "documents are removed after the run: {left:?}");
}

/// `?detail=1`: what more is told of a task that ended well at once.
fn detail(end: &Value) {
    let keys = ["uuid", "status", "result", "attempts", "submitted", "sent", "started", "ended"];
    let mut found: Vec<_> = end.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{end}");
    assert_eq!(end["attempts"], 1, "{end}");
    let time = |key: &str| {
        let text = end[key].as_str().unwrap_or_else(|| panic!("{key} in {end}"));
        text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{key}: {error}"))
    };
    assert!(time("submitted") <= time("started") && time("started") <= time("ended"), "{end}");
}

#[test]
fn a_stored_document_is_named_by_its_id() {
    let bytes = b"in storage".to_vec();
    let documents = Documents::serve(bytes.clone());
    let toml = format!(
        "[auth]\nmode = \"none\"\n[documents]\nget_url = \"{}\"\n\
         [services.digest.worker]\ncommand = [\"sha256sum\", \"{{document}}\"]\n",
        documents.url("get/{storage_doc_id}")
    );
    let gateway = Gateway::start(&toml);
    let answer = request("POST", &format!("{}/digest/annotate/abc%20d.wav", gateway.url())).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let end = end(&gateway, "digest", answer.json()["uuid"].as_str().unwrap());
    let result = end["result"].as_str().unwrap_or_else(|| panic!("{end}"));
    assert_eq!(result.split(' ').next().unwrap(), digest(&bytes));
    assert_eq!(documents.served(), 1);
}

#[test]
fn the_arguments_reach_the_program() {
    let gateway = Gateway::start(&format!("{OPEN}{}", shell("echo", "cat '{params}'", "")));
    let url = format!("{}/echo/process?language=fr&n=1&language=en", gateway.url());
    let answer = request("POST", &url).json(&json!({ "deep": { "list": [1, null, "é"] }, "n": 5 })).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let end = end(&gateway, "echo", answer.json()["uuid"].as_str().unwrap());
    let misc = &end["result"]["service"]["misc"];
    assert_eq!(misc["deep"], json!({ "list": [1, null, "é"] }), "{end}");
    assert_eq!(misc["language"], "fr", "the first value counts: {end}");
    assert_eq!(misc["n"], "1", "the query wins: {end}");
}

#[test]
fn every_result_is_what_the_program_printed() {
    let gateway = Gateway::start(
        &[
            OPEN,
            &shell("json", r#"printf '{"b": [1, 2.50], "a": "\\u00e9"}\n'"#, ""),
            &shell("text", "printf 'two\\nlines\\n\\n'", ""),
            &shell("nothing", "true", ""),
            &shell(
                "progressed",
                "echo 'progress: 250' >&2; echo 'progress: -3' >&2; echo 'progress: x' >&2; echo 7",
                "",
            ),
            &shell("told", "echo '30 of 40 done' >&2; echo fine", "progress = '(\\d+) of (\\d+) done'"),
        ]
        .concat(),
    );
    let result = |service: &str| {
        let end = ends(&gateway, service, &[]);
        assert_eq!(end["status"], "SUCCESS", "{service}: {end}");
        end["result"].clone()
    };
    assert_eq!(result("json"), json!({ "b": [1, 2.5], "a": "é" }));
    assert_eq!(result("text"), "two\nlines");
    assert_eq!(result("nothing"), Value::Null);
    assert_eq!(result("progressed"), 7);
    assert_eq!(result("told"), "fine");
}

#[test]
fn a_store_in_memory_works_and_leaves_no_database() {
    let toml = format!("[store]\nurl = \"sqlite::memory:\"\n{OPEN}{}", shell("stub", "echo 42", ""));
    let mut gateway = Gateway::start(&toml);
    let end = ends(&gateway, "stub", &[]);
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &42.into()), "{end}");
    let names = || fs::read_dir(gateway.directory()).unwrap().flatten().map(|entry| entry.file_name());
    let databases: Vec<_> = names().filter(|name| name.to_string_lossy().contains(".db")).collect();
    assert!(databases.is_empty(), "{databases:?}");
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn services_do_not_wait_for_each_other_and_one_runs_as_many_as_configured() {
    let gateway = Gateway::start(
        &[OPEN, &shell("long", crate::GATED, "concurrency = 3"), &shell("short", "echo 1", "")].concat(),
    );
    let long: Vec<_> = (0..5).map(|_| submit(&gateway, "long", &[])).collect();
    wait_for("three run", || crate::starts(&gateway).len() == 3);
    assert_eq!(ends(&gateway, "short", &[])["status"], "SUCCESS");
    assert_eq!(crate::starts(&gateway).len(), 3, "no more than concurrency says");
    let info = get(&format!("{}/long/info", gateway.url())).json();
    assert_eq!(info["activeWorkers"], 3, "{info}");
    let waiting = status(&gateway, "long", &long[4]);
    assert_eq!((&waiting["status"], &waiting["result"]), (&"PENDING".into(), &Value::Null), "{waiting}");
    crate::go(&gateway);
    for uuid in &long {
        assert_eq!(end(&gateway, "long", uuid)["status"], "SUCCESS");
    }
    let order: Vec<_> = crate::starts(&gateway).into_iter().map(|start| start.uuid).collect();
    assert_eq!(
        {
            let mut first = order[..3].to_vec();
            first.sort();
            first
        },
        long[..3],
        "first come, first served"
    );
}
