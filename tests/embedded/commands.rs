//! The commands that need no gateway: check, token, and serve with a faulty configuration.

use crate::support::*;
use std::fs;
use tempfile::TempDir;

/// A directory with this `gateway.toml`.
fn directory(toml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    directory
}

const FAULTY: &str = r#"
[server]
listem = "127.0.0.1:5000"
request_timeout = "soon"
[broker]
url = "ftp://broker"
[auth]
key = "not base64!"
[services.platform]
[services.stub.worker]
comand = ["true"]
concurrency = 0
"#;

/// Every fault of [`FAULTY`] is named with its key, and unknown keys with the nearest that is known.
fn names_every_fault(stderr: &str) {
    for part in [
        "server.listem",
        "server.listen`",
        "server.request_timeout",
        "broker.url",
        "auth.key",
        "services.platform",
        "services.stub.worker.comand",
        "command",
        "services.stub.worker.concurrency",
        "gateway.toml",
    ] {
        assert!(stderr.contains(part), "{part} in\n{stderr}");
    }
    assert!(stderr.lines().count() >= 7, "a line each:\n{stderr}");
    assert!(!stderr.contains("not base64!"), "the key itself is not told:\n{stderr}");
}

#[test]
fn check_says_that_all_is_well() {
    let directory = directory(&format!("{AUTH}[services.stub.worker]\ncommand = [\"true\"]\n"));
    for arguments in [&["check"][..], &["check", "--config", "gateway.toml"]] {
        let output = cli(directory.path(), arguments);
        assert_eq!((output.code, &*output.stderr), (0, ""), "{output:?}");
        assert!(output.stdout.contains("no faults") && output.stdout.lines().count() == 1, "{output:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "it makes no files");
}

#[test]
fn check_warns_and_passes() {
    let weak = "[auth]\nkey = \"c2hvcnQ=\"\n[services.stub]\n";
    let output = cli(directory(weak).path(), &["check"]);
    assert_eq!(output.code, 0, "{output:?}");
    for key in ["auth.key", "services.stub"] {
        assert!(
            output.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(key)),
            "{key}: {output:?}"
        );
    }
    assert!(!output.stderr.contains("c2hvcnQ") && output.stdout.contains("2 warning"), "{output:?}");
}

#[test]
fn check_says_every_fault_at_once() {
    let output = cli(directory(FAULTY).path(), &["check"]);
    assert_eq!((output.code, &*output.stdout), (1, ""), "{output:?}");
    names_every_fault(&output.stderr);

    let output = cli(directory("[server\nlisten = 1").path(), &["check"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("line 1"), "{output:?}");

    let output = cli(directory(AUTH).path(), &["check", "--config", "nowhere.toml"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("nowhere.toml"), "{output:?}");

    let none = tempfile::tempdir().unwrap();
    let output = cli(none.path(), &["check"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("--config"), "it says what to do: {output:?}");
}

#[test]
fn what_a_start_would_fail_at_is_a_fault() {
    for (toml, told) in [
        ("leeway = \"2d\"\n[services.s]\n", "leeway"),
        ("[platform.pages]\nhome = \"file:missing.html\"\n", "missing.html"),
        ("[server]\npublic_url = \"https://example.org/a%20b\"\n", "server.public_url: expected http"),
        ("[store]\nurl = \"postgres://u@127.0.0.1/d?sslmode=what\"\n[broker]\nurl = \"amqp://h\"\n", "sslmode"),
        ("[broker]\nurl = \"amqp://h/%2f?heartbeat=often\"\n", "broker.url"),
    ] {
        let directory = directory(&format!("{AUTH}{toml}"));
        for (command, code) in [("check", 1), ("serve", 2)] {
            let output = cli(directory.path(), &[command]);
            assert_eq!((output.code, &*output.stdout), (code, ""), "{toml}: {output:?}");
            let faults: Vec<_> = output.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
            assert!(faults.len() == 1 && faults[0].contains(told), "{toml}: {output:?}");
        }
    }
}

#[test]
fn the_environment_counts_and_is_checked() {
    let directory = directory("[services.stub]\n");
    let with = |name: &str, value: &str| {
        cli_with(directory.path(), &["check"], |command| {
            command.env(name, value);
        })
    };
    assert_eq!(with("GATEWAY_AUTH__KEY", KEY).code, 0);
    assert_eq!(with("GATEWAY_AUTH__MODE", "none").code, 0);
    assert_eq!(with("GATEWAY_SERVICE_HOST", "10.0.0.1").code, 1, "not ours: the key is still missing");
    let output = with("GATEWAY_SERVER__LISTEN", "nonsense");
    assert!(output.code == 1 && output.stderr.contains("GATEWAY_SERVER__LISTEN"), "{output:?}");
    let output = with("GATEWAY_SERVER__LISTEM", "127.0.0.1:1");
    assert!(output.code == 1 && output.stderr.contains("listen"), "{output:?}");
}

#[test]
fn other_commands_end_with_2_on_a_faulty_configuration() {
    let directory = directory(FAULTY);
    for arguments in [&["serve"][..], &["serve", "--listen", "127.0.0.1:0"], &["token"]] {
        let output = cli(directory.path(), arguments);
        assert_eq!((output.code, &*output.stdout), (2, ""), "{arguments:?}: {output:?}");
        names_every_fault(&output.stderr);
    }
    for wrong in [&["serve", "--nonsense"][..], &["nonsense"], &[], &["token", "--expires", "soon"], &["submit"]] {
        assert_eq!(cli(directory.path(), wrong).code, 2, "{wrong:?}");
    }
    let output = cli(directory.path(), &["serve", "--listen", "nonsense"]);
    assert_eq!(output.code, 2, "{output:?}");
    for fine in ["--help", "--version"] {
        let output = cli(directory.path(), &[fine]);
        assert!(output.code == 0 && output.stdout.contains("service-gateway"), "{output:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no files were made");
}

#[test]
fn serve_says_why_it_cannot() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = "[auth]\nmode = \"none\"\n[services.stub.worker]\ncommand = [\"true\"]\n";
    let output = cli(directory(good).path(), &["serve", "--listen", &address]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(&address), "{output:?}");

    let store = format!("[store]\nurl = \"sqlite:/nonexistent/gateway.db\"\n{good}");
    let output = cli(directory(&store).path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("/nonexistent/gateway.db"), "{output:?}");

    let broken = directory(good);
    fs::write(broken.path().join("gateway.db"), "this is no database, and longer than its header would be".repeat(50))
        .unwrap();
    let output = cli(broken.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("gateway.db"), "{output:?}");
}

#[test]
fn token_prints_a_token_and_nothing_else() {
    let directory = directory(&format!("{AUTH}issuer = \"lab\"\n[services.stub]\n"));
    let arguments = ["token", "--subject", "ann", "--expires", "1h", "--service", "stub"];
    let output = cli(directory.path(), &arguments);
    assert_eq!((output.code, &*output.stderr), (0, ""), "{output:?}");
    let token = output.stdout.strip_suffix('\n').unwrap();
    let parts: Vec<_> = token.split('.').collect();
    assert!(parts.len() == 3 && !token.contains(char::is_whitespace), "{token:?}");
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let part = |index: usize| -> serde_json::Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[index]).unwrap()).unwrap()
    };
    assert_eq!(part(0)["alg"], "HS512");
    let claims = part(1);
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["iss"]),
        (&"ann".into(), &"service-gateway".into(), &"lab".into())
    );
    assert_eq!(claims["services"], serde_json::json!(["stub"]), "{claims}");

    let output = cli(directory.path(), &["token", "--service", "unknown"]);
    assert_eq!((output.code, &*output.stdout), (2, ""), "{output:?}");
    let open = self::directory("[auth]\nmode = \"none\"\n[services.stub]\n");
    let output = cli(open.path(), &["token"]);
    assert_eq!((output.code, &*output.stdout), (1, ""), "{output:?}");
}
