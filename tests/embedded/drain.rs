//! SIGTERM under load: what is under way is answered, what comes is turned away, and the exit code is 0.

use crate::{OPEN, shell, support::*};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A submission whose body is not there yet.
fn half_a_submission(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /stub/annotate HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 11\r\n\r\nname=";
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// The gateway has taken over everything that was sent to it before.
fn settled(gateway: &Gateway) {
    wait_for("a request is answered", || get(&format!("{}/livez", gateway.url())).status == 200);
}

#[test]
fn a_request_under_way_is_answered_and_new_connections_are_refused() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", "echo 1", "")].concat());
    let mut slow = half_a_submission(&gateway);
    let mut open = TcpStream::connect(gateway.address()).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    settled(&gateway);

    gateway.terminate();
    wait_for("it says that it stops", || gateway.log().contains("stopping"));
    // On a connection that was open: refused for good, or closed; never "ready".
    let asked = open.write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\n\r\n");
    let told = asked.map(|()| {
        let mut answer = Vec::new();
        let _ = open.read_to_end(&mut answer); // reset counts as closed
        String::from_utf8_lossy(&answer).into_owned()
    });
    let told = told.unwrap_or_default();
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 503 ") && told.contains("stopping"), "{told}");
    wait_for("new connections are refused", || TcpStream::connect(gateway.address()).is_err());

    slow.write_all(b"a+good").unwrap();
    let answer = rest(slow);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.to_ascii_lowercase().contains("connection: close"),
        "{answer}"
    );
    let uuid = answer.split('"').nth(3).unwrap().to_owned();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());

    gateway.restart();
    assert_eq!(end(&gateway, "stub", &uuid)["status"], "SUCCESS", "what was answered while stopping is kept");
}

#[test]
fn a_client_that_never_finishes_does_not_hold_it_up() {
    // Without that grace, it would wait for longer than this test does.
    let server = "[server]\nshutdown_grace = \"1s\"\nrequest_timeout = \"10m\"\n";
    let mut gateway = Gateway::start(&[server, OPEN, &shell("stub", "echo 1", "")].concat());
    let slow = half_a_submission(&gateway);
    let idle = TcpStream::connect(gateway.address()).unwrap();
    settled(&gateway);
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    assert!(gateway.log().contains("aborted=1"), "{}", gateway.log());
    drop((slow, idle));
}

#[test]
fn an_interrupt_from_the_keyboard_is_the_same() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", "sleep 1000", "")].concat());
    let uuid = submit(&gateway, "stub", &[]);
    wait_for("it runs", || status(&gateway, "stub", &uuid)["status"] == "STARTED");
    signal(gateway.pid(), "INT");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    assert!(processes_with(&gateway.mark()).is_empty());
}
