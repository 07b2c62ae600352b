//! A collector that is not there costs spans, and nothing else.

use crate::support::{Gateway, ends, get, wait_for};
use std::net::TcpListener;

fn gateway(collector: &str, protocol: &str) -> Gateway {
    let configuration = format!(
        "[auth]\nmode = \"none\"\n[telemetry]\notlp_endpoint = \"{collector}\"\n[services.stub]\n\
         requires_document = false\n[services.stub.worker]\ncommand = [\"true\"]\n"
    );
    Gateway::start_with(&configuration, |command| {
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).env("OTEL_BSP_SCHEDULE_DELAY", "50");
        command.env("OTEL_BSP_MAX_QUEUE_SIZE", "16").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
        command.env("OTEL_TRACES_SAMPLER", "always_on");
    })
}

/// Works as without one, tells once, and stops in time.
fn goes_on(mut gateway: Gateway) {
    for _ in 0..5 {
        assert_eq!(ends(&gateway, "stub", &[])["status"], "SUCCESS");
    }
    for _ in 0..200 {
        assert_eq!(get(&format!("{}/info", gateway.url())).status, 200);
    }
    wait_for("it is told", || gateway.log().contains("takes no telemetry"));
    assert!(gateway.log().matches("takes no telemetry").count() <= 2, "{}", gateway.log());
    // The end waits for no collector.
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn nobody_listens() {
    // Not at port 1, which nobody is given either.
    goes_on(gateway("http://127.0.0.1:1", "http/protobuf"));
    goes_on(gateway("http://127.0.0.1:1", "grpc"));
}

#[test]
fn somebody_listens_and_never_answers() {
    // Accepted by the system, read by nobody.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    for protocol in ["http/protobuf", "grpc"] {
        let mut gateway = gateway(&url, protocol);
        for _ in 0..5 {
            assert_eq!(ends(&gateway, "stub", &[])["status"], "SUCCESS");
        }
        gateway.terminate();
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    }
}
