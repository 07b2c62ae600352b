//! Completions and manual pages, from the command line's own definition; what a worker's machine must have.

use crate::support::{Output, cli};
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// What people may type after `service-gateway`, by its own help.
fn commands(directory: &Path) -> Vec<String> {
    let help = cli(directory, &["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let list = list.lines().take_while(|line| !line.trim().is_empty());
    // A line of a command begins two columns in; further lines of its text stand further right.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

fn fine(output: Output) -> String {
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    output.stdout
}

#[test]
fn completions_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let commands = commands(directory.path());
    assert!(commands.len() > 10 && commands.iter().any(|name| name == "worker"), "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = fine(cli(directory.path(), &["completions", shell]));
        for name in &commands {
            assert!(script.contains(name.as_str()), "{shell} does not know {name}");
        }
        assert!(script.contains("config") && !script.contains("analyse"), "{shell}: hidden commands stay so");
    }
    let unknown = cli(directory.path(), &["completions", "cmd"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
}

#[test]
fn bash_completes_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let script = fine(cli(directory.path(), &["completions", "bash"]));
    // As bash does it: "service-gateway ser<Tab>", "service-gateway worker --<Tab>".
    let ask = r#"
        complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); "$handler" "$1" "${!#}" "${*: -2:1}"; echo "${COMPREPLY[@]}"; }
        handler=$(complete -p service-gateway | sed 's/.*-F \([^ ]*\).*/\1/')
        complete_line service-gateway ser
        complete_line service-gateway worker --
    "#;
    let mut bash = Command::new("bash");
    let mut bash = bash.args(["--norc", "-s"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(format!("{script}\n{ask}").as_bytes()).unwrap();
    let said = String::from_utf8(bash.wait_with_output().unwrap().stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].split(' ').any(|word| word == "serve") && lines[0].contains("services"), "{said}");
    assert!(lines[1].contains("--config") && lines[1].contains("--name"), "{said}");
}

#[test]
fn every_command_has_its_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    fine(cli(directory.path(), &["man", "--directory", "made/man1"]));
    let page = |name: &str| fs::read_to_string(directory.path().join("made/man1").join(name)).unwrap();
    let whole = page("service-gateway.1");
    assert!(whole.contains(".TH service-gateway 1"), "{whole}");
    let commands = commands(directory.path());
    for name in &commands {
        assert!(
            whole.contains(&format!("service\\-gateway\\-{}(1)", name.replace('-', "\\-"))),
            "{name} is not in the first page"
        );
        assert!(page(&format!("service-gateway-{name}.1")).contains(".SH SYNOPSIS"), "{name}");
    }
    assert_eq!(fs::read_dir(directory.path().join("made/man1")).unwrap().count(), commands.len() + 1);
    assert!(page("service-gateway-worker.1").contains("SERVICE"));
    assert_eq!(fine(cli(directory.path(), &["man"])).trim_end(), whole.trim_end());
    fs::write(directory.path().join("file"), "").unwrap();
    let refused = cli(directory.path(), &["man", "--directory", "file/man1"]);
    assert!(refused.code == 1 && refused.stderr.contains("file/man1"), "{refused:?}");
}

#[test]
fn a_worker_needs_no_key_for_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let toml = "[auth]\nkey = \"file:/nowhere/key\"\n[broker]\nurl = \"amqp://127.0.0.1:1/\"\n\
                [services.stub.worker]\ncommand = [\"true\"]\n";
    fs::write(directory.path().join("gateway.toml"), toml).unwrap();
    assert_eq!(cli(directory.path(), &["check"]).code, 1, "a gateway does");
    let other = cli(directory.path(), &["worker", "other"]);
    assert!(other.code == 2 && other.stderr.contains("no service \"other\" is configured"), "{other:?}");
}
