//! A collector behind TLS: by the authorities of `SSL_CERT_FILE`, over HTTP and gRPC; not by others.

use crate::{
    collector::Collector,
    rabbit::{rig, support},
    support::{Gateway, get, wait_for},
};
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// TLS in front of a collector, with the rig's certificate for 127.0.0.1.
struct Tls {
    port: u16,
    process: Child,
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Tls {
    fn before(collector: &Collector) -> Self {
        let authority = PathBuf::from(rig("SG_TEST_AMQPS_CA"));
        let port = collector.url().rsplit(':').next().unwrap().to_owned();
        let mut command = Command::new(rig("SG_TEST_PYTHON"));
        command.arg(support().join("tls.py"));
        command.arg(authority.with_file_name("server.crt")).arg(authority.with_file_name("server.key")).arg(port);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().unwrap(), process }
    }

    fn gateway(&self, protocol: &str, authorities: Option<&str>) -> Gateway {
        let endpoint = format!("otlp_endpoint = \"https://127.0.0.1:{}\"", self.port);
        Gateway::start_with(
            &format!("[auth]\nmode = \"none\"\n[telemetry]\n{endpoint}\n[services.stub]\n"),
            |command| {
                command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).env("OTEL_BSP_SCHEDULE_DELAY", "50");
                command.env("OTEL_METRIC_EXPORT_INTERVAL", "200").env("OTEL_TRACES_SAMPLER", "always_on");
                command.env_remove("SSL_CERT_FILE").envs(authorities.map(|file| ("SSL_CERT_FILE", file)));
            },
        )
    }
}

fn asked(gateway: &Gateway) {
    assert_eq!(get(&format!("{}/info", gateway.url())).status, 200);
}

#[test]
fn a_collector_behind_tls() {
    let authority = rig("SG_TEST_AMQPS_CA");
    for protocol in ["grpc", "http/protobuf"] {
        let collector = Collector::start();
        let tls = Tls::before(&collector);
        let gateway = tls.gateway(protocol, Some(&authority));
        asked(&gateway);
        wait_for("spans and metrics come", || collector.spans() > 0 && !collector.metrics().is_empty());
        let grpc = collector.requests().iter().all(|(path, _)| path.ends_with("Service/Export"));
        assert_eq!(grpc, protocol == "grpc", "{:?}", collector.requests());
        drop(gateway);

        let collector = Collector::start();
        let tls = Tls::before(&collector);
        let gateway = tls.gateway(protocol, None);
        asked(&gateway);
        wait_for("its certificate is refused", || gateway.log().contains("takes no telemetry"));
        assert_eq!((collector.spans(), collector.requests().len()), (0, 0), "nothing is told to a stranger");
    }
}
