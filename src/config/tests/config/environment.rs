use crate::{read_with, warnings};
use gateway_config::{Algorithm, Argument, BrokerUrl, parse};
use std::{path::Path, time::Duration};

const OPEN: &str = "[auth]\nmode = \"none\"\n";

#[test]
fn every_kind_of_value() {
    let loaded = read_with(
        "[auth]\nmode = \"none\"\n[services.my-Stub]\nroute = \"s\"\n[services.my-Stub.errors]\nModelNotLoaded = 650\n",
        &[
            ("GATEWAY_SERVER__LISTEN", "[::1]:8080"),
            ("gateway_server__max_body", "3 MiB"),
            ("GATEWAY_SERVER__MAX_CONCURRENCY", " 7 "),
            ("GATEWAY_SERVER__REQUEST_TIMEOUT", "1m"),
            ("GATEWAY_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
            ("GATEWAY_BROKER__URL", "amqp://u:p@h/v"),
            ("GATEWAY_DOCUMENTS__ALLOW_PRIVATE_NETWORKS", "True"),
            ("GATEWAY_DOCUMENTS__SCHEMES", "[\"https\", \"s3\"]"),
            ("GATEWAY_DOCUMENTS__ALLOW_HOSTS", ""),
            ("GATEWAY_AUTH__ALGORITHMS", "HS256,HS384"),
            ("GATEWAY_TELEMETRY__METRICS", "false"),
            ("GATEWAY_SERVICES__MY_STUB__VERSION", "0010"),
            ("GATEWAY_SERVICES__MY_STUB__ERRORS__MODELNOTLOADED", "651"),
            ("GATEWAY_SERVICES__MY_STUB__ERRORS__Other", "652"),
            ("GATEWAY_SERVICES__MY_STUB__QUEUE_ARGUMENTS", "{x-max-priority = 10}"),
            ("GATEWAY_SERVICES__MY_STUB__WORKER__COMMAND", "[\"sh\", \"-c\", \"a,b\"]"),
            ("GATEWAY_SERVICES__MY_STUB__WORKER__CONCURRENCY", "4"),
            ("GATEWAY_SERVICES__NEW__SCALING__SPAWN_RATIO", "0.2"),
            ("GATEWAY_SERVICES__NEW__QUEUE_ARGUMENTS__x-a", "true"),
            ("GATEWAY_SERVICES__NEW__QUEUE_ARGUMENTS__x-b", "classic"),
            ("GATEWAY_SERVICES__WHOLE", "{ route = \"w\" }"),
        ],
    )
    .unwrap();
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "[::1]:8080");
    assert_eq!(config.server.max_body.bytes(), 3 << 20);
    assert_eq!(config.server.max_concurrency, 7);
    assert_eq!(config.server.request_timeout, Duration::from_secs(60));
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(matches!(&config.broker.url, BrokerUrl::Amqp(url) if url.expose() == "amqp://u:p@h/v"));
    assert!(config.documents.allow_private_networks && !config.telemetry.metrics);
    assert_eq!(config.documents.schemes, ["https", "s3"]);
    assert!(config.documents.allow_hosts.is_empty());
    assert_eq!(config.auth.algorithms, [Algorithm::Hs256, Algorithm::Hs384]);
    let stub = &config.services["my-Stub"];
    assert_eq!((stub.route.as_str(), stub.version.as_str()), ("s", "0010"), "file and environment merge");
    assert_eq!((stub.errors["ModelNotLoaded"], stub.errors["Other"]), (651, 652));
    assert_eq!(stub.queue_arguments["x-max-priority"], Argument::Int(10));
    let worker = stub.worker.as_ref().unwrap();
    assert_eq!((worker.command.as_slice(), worker.concurrency), (["sh", "-c", "a,b"].map(String::from).as_slice(), 4));
    let new = &config.services["new"];
    assert_eq!(new.queue_arguments["x-a"], Argument::Flag(true));
    assert_eq!(new.queue_arguments["x-b"], Argument::Text("classic".to_owned()));
    assert_eq!(config.services["whole"].route, "w");
    assert_eq!(config.services.len(), 3);
}

#[test]
fn texts_stay_as_they_are() {
    for text in ["0012", "1e5", "true", "[x]", "\"quoted\"", "a,b", "{}"] {
        let loaded = read_with(OPEN, &[("GATEWAY_AUTH__ISSUER", text), ("GATEWAY_AUTH__SHARED_KEY", text)]).unwrap();
        assert_eq!(loaded.config.auth.issuer, text);
        assert_eq!(loaded.config.auth.shared_key.expose(), text);
    }
}

#[test]
fn only_names_with_a_double_underscore_are_read() {
    let foreign = [
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_PORT_5000_TCP", "tcp://10.0.0.1:5000"),
        ("GATEWAY_", "x"),
        ("GATEWAY", "x"),
        ("MY_GATEWAY_SERVER__LISTEN", "x"),
        ("ÉTÉ__X", "x"),
    ];
    assert_eq!(read_with(OPEN, &foreign), read_with(OPEN, &[]));
}

#[test]
fn faults_name_the_variable() {
    let told = read_with(
        OPEN,
        &[
            ("GATEWAY_SERVER__LISTN", "x"),
            ("GATEWAY_SERVER__LISTEN", "localhost"),
            ("GATEWAY_SERVER__MAX_CONCURRENCY", "0"),
            ("GATEWAY_SERVER__TRUSTED_PROXIES", "[\"::1/128\", \"no\"]"),
            ("GATEWAY_DOCUMENTS__SCHEMES", "[\"a\""),
            ("GATEWAY_FOO__BAR", "1"),
            ("GATEWAY___X", "1"),
            ("GATEWAY_SERVICES__STUB", "nothing"),
            ("GATEWAY_SERVER__PUBLIC_URL__X", "1"),
            ("GATEWAY_AUTH__ISSUER", "\u{fffd}"),
        ],
    )
    .unwrap_err()
    .to_string();
    for line in [
        "GATEWAY_SERVER__LISTN: server.listn: unknown key: did you mean `server.listen`?",
        "GATEWAY_SERVER__LISTEN: server.listen: \"localhost\": expected an address and port",
        "GATEWAY_SERVER__MAX_CONCURRENCY: server.max_concurrency: 0: expected at least 1",
        "GATEWAY_SERVER__TRUSTED_PROXIES: server.trusted_proxies[1]: \"no\": expected a network",
        "GATEWAY_DOCUMENTS__SCHEMES: documents.schemes: expected a TOML list",
        "GATEWAY_FOO__BAR: foo: unknown key",
        "GATEWAY___X: \"\": unknown key",
        "GATEWAY_SERVICES__STUB: services.stub: expected a table, found text",
        "GATEWAY_SERVER__PUBLIC_URL__X: server.public_url: expected an http or https URL, found a table",
        "GATEWAY_AUTH__ISSUER: auth.issuer: the value is not UTF-8",
    ] {
        assert!(told.contains(line), "{line}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), 10, "{told}");
}

#[test]
fn a_list_holds_no_further_lines() {
    let told = read_with(OPEN, &[("GATEWAY_DOCUMENTS__SCHEMES", "[\"a\"]\nother = 1")]).unwrap_err().to_string();
    assert!(told.contains("expected a TOML list"), "{told}");
}

#[test]
fn the_command_line_wins() {
    let file = Some((Path::new("gateway.toml"), OPEN));
    let variables = || [("GATEWAY_SERVER__LISTEN".to_owned(), "127.0.0.1:1".to_owned())];
    let loaded = parse(file, variables(), &[("server.listen", "127.0.0.1:2")]).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 2);
    let told = parse(file, variables(), &[("server.listen", "here")]).unwrap_err().to_string();
    assert!(told.starts_with("command line: server.listen: \"here\": expected an address"), "{told}");
}

#[test]
fn no_file_at_all_will_do() {
    let variables = [("GATEWAY_AUTH__MODE".to_owned(), "none".to_owned())];
    let loaded = parse(None, variables, &[]).unwrap();
    assert_eq!(loaded.file, None);
    assert!(parse(None, [], &[]).unwrap_err().to_string().starts_with("auth.key: "));
}

#[test]
fn warnings_name_their_source_too() {
    let told = warnings("[store]\nurl = \"sqlite::memory:\"");
    assert!(told.contains("gateway.toml: store.url: tasks are kept in memory"), "{told}");
}
