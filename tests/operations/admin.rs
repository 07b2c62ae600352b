//! Probes, the admin listener, and the time before the port closes.

use crate::{OPEN, shell, support::*};
use std::net::TcpStream;

/// The address that the log tells.
fn admin(gateway: &Gateway) -> String {
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("admin listener")).unwrap_or_else(|| panic!("{log}"));
    let (_, address) = line.split_once("address=").unwrap();
    format!("http://{}", address.split(' ').next().unwrap())
}

#[test]
fn operators_have_a_listener_of_their_own() {
    let toml = "[server]\nadmin_listen = \"127.0.0.1:0\"\n[telemetry]\nmetrics = false\n";
    let gateway = Gateway::start(&[toml, OPEN, &*shell("stub", "echo 1")].concat());
    let (admin, public) = (admin(&gateway), gateway.url());
    ends(&gateway, "stub", &[]);
    for path in ["/livez", "/readyz", "/healthz"] {
        let answers = [get(&format!("{admin}{path}")), get(&format!("{public}{path}"))];
        assert_eq!(answers[0].status, 200, "{path}");
        assert_eq!(answers[0].text(), answers[1].text(), "{path}");
    }
    let metrics = get(&format!("{admin}/metrics"));
    assert!(metrics.status == 200 && metrics.text().contains("http_server_request_duration_seconds"));
    assert_eq!(get(&format!("{public}/metrics")).status, 404, "not for clients");

    let runtime = get(&format!("{admin}/debug/runtime")).json();
    assert_eq!(runtime["pid"], gateway.pid());
    for number in ["memory_bytes", "open_files", "threads"] {
        assert!(runtime[number].as_u64().is_some_and(|number| number > 0), "{runtime}");
    }
    assert!(runtime["http"]["answered"].as_u64().is_some_and(|answered| answered > 0), "{runtime}");
    let threads = get(&format!("{admin}/debug/threads?seconds=1")).json();
    let named = |name: &str| threads["threads"].as_array().unwrap().iter().any(|thread| thread["thread"] == name);
    assert!(named("http-0") && named("gateway"), "{threads}");

    for (path, status) in
        [("/debug/threads?seconds=0", 400), ("/debug/threads?seconds=1000", 400), ("/stub/info", 404), ("/nope", 404)]
    {
        assert_eq!(get(&format!("{admin}{path}")).status, status, "{path}");
    }
    assert_eq!(request("POST", &format!("{admin}/debug/runtime")).send().status, 405);
    for path in ["/debug/runtime", "/debug/threads", "/debug"] {
        assert_eq!(get(&format!("{public}{path}")).status, 404, "{path} is not for clients");
    }
}

#[test]
fn a_balancer_is_told_before_the_port_closes() {
    // Long enough for all that is asked meanwhile, on a busy machine too.
    let toml = "[server]\nadmin_listen = \"127.0.0.1:0\"\ndrain_delay = \"15s\"\n";
    let mut gateway = Gateway::start(&[toml, OPEN, &*shell("stub", "echo 1")].concat());
    let admin = admin(&gateway);
    assert_eq!(get(&format!("{}/readyz", gateway.url())).status, 200);
    gateway.terminate();
    wait_for("it says so", || gateway.log().contains("stopping"));
    let ready = request("GET", &format!("{}/readyz", gateway.url())).try_send();
    let ready = ready.expect("the port is still open");
    assert!(ready.status == 503 && ready.text().contains("stopping"), "{}", ready.text());
    assert_eq!(get(&format!("{admin}/readyz")).status, 503);
    assert_eq!(get(&format!("{admin}/livez")).status, 200);
    // A submission that comes now is as good as any.
    let uuid = submit(&gateway, "stub", &[]);
    wait_for("then the port closes", || TcpStream::connect(gateway.address()).is_err());
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    gateway.restart();
    assert_eq!(end(&gateway, "stub", &uuid)["status"], "SUCCESS");
}

#[test]
fn a_broker_that_is_away_is_no_reason_to_be_killed() {
    // Nobody listens at port 1.
    let toml = "[broker]\nurl = \"amqp://guest:guest@127.0.0.1:1/%2f\"\n";
    let gateway = Gateway::start(&[toml, OPEN, "[services.stub]\nrequires_document = false\n"].concat());
    assert_eq!(get(&format!("{}/livez", gateway.url())).status, 200);
    let ready = get(&format!("{}/readyz", gateway.url()));
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("broker"), "{}", ready.text());
}
