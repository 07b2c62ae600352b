//! What a service's `[worker]` promises besides running its program: limits, a place for files, patience with a command
//! that is not there.

use crate::{OPEN, shell, support::*};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

fn ready(gateway: &Gateway) -> Value {
    let answer = get(&format!("{}/readyz", gateway.url()));
    assert_eq!(answer.status, 200, "one service that cannot be done does not stop the others: {}", answer.text());
    answer.json()
}

#[test]
fn a_command_that_is_not_there_costs_three_tasks_and_no_more() {
    let program = "[services.absent]\nrequires_document = false\n[services.absent.worker]\ncommand = [\"@DIR@/program\"]\n\
                   concurrency = 2\n";
    let gateway = Gateway::start(&[OPEN, program, &shell("other", "echo 1", "")].concat());
    let failures = (0..3).map(|_| ends(&gateway, "absent", &[]));
    for end in failures {
        assert_eq!((&end["status"], &end["result"]["code"]), (&json!("FAILURE"), &json!(642)), "{end}");
    }
    let waiting: Vec<_> = (0..4).map(|_| submit(&gateway, "absent", &[])).collect();
    assert_eq!(ends(&gateway, "other", &[])["result"], 1, "the others go on");
    let told = ready(&gateway).to_string();
    assert!(told.contains("services.absent") && told.contains("was not found"), "{told}");
    // One is tried, and goes back; a while later the next one.
    let tried = || waiting.iter().filter(|uuid| status(&gateway, "absent", uuid)["status"] == "RETRY").count();
    let tries = until(PATIENCE, "one is tried", || Some(tried()).filter(|tries| *tries > 0));
    let told = gateway.log().matches("it is left alone").count();
    assert!(tries < told, "no more than one at a time, {tries} of {told}: {}", gateway.log());
    assert!(waiting.iter().all(|uuid| !is_end(&status(&gateway, "absent", uuid))));

    let file = gateway.directory().join("program");
    fs::write(&file, "#!/bin/sh\necho 7\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    for uuid in waiting {
        assert_eq!(end(&gateway, "absent", &uuid)["result"], 7);
    }
    assert!(!ready(&gateway).to_string().contains("services.absent"));
    assert!(gateway.log().contains("the service can be done again"));
}

#[test]
fn a_task_beyond_its_limits_fails_and_harms_nobody() {
    let limits = "memory = \"64 MiB\"\nopen_files = 30\ncpu_time = \"30s\"\n";
    let gateway = Gateway::start(
        &[
            OPEN,
            &shell("greedy", "exec python3 -c 'bytearray(200 << 20)'", limits),
            &shell("limits", "ulimit -d; ulimit -n; ulimit -t; pwd", limits),
            &shell("bomb", "ulimit -t 1; while :; do :; done", ""),
        ]
        .concat(),
    );
    let greedy = ends(&gateway, "greedy", &[]);
    assert_eq!(greedy["result"], json!({"code": 642, "message": "exit status 1: MemoryError"}));
    let told = ends(&gateway, "limits", &[]);
    let lines: Vec<_> = told["result"].as_str().unwrap_or_default().lines().collect();
    assert_eq!(lines[..3], ["65536", "30", "30"], "{told}");
    assert!(lines[3].contains(".runs/"), "a directory of its own: {told}");
    assert!(!std::path::Path::new(lines[3]).exists(), "which is gone by now");
    let bomb = ends(&gateway, "bomb", &[]);
    assert!(bomb["result"]["message"].as_str().unwrap().contains("SIG"), "{bomb}");
    assert_eq!(ends(&gateway, "limits", &[])["status"], "SUCCESS");
}

#[test]
fn files_that_nobody_else_takes_become_temporary_files() {
    let script = "mkdir \"$1/sub\"; printf first > \"$1/a.txt\"; printf second > \"$1/sub/b.wav\"; echo '{\"n\": 2}'";
    let command = format!(
        "[services.makes]\nrequires_document = false\n[services.makes.worker]\n\
         command = [\"sh\", \"-c\", '''{script}''', \"sh\", \"{{output}}\"]\n"
    );
    let gateway = Gateway::start(&[OPEN, &command].concat());
    let end = ends(&gateway, "makes", &[]);
    assert_eq!((&end["status"], &end["result"]["n"]), (&json!("SUCCESS"), &json!(2)), "{end}");
    let files = end["result"]["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.txt", "sub/b.wav"]);
    let content = |file: &Value| {
        let url = file["url"].as_str().unwrap();
        assert!(url.starts_with(&gateway.url()), "{url}: the gateway knows where it listens");
        get(url).text()
    };
    assert_eq!((content(&files[0]), content(&files[1])), ("first".into(), "second".into()));
    assert!(files[1]["url"].as_str().unwrap().ends_with(".wav"));
}
