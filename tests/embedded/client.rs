//! The client for people: submit, status, cancel, services.

use crate::{GATED, go, shell, starts, support::*};
use serde_json::Value;

/// A gateway, and how its commands are called: with its URL and a token in the environment.
struct Bench {
    gateway: Gateway,
    token: String,
}

impl Bench {
    fn new() -> Self {
        let services = [
            shell("echo", "cat '{params}'", ""),
            shell("bad", "echo 'no speech found' >&2; exit 1", ""),
            shell("gated", &format!("echo 'progress: 30' >&2; {GATED}"), ""),
        ];
        let about = "[services.echo.about]\nsynopsis = \"Says it again.\"\n";
        let sum = "[services.sum.worker]\ncommand = [\"sha256sum\", \"{document}\"]\n";
        let documents = "[documents]\nallow_hosts = [\"127.0.0.1\"]\n";
        let gateway = Gateway::start(&[AUTH, documents, &services.concat(), about, sum].concat());
        let token = gateway.token(&[]);
        Self { gateway, token }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        cli_with(self.gateway.directory(), arguments, |command| {
            command.env("SERVICE_GATEWAY_URL", self.gateway.url()).env("SERVICE_GATEWAY_TOKEN", &self.token);
        })
    }

    /// The one line of JSON that `--json` prints.
    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert_eq!(output.code, code, "{output:?}");
        assert_eq!(output.stdout.lines().count(), 1, "one line: {output:?}");
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

#[test]
fn submit_follows_a_task_to_its_result() {
    let bench = Bench::new();
    let documents = Documents::serve("abc");
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let url = documents.url("a.txt");
    let output = bench.run(&["submit", "sum", &url]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("SUCCESS") && output.stdout.contains(abc), "{output:?}");

    let end = bench.json(0, &["submit", "--json", "sum", &url]);
    assert!(end["status"] == "SUCCESS" && end["result"].as_str().is_some_and(|text| text.starts_with(abc)), "{end}");

    let end = bench.json(0, &["submit", "--json", "echo", "--arg", "language=fr", "--arg", "text=a=b c"]);
    assert_eq!(end["result"]["service"]["misc"]["language"], "fr", "{end}");
    assert_eq!(end["result"]["service"]["misc"]["text"], "a=b c", "{end}");

    let end = bench.json(1, &["submit", "--json", "bad"]);
    assert_eq!((&end["status"], &end["result"]["code"]), (&"FAILURE".into(), &642.into()), "exit code 1: {end}");
}

#[test]
fn status_and_cancel_ask_about_one_task() {
    let bench = Bench::new();
    let output = bench.run(&["submit", "--detach", "gated"]);
    assert_eq!(output.code, 0, "{output:?}");
    let first = output.stdout.trim_end().to_owned();
    assert_eq!(output.stdout, format!("{first}\n"), "the uuid alone");
    let second = bench.json(0, &["submit", "--detach", "--json", "gated"])["uuid"].as_str().unwrap().to_owned();
    wait_for("it runs", || bench.json(0, &["status", "--json", "gated", &first])["status"] == "PROGRESS");
    wait_for("it has noted its start", || starts(&bench.gateway).len() == 1);
    let seen = bench.json(0, &["status", "--json", "gated", &first]);
    assert_eq!(seen["result"]["current"], 30, "{seen}");
    let seen = bench.json(0, &["status", "--json", "--detail", "gated", &second]);
    assert_eq!((&seen["status"], &seen["attempts"]), (&"PENDING".into(), &0.into()), "{seen}");
    let output = bench.run(&["status", "gated", &first]);
    assert!(output.code == 0 && output.stdout.contains("PROGRESS"), "{output:?}");

    assert_eq!(bench.json(0, &["cancel", "--json", "gated", &second])["status"], "REVOKED");
    let output = bench.run(&["cancel", "gated", &first]);
    assert!(output.code == 0 && output.stdout.contains("REVOKED"), "{output:?}");
    assert_eq!(bench.json(0, &["status", "--json", "gated", &first])["status"], "REVOKED");
    wait_for("it is gone", || processes_with(&bench.gateway.mark()).is_empty());
    assert_eq!(starts(&bench.gateway).len(), 1);
    go(&bench.gateway);
}

#[test]
fn services_lists_them() {
    let bench = Bench::new();
    let output = bench.run(&["services"]);
    assert_eq!(output.code, 0, "{output:?}");
    let line = output.stdout.lines().find(|line| line.starts_with("echo ")).unwrap_or_else(|| panic!("{output:?}"));
    assert!(line.contains("Says it again."), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 4, "one a line: {output:?}");
    let all = bench.json(0, &["services", "--json"]);
    assert_eq!(all["services"]["echo"]["synopsis"], "Says it again.");
}

#[test]
fn what_goes_wrong_is_said_on_stderr_and_ends_with_1() {
    let bench = Bench::new();
    for (arguments, said) in [
        (&["submit", "nope", "http://example.org/a"][..], "202"),
        (&["submit", "sum"], "206"),
        (&["submit", "sum", "nonsense"], "207"),
        (&["status", "echo", "01890a5d-ac96-774b-bcce-b302099a8057"], "203"),
        (&["cancel", "echo", "nonsense"], "203"),
        (&["submit", "--token", "wrong", "echo"], "101"),
    ] {
        let output = bench.run(arguments);
        assert_eq!((output.code, &*output.stdout), (1, ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains(said), "{arguments:?}: {output:?}");
    }
    // Nobody listens at port 1, and nobody is given it.
    let output = bench.run(&["services", "--url", "http://127.0.0.1:1"]);
    assert!(output.code == 1 && output.stderr.contains("127.0.0.1:1"), "{output:?}");
    let documents = Documents::serve("<html>no gateway</html>");
    let output = bench.run(&["services", "--url", &documents.url("")]);
    assert!(output.code == 1 && !output.stderr.is_empty(), "{output:?}");
}
