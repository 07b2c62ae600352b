//! The program with its embedded broker and SQLite, from the outside: one process, its HTTP interface, its commands.
//!
//! | file | what is held |
//! |---|---|
//! | `work.rs` | the main job: a document in, progress and a result out |
//! | `failures.rs` | programs that fail, in every way that a program can |
//! | `programs.rs` | limits of a program, a place for its files, a command that is not there |
//! | `limits.rs` | retries and time limits |
//! | `cancel.rs` | cancelling a task before, while and after it runs |
//! | `restart.rs` | SIGTERM: everything that was accepted is finished after a restart |
//! | `crash.rs` | `kill -9`: nothing is lost, nothing is left running |
//! | `drain.rs` | a request under way is answered while the gateway stops |
//! | `refusals.rs` | bad input: status, code, and that it does no harm |
//! | `tokens.rs` | who is admitted |
//! | `idempotency.rs` | the same submission twice |
//! | `pages.rs` | info, stats, pages, probes, metrics |
//! | `proxies.rs` | what a proxy says about the client |
//! | `commands.rs` | check, token, serve with a faulty configuration |
//! | `client.rs` | submit, status, cancel, services |
//! | `workflow.rs` | chains of services |
//! | `demo.rs` | the demo, and the curl lines it prints |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/mod.rs"]
mod support;

mod cancel;
mod client;
mod commands;
mod crash;
mod demo;
mod drain;
mod failures;
mod idempotency;
mod limits;
mod pages;
mod programs;
mod proxies;
mod refusals;
mod restart;
mod tokens;
mod work;
mod workflow;

/// Every request is admitted, and documents may be on this machine.
const OPEN: &str = "[auth]\nmode = \"none\"\n[documents]\nallow_hosts = [\"127.0.0.1\"]\n";

/// A service that needs no document and runs a shell script; `more` are further keys of its `[worker]`.
fn shell(name: &str, script: &str, more: &str) -> String {
    assert!(!script.contains("'''"), "the script stands in a TOML literal");
    format!(
        "[services.{name}]\nrequires_document = false\n[services.{name}.worker]\n\
         command = [\"sh\", \"-c\", '''{script}''']\n{more}\n"
    )
}

/// A script that notes its start (a line: uuid, run directory, the shell's number) in the file `ran`, then waits until the file
/// `go` is there.
const GATED: &str = r#"
echo "$SERVICE_GATEWAY_TASK $SERVICE_GATEWAY_RUN $$" >> @DIR@/ran
until [ -e @DIR@/go ]; do sleep 0.05; done
echo '"done"'
"#;

/// A start that [`GATED`] noted.
#[derive(Debug, Clone)]
struct Start {
    uuid: String,
    directory: String,
    pid: u32,
}

/// What [`GATED`] scripts noted so far.
fn starts(gateway: &support::Gateway) -> Vec<Start> {
    let text = std::fs::read_to_string(gateway.directory().join("ran")).unwrap_or_default();
    // A line is written by one call, but may be read before its end.
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let start = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        Start { uuid: words[0].into(), directory: words[1].into(), pid: words[2].parse().unwrap() }
    };
    whole.lines().map(start).collect()
}

/// The processes that this one started and has not taken leave of: of a gateway, the guards of its programs.
fn children(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap().flatten();
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    tasks.map(of).collect::<String>().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Lets [`GATED`] scripts go on.
fn go(gateway: &support::Gateway) {
    std::fs::write(gateway.directory().join("go"), "").unwrap();
}
