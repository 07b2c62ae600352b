//! Development mode, and that nobody is in it by accident.

use crate::{OPEN, shell, support::*};

fn debug(toml: &str) -> Gateway {
    Gateway::start_with(toml, |command| {
        command.arg("--debug");
    })
}

#[test]
fn errors_say_where_they_come_from() {
    let gateway = debug(&[OPEN, &*shell("stub", "echo 1")].concat());
    let answer = get(&format!("{}/stub/status", gateway.url()));
    answer.refused(400, 206);
    let made_at = answer.json()["made_at"].as_str().unwrap_or_default().to_owned();
    assert!(made_at.contains(".rs:"), "{}", answer.text());
    assert!(gateway.log().contains('\u{1b}'), "in colour");

    let plain = Gateway::start(&[OPEN, &*shell("stub", "echo 1")].concat());
    let answer = get(&format!("{}/stub/status", plain.url()));
    answer.refused(400, 206);
    assert!(!answer.text().contains(".rs") && answer.json()["made_at"].is_null(), "{}", answer.text());
    assert!(!plain.log().contains('\u{1b}'));
}

#[test]
fn its_file_is_watched() {
    let gateway = debug(&[OPEN, &*shell("stub", "echo 1")].concat());
    std::fs::write(gateway.config(), [OPEN, &*shell("stub", "echo 2")].concat()).unwrap();
    wait_for("it is read", || gateway.log().contains("was reloaded"));
    assert_eq!(ends(&gateway, "stub", &[])["result"], 2);
}

#[test]
fn where_others_can_ask_it_must_be_said_twice() {
    let directory = tempfile::tempdir().unwrap();
    let toml = [OPEN, "[services.stub]\n"].concat();
    std::fs::write(directory.path().join("gateway.toml"), &toml).unwrap();
    let refused = cli(directory.path(), &["serve", "--debug", "--listen", "0.0.0.0:0"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("--debug twice"), "{}", refused.stderr);
    let public = ["[server]\npublic_url = \"https://gateway.example.org\"\n", &toml].concat();
    std::fs::write(directory.path().join("gateway.toml"), public).unwrap();
    let refused = cli(directory.path(), &["serve", "--debug", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 2, "a proxy lets others in: {}", refused.stderr);

    let public = ["[server]\npublic_url = \"https://gateway.example.org\"\n", OPEN, &*shell("stub", "echo 1")].concat();
    let meant = Gateway::start_with(&public, |command| {
        command.args(["--debug", "--debug"]);
    });
    assert!(!get(&format!("{}/stub/status", meant.url())).json()["made_at"].is_null());
}
