//! The configuration is read again while the gateway works.

use crate::{OPEN, shell, support::*};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

/// A script that waits for the file `go` in the gateway's directory.
const GATED: &str = "until [ -e @DIR@/go ]; do sleep 0.05; done; echo '\"old\"'";

fn write(gateway: &Gateway, toml: &str) {
    let directory = gateway.directory().to_str().unwrap().to_owned();
    fs::write(gateway.config(), toml.replace("@DIR@", &directory)).unwrap();
}

/// Writes another configuration and waits until the gateway has said what became of it.
fn reload(gateway: &Gateway, toml: &str) -> String {
    let from = gateway.log().len();
    write(gateway, toml);
    signal(gateway.pid(), "HUP");
    until(PATIENCE, "it says what became of it", || {
        let told = gateway.log()[from..].to_owned();
        (told.contains("was reloaded") || told.contains("was not reloaded")).then_some(told)
    })
}

fn code_of(gateway: &Gateway, service: &str) -> (u16, serde_json::Value) {
    let answer = request("POST", &format!("{}/{service}/annotate", gateway.url())).send();
    (answer.status, answer.json()["vesta"]["code"].clone())
}

#[test]
fn services_come_change_and_go() {
    let gateway = Gateway::start(&[OPEN, &*shell("gone", GATED), &shell("kept", "echo 1")].concat());
    let (pid, url) = (gateway.pid(), gateway.url());
    let running = submit(&gateway, "gone", &[]);
    let waiting = submit(&gateway, "gone", &[]);
    let cancelled = submit(&gateway, "gone", &[]);
    wait_for("one runs", || status(&gateway, "gone", &running)["status"] == "STARTED");
    // A connection that is open all the time.
    let mut open = TcpStream::connect(gateway.address()).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ask = |path: &str| {
        open.write_all(format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nAccept: application/json\r\n\r\n").as_bytes())
            .unwrap();
        let (mut seen, mut space) = (Vec::new(), [0; 4096]);
        loop {
            let read = open.read(&mut space).unwrap();
            assert!(read > 0, "the connection was closed");
            seen.extend_from_slice(&space[..read]);
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text.contains("\r\n\r\n") && text.trim_end().ends_with('}') {
                return text;
            }
        }
    };
    assert!(ask("/kept/info").starts_with("HTTP/1.1 200"));
    assert_eq!(code_of(&gateway, "new"), (400, 202.into()));

    let told =
        reload(&gateway, &[OPEN, &*shell("kept", "echo 2"), "concurrency = 3\n", &shell("new", "echo 3")].concat());
    assert!(told.contains("services.gone") && told.contains("services.new"), "{told}");
    assert!(
        told.contains("services.kept.worker.command") && told.contains("services.kept.worker.concurrency"),
        "{told}"
    );
    assert_eq!((gateway.pid(), gateway.url()), (pid, url.clone()));
    assert!(ask("/new/info").starts_with("HTTP/1.1 200"), "the open connection has the new services");
    assert_eq!(ends(&gateway, "new", &[])["result"], 3);
    assert_eq!(ends(&gateway, "kept", &[])["result"], 2);

    // What has gone takes nothing more; its tasks are worked on, cancelled and told as before.
    assert_eq!(code_of(&gateway, "gone"), (400, 202.into()));
    assert!(!get(&format!("{url}/info")).text().contains("gone"));
    assert_eq!(status(&gateway, "gone", &running)["status"], "STARTED");
    assert_eq!(cancel(&gateway, "gone", &cancelled)["status"], "REVOKED");
    fs::write(gateway.directory().join("go"), "").unwrap();
    for uuid in [&running, &waiting] {
        assert_eq!(end(&gateway, "gone", uuid)["result"], "old", "{uuid}");
    }
    let metrics = get(&format!("{url}/metrics")).text();
    let counted = |service: &str| {
        metrics.lines().any(|line| {
            line.starts_with("http_server_request_duration_seconds_count")
                && line.contains(&format!("service=\"{service}\""))
                && !line.ends_with(" 0")
        })
    };
    assert!(counted("gone") && counted("new") && counted("kept"), "{metrics}");

    // Back again, with the same tasks.
    reload(&gateway, &[OPEN, &*shell("gone", "echo 4"), &shell("new", "echo 5")].concat());
    assert_eq!(ends(&gateway, "gone", &[])["result"], 4);
    assert_eq!(status(&gateway, "gone", &running)["result"], "old");
}

#[test]
fn what_waits_for_disk_space_is_told_until_nothing_does() {
    let large = "[services.large]\nrequires_document = false\n[services.large.worker]\nmax_document = \"1000000 TiB\"\n\
                 command = [\"true\", \"{document}\"]\n";
    let gateway = Gateway::start(&[OPEN, large, "[services.idle]\n"].concat());
    let is_told = || get(&format!("{}/readyz", gateway.url())).text().contains("free disk space");
    let waiting = submit(&gateway, "large", &[]);
    wait_for("the disk is too small", is_told);
    // Taken out, it has its tasks still.
    reload(&gateway, &[OPEN, "[services.idle]\n"].concat());
    assert!(is_told());
    assert_eq!(cancel(&gateway, "large", &waiting)["status"], "REVOKED");
    wait_for("nothing waits for the disk", || !is_told());
}

#[test]
fn a_page_is_read_again_from_its_file() {
    let toml = [OPEN, "[platform.pages]\ndoc = \"file:@DIR@/doc.html\"\n[services.idle]\n"].concat();
    let gateway = Gateway::start_with(&toml, |command| {
        fs::write(command.get_current_dir().unwrap().join("doc.html"), "old").unwrap();
    });
    let doc = || get(&format!("{}/doc", gateway.url())).text();
    assert_eq!(doc(), "old");
    fs::write(gateway.directory().join("doc.html"), "new").unwrap();
    reload(&gateway, &toml);
    assert_eq!(doc(), "new");
}

#[test]
fn a_faulty_file_changes_nothing_and_says_why() {
    let good = [OPEN, &*shell("stub", "echo 1")].concat();
    let gateway = Gateway::start(&good);
    let told =
        reload(&gateway, "[server]\nlistn = \"x\"\n[auth]\nmode = \"maybe\"\n[services.stub]\nroute = \"info\"\n");
    for words in ["server.listn", "auth.mode", "services.stub.route"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(ends(&gateway, "stub", &[])["result"], 1);
    let ready = get(&format!("{}/readyz", gateway.url()));
    assert!(ready.status == 200 && ready.text().contains("configuration"), "{}", ready.text());

    // What can only be found out when it is made.
    let page = "[services.stub.pages]\ndoc = \"file:@DIR@/nothing.html\"\n";
    let told = reload(&gateway, &[&*good, page].concat());
    assert!(told.contains("nothing.html") && told.contains("not reloaded"), "{told}");
    assert_eq!(ends(&gateway, "stub", &[])["result"], 1);

    reload(&gateway, &[&*good, "timeout = \"5m\"\n"].concat());
    wait_for("all is well again", || !get(&format!("{}/readyz", gateway.url())).text().contains("configuration"));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let gateway = Gateway::start(&[OPEN, &*shell("stub", "echo 1")].concat());
    let fixed = "[server]\nlisten = \"127.0.0.1:9\"\nmax_concurrency = 7\n[store]\nkeep_results = \"1h\"\n[telemetry]\nlog = \"debug\"\nmetrics = false\n";
    let told = reload(&gateway, &[fixed, OPEN, &*shell("stub", "echo 2")].concat());
    for key in ["server.max_concurrency", "store.keep_results", "telemetry.log"] {
        assert!(told.lines().any(|line| line.contains("needs a restart") && line.contains(key)), "{key}: {told}");
    }
    assert!(!told.contains("server.listen"), "the command line says where: {told}");
    assert_eq!(ends(&gateway, "stub", &[])["result"], 2);
    assert_eq!(get(&format!("{}/metrics", gateway.url())).status, 404, "this one counts at once");
}

#[test]
fn a_watched_file_is_read_when_it_changes() {
    let start = |toml: &str| {
        Gateway::start_with(toml, |command| {
            command.arg("--watch");
        })
    };
    let gateway = start(&[OPEN, &*shell("stub", "echo 1")].concat());
    assert_eq!(ends(&gateway, "stub", &[])["result"], 1);
    write(&gateway, &[OPEN, &*shell("stub", "echo 2")].concat());
    wait_for("it is read", || gateway.log().contains("was reloaded"));
    assert_eq!(ends(&gateway, "stub", &[])["result"], 2);
}

#[test]
fn tokens_and_limits_change_at_once() {
    let gateway = Gateway::start(&[AUTH, &*shell("stub", "echo 1")].concat());
    let token = gateway.token(&[]);
    let ask = || request("POST", &format!("{}/stub/annotate", gateway.url())).token(&token).send().status;
    assert_eq!(ask(), 200);
    reload(&gateway, &[&AUTH.replace("MDEy", "MDEz"), &*shell("stub", "echo 1")].concat());
    assert_eq!(ask(), 401, "what was remembered of the old key is forgotten");
    reload(&gateway, &[OPEN, &*shell("stub", "echo 1")].concat());
    assert_eq!(ask(), 200);
}
