//! Programs that fail, in every way that a program can: each task ends, says why, and the gateway lives on.

use crate::{OPEN, shell, support::*};
use serde_json::{Value, json};

/// The code of a program's failure.
const SUBPROCESS: u64 = 642;

/// Follows a task that must fail; gives code and message.
#[track_caller]
fn failure(gateway: &Gateway, service: &str, form: &[(&str, &str)]) -> (u64, String) {
    let end = ends(gateway, service, form);
    assert_eq!(end["status"], "FAILURE", "{service}: {end}");
    let result = end["result"].as_object().unwrap_or_else(|| panic!("{end}"));
    assert_eq!(result.len(), 2, "code and message: {end}");
    (result["code"].as_u64().unwrap(), result["message"].as_str().unwrap().to_owned())
}

#[test]
fn a_program_that_fails_explains_itself() {
    let missing = "[services.missing]\nrequires_document = false\n[services.missing.worker]\ncommand = [\"@DIR@/no-such-program\"]\n";
    let script =
        "[services.plain]\nrequires_document = false\n[services.plain.worker]\ncommand = [\"@DIR@/gateway.toml\"]\n";
    let gateway = Gateway::start(
        &[
            OPEN,
            &shell("fails", "echo 'a result all the same'; echo first >&2; echo 'progress: 5' >&2; echo 'no speech found' >&2; exit 3", ""),
            &shell("silent", "exit 255", ""),
            &shell("killed", "echo 'about to die' >&2; kill -KILL $$", ""),
            &shell("aborted", "kill -ABRT $$", ""),
            missing,
            script,
        ]
        .concat(),
    );
    let (code, message) = failure(&gateway, "fails", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(
        message.contains("exit status 3") && message.contains("no speech found") && !message.contains("first"),
        "{message}"
    );

    let (code, message) = failure(&gateway, "silent", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("exit status 255"), "{message}");

    let (code, message) = failure(&gateway, "killed", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("SIGKILL") && message.contains("about to die"), "{message}");

    let (code, message) = failure(&gateway, "aborted", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("SIGABRT"), "{message}");

    let (code, message) = failure(&gateway, "missing", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("no-such-program"), "{message}");

    let (code, message) = failure(&gateway, "plain", &[]);
    assert_eq!(code, SUBPROCESS, "a file that cannot be executed: {message}");
    assert!(message.contains("gateway.toml"), "{message}");
}

#[test]
fn what_a_program_prints_is_bounded_and_never_breaks_anything() {
    let gateway = Gateway::start(
        &[
            OPEN,
            &shell("large", "head -c 30000000 /dev/zero | tr '\\0' x; echo never >> @DIR@/after; exit 0", ""),
            &shell("fits", "head -c 1000000 /dev/zero | tr '\\0' x", ""),
            &shell("noisy", "head -c 30000000 /dev/zero | tr '\\0' x >&2; echo 5", ""),
            &shell("garbage", "head -c 300000 /dev/urandom; head -c 3000000 /dev/urandom >&2; echo >&2; exit 0", ""),
            &shell("worse", "head -c 300000 /dev/urandom >&2; printf '\\n\\377\\000\\033[31mred\\n' >&2; exit 1", ""),
            &shell(
                "flood",
                "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo \"progress: $((i/200))\"; done >&2; echo 1",
                "",
            ),
        ]
        .concat(),
    );
    let (code, message) = failure(&gateway, "large", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("1048576"), "the limit is told: {message}");

    let fits = ends(&gateway, "fits", &[]);
    assert_eq!(fits["result"].as_str().map(str::len), Some(1_000_000), "{}", fits["status"]);
    assert_eq!(ends(&gateway, "noisy", &[])["result"], 5);
    assert_eq!(ends(&gateway, "flood", &[])["result"], 1);

    let garbage = ends(&gateway, "garbage", &[]);
    assert_eq!(garbage["status"], "SUCCESS", "{}", garbage["result"]["message"]);
    assert!(garbage["result"].as_str().is_some_and(|text| text.contains('\u{fffd}')), "text, whatever it was");

    let (code, message) = failure(&gateway, "worse", &[]);
    assert_eq!(code, SUBPROCESS);
    assert!(message.contains("red") && !message.contains(['\u{1b}', '\0']), "{message:?}");
    let log = gateway.log();
    assert!(!log.contains("panic") && log.len() < 100_000, "{} bytes of log", log.len());
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    let behind = "(setsid sleep 1000 &); sleep 1000 & (trap '' HUP; sleep 1000 >/dev/null 2>&1 &); echo 5";
    let gateway =
        Gateway::start(&[OPEN, &shell("behind", behind, ""), &shell("asks", "cat; read x; echo 6", "")].concat());
    assert_eq!(ends(&gateway, "behind", &[])["result"], 5);
    assert!(processes_with(&gateway.mark()).is_empty(), "the task has ended, and so has all of it");
    assert_eq!(ends(&gateway, "asks", &[])["result"], 6, "nobody types an answer, and nobody waits for one");
}

/// Whoever kills the guard is killed with it; the task is told so, or run again.
#[test]
fn a_program_that_kills_its_guard_gains_nothing() {
    let kills = "echo x >> @DIR@/tries; kill -KILL $PPID; sleep 1000";
    let gateway = Gateway::start(&[OPEN, &shell("kills", kills, "on_lost = \"fail\"")].concat());
    let (code, message) = failure(&gateway, "kills", &[]);
    assert!(code == 101 && message.contains("guard"), "{code} {message}");
    until(PATIENCE, "nothing of it is left", || processes_with(&gateway.mark()).is_empty().then_some(()));
    assert_eq!(std::fs::read_to_string(gateway.directory().join("tries")).unwrap(), "x\n", "once");
}

#[test]
fn a_program_that_kills_its_guard_each_time_is_not_run_without_a_pause() {
    let kills = "date +%s%N >> @DIR@/tries; kill -KILL $PPID; sleep 1000";
    let gateway = Gateway::start(&[OPEN, &shell("kills", kills, "on_lost = \"retry\"")].concat());
    let uuid = submit(&gateway, "kills", &[]);
    let tries = || std::fs::read_to_string(gateway.directory().join("tries")).unwrap_or_default();
    wait_for("three tries", || tries().lines().count() >= 3);
    let times: Vec<u64> = tries().lines().map(|line| line.parse().unwrap()).collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] > 900_000_000), "a second and more: {times:?}");
    wait_for("its client sees why", || status(&gateway, "kills", &uuid)["status"] == "RETRY");
    assert_eq!(cancel(&gateway, "kills", &uuid)["status"], "REVOKED");
}

#[test]
fn a_document_that_cannot_be_had_is_told() {
    let gateway =
        Gateway::start(&format!("{OPEN}[services.sum.worker]\ncommand = [\"sha256sum\", \"{{document}}\"]\n"));
    // Nobody listens at port 1, and nobody is given it.
    let (code, message) = failure(&gateway, "sum", &[("doc_url", "http://127.0.0.1:1/x.wav")]);
    assert_eq!(code, 301, "{message}");

    let documents = Documents::serve("fine");
    let end = ends(&gateway, "sum", &[("doc_url", &documents.url("x"))]);
    assert_eq!(end["status"], "SUCCESS", "the next one works: {end}");
}

/// A document server that answers 404, one that breaks off, and one that never answers.
#[test]
fn a_document_server_that_misbehaves_fails_the_task() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let answer: &[u8] = match head.split(' ').nth(1).unwrap_or_default() {
                "/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
                "/short" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\nshort",
                "/noise" => b"\x00\xff\xfe this is no HTTP\r\n\r\n",
                _ => {
                    silent.push(stream);
                    continue;
                }
            };
            let _ = stream.write_all(answer);
        }
    });
    let worker = "worker]\ncommand = [\"sha256sum\", \"{document}\"]\n";
    let gateway =
        Gateway::start(&format!("{OPEN}[services.sum.{worker}[services.impatient.{worker}timeout = \"2s\"\n"));
    for path in ["gone", "short", "noise"] {
        let (code, message) = failure(&gateway, "sum", &[("doc_url", &format!("http://{address}/{path}"))]);
        assert_eq!(code, 301, "{path}: {message}");
    }
    let (_, message) = failure(&gateway, "impatient", &[("doc_url", &format!("http://{address}/silent"))]);
    assert!(message.contains("2s"), "the task's time limit: {message}");
}

#[test]
fn an_exception_class_of_the_configuration_does_not_change_what_programs_answer() {
    let service = shell("fails", "exit 1", "") + "[services.fails.errors]\nModelNotLoaded = 650\n";
    let gateway = Gateway::start(&format!("{OPEN}{service}"));
    let end = ends(&gateway, "fails", &[]);
    assert_eq!(end["result"], json!({ "code": SUBPROCESS, "message": "exit status 1" }), "{end}");
    assert_ne!(end["started"], Value::Null);
}
