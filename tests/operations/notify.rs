//! What systemd is told, and the unit that asks for it.

use crate::{OPEN, shell, support::*};
use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::Command,
};
use tempfile::TempDir;

/// The fields of the next message.
fn next(socket: &UnixDatagram) -> Vec<(String, String)> {
    let mut space = [0; 4096];
    let length = loop {
        match socket.recv(&mut space) {
            // This process was stopped for a while, and goes on.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => break received.expect("a message in time"),
        }
    };
    let text = std::str::from_utf8(&space[..length]).unwrap();
    text.lines().map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The next message that is not a sign of life.
fn told(socket: &UnixDatagram) -> Vec<(String, String)> {
    std::iter::repeat_with(|| next(socket)).find(|fields| fields[0].0 != "WATCHDOG").unwrap()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no {name} in {fields:?}")).1
}

fn life(socket: &UnixDatagram, name: &str) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut gateway = Gateway::start_with(&[OPEN, &*shell("stub", "echo 1")].concat(), |command| {
        // The socket holds ten messages that nobody has read yet: signs of life must not be so many.
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "4000000");
    });
    let ready = told(socket);
    assert_eq!(ready[0], ("READY".into(), "1".into()));
    assert!(field(&ready, "STATUS").contains(&gateway.address().to_string()), "{ready:?}");
    assert_eq!(get(&format!("{}/livez", gateway.url())).status, 200);
    assert_eq!(next(socket), [("WATCHDOG".to_owned(), "1".to_owned())], "the half of its time is over");

    let before = monotonic();
    signal(gateway.pid(), "HUP");
    let reloading = told(socket);
    assert_eq!(reloading[0], ("RELOADING".into(), "1".into()));
    let at: u64 = field(&reloading, "MONOTONIC_USEC").parse().unwrap();
    assert!((before..=monotonic()).contains(&at), "{before} {at}");
    let ready = told(socket);
    assert_eq!(ready[0], ("READY".into(), "1".into()));
    assert!(field(&ready, "STATUS").contains("reloaded"), "{ready:?}");

    std::fs::write(gateway.config(), "nonsense").unwrap();
    signal(gateway.pid(), "HUP");
    assert_eq!(told(socket)[0].0, "RELOADING");
    let ready = told(socket);
    assert_eq!(ready[0], ("READY".into(), "1".into()), "a refused file ends a reload, too");
    assert!(field(&ready, "STATUS").contains("refused"), "{ready:?}");

    gateway.terminate();
    assert_eq!(told(socket)[0], ("STOPPING".into(), "1".into()));
    assert_eq!(gateway.wait().code(), Some(0));
}

/// CLOCK_MONOTONIC in microseconds.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).unwrap()
}

#[test]
fn a_socket_in_the_file_system_is_told() {
    let directory = TempDir::with_prefix("sg-test-notify-").unwrap();
    let path = directory.path().join("socket");
    life(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
}

#[test]
fn an_abstract_socket_is_told() {
    let name = format!("sg-test-notify-{}", uuid::Uuid::now_v7());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    life(&socket, &format!("@{name}"));
}

#[test]
fn the_unit_asks_for_all_of_it() {
    let unit = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/systemd/service-gateway.service"));
    let unit = unit.unwrap();
    let values = |key: &str| -> Vec<_> {
        unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    assert_eq!(values("Type"), ["notify", "notify-reload"], "the last that systemd knows counts");
    assert!(values("ExecStartPre")[0].contains("service-gateway check --config "));
    assert!(values("ExecStart")[0].contains("service-gateway serve --config "));
    assert_eq!(values("LoadCredential"), ["auth.key:service-gateway.auth.key"]);
    assert_eq!(values("Environment"), ["GATEWAY_AUTH__KEY=file:%d/auth.key"]);
    assert_eq!((values("NoNewPrivileges"), values("ProtectSystem")), (vec!["yes".into()], vec!["strict".into()]));
    assert_eq!(values("KillMode"), ["mixed"], "programs of embedded workers get the time that they have");

    // systemd itself is asked, by the tool that tests/run installs; it need not run.
    let directory = TempDir::with_prefix("sg-test-unit-").unwrap();
    let file = directory.path().join("service-gateway.service");
    std::fs::write(&file, unit.replace("/usr/bin/service-gateway", env!("CARGO_BIN_EXE_service-gateway"))).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let unknown = |line: &&str| line.contains("service-gateway.service") && !line.contains("notify-reload");
    assert_eq!(said.lines().find(unknown), None, "{said}");
}
