//! One line a rule: the text, and what is said about it.

use crate::{KEY, faults, read, warnings};

/// Each text has a fault that contains the words.
fn refuses(cases: &[(&str, &str)]) {
    for (text, words) in cases {
        let told = faults(text);
        assert!(told.contains(words), "{text}\nis told\n{told}\nand not\n{words}");
        assert_eq!(told.lines().count(), 1, "{text}\nis told\n{told}");
    }
}

/// Each text has no fault.
fn admits(texts: &[&str]) {
    for text in texts {
        assert_eq!(faults(text), "no fault", "{text}");
    }
}

#[test]
fn server() {
    refuses(&[
        ("server.listen = \"localhost:5000\"", "server.listen: \"localhost:5000\": expected an address and port"),
        ("server.listen = \"127.0.0.1\"", "expected an address and port"),
        (
            "server.trusted_proxies = [\"10.0.0.1\"]",
            "server.trusted_proxies[0]: \"10.0.0.1\": expected a network: did you mean \"10.0.0.1/32\"?",
        ),
        ("server.trusted_proxies = [\"::1/129\"]", "expected a network such as"),
        ("server.public_url = \"example.org\"", "server.public_url: expected a URL"),
        ("server.public_url = \"ftp://example.org\"", "server.public_url: expected a URL"),
        ("server.public_url = \"https://example.org/?a=1\"", "server.public_url: expected scheme, host and path only"),
        ("server.public_url = \"https://me@example.org/\"", "server.public_url: expected scheme, host and path only"),
        ("server.max_body = 0", "server.max_body: 0 B: expected a size from 1 B to 1 GiB"),
        ("server.max_body = \"1025 MiB\"", "server.max_body: 1025 MiB: expected a size from 1 B to 1 GiB"),
        ("server.header_timeout = \"0s\"", "server.header_timeout: 0s: expected a duration above zero"),
        ("server.request_timeout = \"0s\"", "server.request_timeout: 0s: expected"),
        ("server.request_timeout = \"40000d\"", "expected a duration of at most 36500d"),
        ("server.max_concurrency = 0", "server.max_concurrency: 0: expected at least 1"),
    ]);
    admits(&["server.shutdown_grace = \"0s\"", "server.max_body = \"1 GiB\"", "server.trusted_proxies = []"]);
}

#[test]
fn broker() {
    refuses(&[
        (
            "broker.url = \"http://host\"",
            "broker.url: expected a URL of another scheme (amqp://… or amqps://…); or `embedded`",
        ),
        ("broker.url = \"\"", "broker.url: expected a URL"),
        ("broker.url = \"amqp:host\"", "broker.url: expected"),
        ("broker.result_backend = \"database\"", "broker.result_backend: expected a URL (redis://… or rediss://…)"),
        ("broker.task_protocol = 3", "broker.task_protocol: 3: expected 2, or 1"),
        ("broker.app = \"\"", "broker.app: \"\": expected 1 to 255 bytes"),
        ("broker.app = \"a b\"", "broker.app: \"a b\": expected 1 to 255 bytes without white space"),
        ("broker.publish_timeout = \"0s\"", "broker.publish_timeout: 0s: expected"),
        ("broker.result_expires = \"0s\"", "broker.result_expires: 0s: expected"),
        ("broker.outbox_depth = 1", "broker.outbox_depth: 1: expected at least 2"),
        ("broker.reply_queue = \"amq.x\"", "broker.reply_queue: \"amq.x\": names that begin with `amq.`"),
    ]);
    admits(&[
        "broker.url = \"amqps://u:p@host/%2f\"",
        "broker.task_protocol = 1",
        "broker.result_expires = \"60d\"",
        "broker.result_backend = \"amqp\"",
        "broker.result_backend = \"redis://host:6379/0\"",
        "broker.result_backend = \"rediss://:p@host\"",
        "services.a.dead_letter_queue = \"dead\"",
    ]);
    let told = faults("broker.result_backend = \"amqp\"\nbroker.result_expires = \"25d\"");
    assert!(told.contains("broker.result_expires: 25d: expected at most 24d"), "{told}");
}

#[test]
fn store() {
    refuses(&[
        (
            "store.url = \"mysql://host/db\"",
            "store.url: expected a URL of another scheme (postgres://… or postgresql://…); or `sqlite:FILE`",
        ),
        ("store.url = \"sqlite:\"", "the file's name is missing"),
        ("store.url = \"postgres://host/db\"", "store.url: PostgreSQL is for several gateways, which need a broker"),
        ("store.keep_results = \"0s\"", "store.keep_results: 0s: expected"),
        ("store.task_timeout = \"0s\"", "store.task_timeout: 0s: expected"),
        ("store.keep_records = \"1h\"", "store.keep_records: 1h: expected at least store.keep_results (2h)"),
    ]);
    admits(&["store.url = \"postgres://host/db\"\nbroker.url = \"amqp://host/v\""]);
}

#[test]
fn auth() {
    for (text, words) in [
        ("", "gateway.toml: auth.key: tokens are asked for and no key is set"),
        ("key = \"not base64!\"", "auth.key: expected base64"),
        ("key = \"=\"", "auth.key: expected base64"),
        ("key = \"  \"", "auth.key: expected base64 of at least one byte"),
        ("algorithms = [\"HS1024\"]", "auth.algorithms[0]: \"HS1024\": expected one of `HS256`"),
        ("algorithms = [\"none\"]", "auth.algorithms[0]: \"none\": expected one of"),
        ("algorithms = []", "auth.algorithms: expected at least one"),
        ("algorithms = [\"RS256\"]", "auth.jwks_url: RS256 needs the public keys' URL"),
        ("jwks_url = \"https://issuer/keys\"", "auth.algorithms: jwks_url publishes public keys"),
        ("jwks_url = \"issuer/keys\"\nalgorithms = [\"ES256\"]", "auth.jwks_url: expected a URL"),
        ("audience = \"\"", "auth.audience: expected the `aud`"),
        ("mode = \"basic\"", "auth.mode: \"basic\": expected one of `jwt` `none`"),
    ] {
        let told = read(&format!("[auth]\n{text}\n")).unwrap_err().to_string();
        assert!(told.contains(words), "{text}\nis told\n{told}");
    }
    refuses(&[
        ("auth.public = [\"statsu\"]", "auth.public[0]: \"statsu\": expected one of"),
        ("auth.public = [\"status\", \"livez\"]", "auth.public[1]: \"livez\": expected one of `annotate` `process`"),
    ]);
    admits(&["auth.leeway = \"0s\"", "auth.public = []", "auth.algorithms = [\"RS256\"]"]);
}

#[test]
fn keys_may_be_short_but_not_unnoticed() {
    let warned =
        |text: &str| read(&format!("[services.a.worker]\ncommand = [\"a\"]\n[auth]\n{text}\n")).unwrap().warnings;
    assert!(warned(&format!("key = \"{KEY}\"")).is_empty());
    assert_eq!(
        warned("key = \"c2hvcnQ\""),
        ["gateway.toml: auth.key: 5 bytes: RFC 7518 asks for at least 64 with the algorithms chosen"]
    );
    let halves: String =
        KEY.as_bytes().chunks(40).map(|part| format!("{}\\n", String::from_utf8_lossy(part))).collect();
    assert!(warned(&format!("key = \"{halves}\"")).is_empty(), "a line break in base64 does not count");
    assert!(warned(&format!("key = \"{}\"", KEY.replace("AA==", "_-A"))).is_empty(), "the URL alphabet");
}

#[test]
fn an_open_gateway_is_warned_of() {
    assert!(warnings("server.listen = \"0.0.0.0:5000\"").contains("auth.mode: none: everybody"));
    assert!(!warnings("server.listen = \"127.0.0.1:5000\"").contains("auth.mode"));
}

#[test]
fn documents_and_annotations() {
    refuses(&[
        ("documents.get_url = \"http://h/get\"", "documents.get_url: expected {storage_doc_id} where"),
        ("documents.get_url = \"http://{storage_doc_id}/\"", "documents.get_url: expected"),
        ("annotations.post_url = \"http://h/{storage_doc_id}\"", "annotations.post_url: expected {ann_doc_id} where"),
        ("documents.upload_url = \"h/add\"", "documents.upload_url: expected a URL"),
        ("documents.schemes = []", "documents.schemes: expected at least one"),
        ("documents.schemes = [\"http://\"]", "documents.schemes[0]: \"http://\": expected a URL scheme"),
        ("documents.allow_hosts = [\"h:80\"]", "documents.allow_hosts[0]: \"h:80\": expected a host"),
        ("documents.allow_hosts = [\"http://h/\"]", "expected a host"),
        ("documents.allow_hosts = [\"\"]", "expected a host"),
        ("documents.allow_hosts = [\"::1\"]", "expected a host"),
    ]);
    admits(&[
        "documents.get_url = \"http://localhost:5002/get/{storage_doc_id}\"",
        "annotations.post_url = \"http://h/document/{ann_doc_id}/annotations?storageType=2\"",
        "documents.allow_hosts = [\"a.b\", \"10.0.0.7\", \"[::1]\"]",
        "documents.schemes = [\"s3\", \"ftp\"]",
    ]);
}

#[test]
fn files_and_telemetry_and_scaling() {
    refuses(&[
        ("files.directory = \"\"", "files.directory: \"\": expected a path"),
        ("files.max_file = 0", "files.max_file: 0 B: expected"),
        ("files.max_total = \"1 MiB\"", "files.max_total: 1 MiB: expected at least files.max_file (1 GiB)"),
        ("files.keep = \"0s\"", "files.keep: 0s: expected"),
        ("telemetry.log = \"info,x=loud\"", "telemetry.log: \"info,x=loud\": expected a level or filter"),
        ("telemetry.log_format = \"xml\"", "telemetry.log_format: \"xml\": expected one of `text` `json`"),
        ("telemetry.otlp_endpoint = \"collector:4317\"", "telemetry.otlp_endpoint: expected a URL"),
        ("scaling.interval = \"0s\"", "scaling.interval: 0s: expected"),
        ("scaling.max_workers = 0\nscaling.min_idle_workers = 0", "scaling.max_workers: 0: expected"),
        ("scaling.min_idle_workers = 51", "scaling.min_idle_workers: 51: expected at most scaling.max_workers (50)"),
        ("scaling.backlog_threshold = 0", "scaling.backlog_threshold: 0: expected"),
        ("platform.about.release_time = \"soon\"", "platform.about.release_time: \"soon\": expected a time"),
        ("platform.pages.doc = \"soon\"", "platform.pages.doc: \"soon\": expected a URL, \"file:PATH\""),
    ]);
    admits(&["telemetry.log = \"info,lapin=warn\"", "platform.pages.doc = \"file:doc.html\""]);
}

#[test]
fn routes() {
    for word in [
        "platform",
        "service",
        "info",
        "stats",
        "needs",
        "doc",
        "releasenotes",
        "support",
        "source",
        "tryme",
        "licence",
        "provenance",
        "factsheet",
        "temporary_file",
        "temporary_upload_path",
        "livez",
        "readyz",
        "healthz",
        "metrics",
        "static",
        "tasks",
        "openapi.json",
        "ogc",
        "400",
        "401",
        "403",
        "404",
        "405",
        "408",
        "413",
        "429",
        "500",
        "502",
        "503",
        "504",
    ] {
        let words = format!("services.a.route: \"{word}\": a path of the gateway itself");
        refuses(&[(&format!("services.a.route = \"{word}\""), &words)]);
    }
    let long = format!("services.a.route = \"{}\"", "x".repeat(256));
    refuses(&[
        ("services.info.task = \"x\"", "services.info.route: \"info\": a path of the gateway itself"),
        ("services.a.route = \"a/b\"", "services.a.route: \"a/b\": expected one path segment"),
        ("services.a.route = \"..\"", "services.a.route: \"..\": expected one path segment"),
        ("services.a.route = \"é\"", "expected one path segment"),
        ("services.a.route = \"simple_workflow\"", "services.a.route: \"simple_workflow\": the workflow service's"),
        (
            "services.a.route = \"b\"\nservices.b.task = \"b\"",
            "services.b.route: \"b\": the route of services.a already",
        ),
        (
            "services.a.route = \".\"\nservices.b.route = \".\"",
            "services.b.route: \".\": the route of services.a already",
        ),
        ("services.a.route = \".\"\nservices.b.route = \"status\"", "services.b.route: \"status\": a verb of"),
        (&long, "expected one path segment"),
    ]);
    admits(&["services.a.route = \".\"", "services.a.route = \"status\"", "services.a.route = \"a-B.c_~1\""]);
}

#[test]
fn queues() {
    let long = |key: &str| format!("services.a.{key} = \"{}\"", "x".repeat(256));
    refuses(&[
        (&long("queue"), "services.a.queue: \"xxx"),
        (&format!("services.a.task = \"{}\"", "x".repeat(250)), "`<app>.<task>` is longer than 255 bytes"),
        ("services.a.task = \"a b\"", "services.a.task: \"a b\": expected"),
        ("services.a.queue = \"amq.rabbit\"", "services.a.queue: \"amq.rabbit\": names that begin with `amq.`"),
        ("services.a.queue_type = \"stream\"", "services.a.queue_type: \"stream\": expected one of `classic` `quorum`"),
        ("services.a.queue_arguments = { a = [1] }", "services.a.queue_arguments.a: expected a text, a whole number"),
        ("services.a.queue_arguments = { a = 1.5 }", "services.a.queue_arguments.a: expected"),
        ("services.a.queue_arguments = { x-queue-type = \"quorum\" }", "x-queue-type: expected under queue_type"),
        (
            "services.a.queue = \"q\"\nservices.b.queue = \"q\"\nservices.b.queue_type = \"quorum\"",
            "services.b.queue: \"q\": shared with services.a, which declares it with another queue_type",
        ),
        ("services.a.queue = \"q\"\nbroker.reply_queue = \"q\"", "services.a.queue: \"q\": is broker.reply_queue"),
    ]);
    admits(&["services.a.queue = \"q\"\nservices.b.queue = \"q\"", &long("queue").replacen('x', "", 1)]);
}

/// Refused whole for now; the rules stand already, beside the refusal.
#[test]
fn limits_and_dead_letters() {
    for (text, words) in [
        ("dead_letter_queue = \"a\"", "services.a.dead_letter_queue: \"a\": expected another queue"),
        ("dead_letter_queue = \"amq.x\"", "services.a.dead_letter_queue: \"amq.x\": names that begin"),
        ("wait_limit = \"0s\"", "services.a.wait_limit: 0s: expected"),
        ("run_limit = \"0s\"", "services.a.run_limit: 0s: expected"),
    ] {
        let told = faults(&format!("services.a.{text}"));
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn services() {
    let name = format!("[services.{}]\nroute = \"a\"\nqueue = \"a\"\ntask = \"a\"", "n".repeat(256));
    refuses(&[
        (&name, "expected a table's name of 1 to 255 bytes"),
        ("services.a.cancel_signal = \"TERM\"", "services.a.cancel_signal: \"TERM\": expected one of `SIGTERM`"),
        ("services.a.cancel_signal = \"SIGTRM\"", "did you mean `SIGTERM`?"),
        ("services.a.errors = { Bad = 99 }", "services.a.errors.Bad: 99: expected a code from 100"),
        ("services.a.errors = { Bad = 65536 }", "services.a.errors.Bad: expected a whole number from 0 to 65535"),
        ("services.a.errors = { \"m.Bad\" = 100 }", "services.a.errors.\"m.Bad\": expected an exception's class name"),
        ("services.a.about.release_time = \"2026\"", "services.a.about.release_time: \"2026\": expected a time"),
        ("services.a.pages.home = \"text,99\"", "services.a.pages.home: \"text,99\": expected"),
        ("services.a.scaling.worker_slots = 0", "services.a.scaling.worker_slots: 0: expected"),
        (
            "services.a.scaling.spawn = [\"x\"]\nservices.a.scaling.list = [\"x\"]",
            "services.a.scaling.stop: not set: spawn, stop and list belong together",
        ),
        ("services.a.scaling.spawn_ratio = 0", "services.a.scaling.spawn_ratio: 0: expected"),
        ("services.a.scaling.spawn_ratio = inf", "services.a.scaling.spawn_ratio: expected a number"),
        ("services.a.scaling.max_workers = 0", "services.a.scaling.max_workers: 0: expected"),
        ("services.a.scaling.target_wait = \"0s\"", "services.a.scaling.target_wait: 0s: expected"),
    ]);
    admits(&["services.a.errors = { Bad = 65535, Worse = 100 }", "services.a.scaling.start_time = \"0s\""]);
}

#[test]
fn workers() {
    let worker = |line: &str| format!("[services.a.worker]\ncommand = [\"a\"]\n{line}");
    for (line, words) in [
        ("concurrency = 0", "services.a.worker.concurrency: 0: expected 1 to 1024"),
        ("concurrency = 1025", "services.a.worker.concurrency: 1025: expected 1 to 1024"),
        ("timeout = \"0s\"", "services.a.worker.timeout: 0s: expected"),
        ("retries = 101", "services.a.worker.retries: 101: expected at most 100"),
        ("retries = -1", "services.a.worker.retries: expected a whole number from 0"),
        ("losses = 0", "services.a.worker.losses: 0: expected 1 to 1000"),
        ("on_lost = \"ignore\"", "services.a.worker.on_lost: \"ignore\": expected one of `retry` `fail`"),
        ("progress = \"(\"", "services.a.worker.progress: \"(\": expected a regular expression"),
        ("progress = \"a\"", "found 0 groups"),
        ("progress = \"(a)(b)(c)\"", "found 3 groups"),
    ] {
        refuses(&[(&worker(line), words)]);
    }
    refuses(&[
        ("[services.a.worker]", "services.a.worker.command: expected a program and its arguments"),
        ("[services.a.worker]\ncommand = [\"\", \"b\"]", "services.a.worker.command: expected a program"),
        ("[services.a.worker]\ncommand = \"a b\"", "services.a.worker.command: expected a list, found text"),
        ("[services.a.worker]\ncommand = [\"a\", \"\\u0000\"]", "expected arguments without NUL"),
    ]);
    admits(&[&worker("progress = '(\\d+)/(\\d+)'\nconcurrency = 1024\nretries = 100")]);
}

#[test]
fn a_service_without_worker_is_a_warning_under_the_embedded_broker() {
    assert!(warnings("[services.a]").contains("services.a: no [worker]"));
    assert!(!warnings("[broker]\nurl = \"amqp://h/v\"\n[services.a]").contains("no [worker]"));
    assert!(!warnings("[services.a.worker]\ncommand = [\"a\"]").contains("no [worker]"));
    let workers = |broker: &str| warnings(&format!("[broker]\n{broker}\n[services.a.worker]\ncommand = [\"a\"]"));
    assert!(workers("url = \"amqp://h/v\"\nresult_backend = \"amqp\"").contains("services.a.worker: `service-gateway"));
    assert_eq!(workers("url = \"amqp://h/v\"") + &workers("result_backend = \"amqp\""), "");
}
