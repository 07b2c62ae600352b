//! `/metrics` as Prometheus reads it, and the shipped dashboard and alert rules against it.

use crate::{
    celery::Worker,
    place::{Place, SERVICE, shell},
    rabbit::{Rabbit, rig, run, support},
    support::{Gateway, PATIENCE, ends, get, submit, until, wait_for},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/telemetry").join(name)
}

fn metrics(gateway: &Gateway) -> String {
    let answer = get(&format!("{}/metrics", gateway.url()));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    answer.text()
}

/// The value of a series, as it is written; `None` if it is not told.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// A gateway with the embedded broker that has done some tasks, well and badly.
fn worked() -> Gateway {
    let gateway = Gateway::start(
        "[auth]\nmode = \"none\"\n[services.good]\nrequires_document = false\n[services.good.worker]\n\
         command = [\"true\"]\nconcurrency = 3\n[services.bad]\nrequires_document = false\n[services.bad.worker]\n\
         command = [\"false\"]\nretries = 1\n",
    );
    assert_eq!(ends(&gateway, "good", &[])["status"], "SUCCESS");
    assert_eq!(ends(&gateway, "good", &[])["status"], "SUCCESS");
    assert_eq!(ends(&gateway, "bad", &[])["status"], "FAILURE");
    gateway
}

#[test]
fn tasks_are_counted_by_service_and_end() {
    let gateway = worked();
    let text = metrics(&gateway);
    for (series, expected) in [
        (r#"service_gateway_tasks_accepted_total{service="good"}"#, 2.0),
        (r#"service_gateway_tasks_ended_total{service="good",state="SUCCESS"}"#, 2.0),
        (r#"service_gateway_tasks_ended_total{service="bad",state="FAILURE"}"#, 1.0),
        (r#"service_gateway_tasks_ended_total{service="good",state="FAILURE"}"#, 0.0),
        (r#"service_gateway_task_retries_total{service="bad"}"#, 1.0),
        (r#"service_gateway_task_wait_duration_seconds_count{service="good"}"#, 2.0),
        (r#"service_gateway_task_run_duration_seconds_count{service="bad"}"#, 1.0),
        (r#"service_gateway_part_up{part="store"}"#, 1.0),
        ("service_gateway_results_stray_total", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    assert!(value(&text, "service_gateway_store_commit_writes_sum") >= Some(6.0), "{text}");
    assert!(value(&text, "process_resident_memory_bytes") > Some(1e6));
    // Looked up now and then.
    let slots = |gateway| value(&metrics(gateway), r#"service_gateway_queue_slots{service="good"}"#);
    until(PATIENCE, "slots are known", || slots(&gateway).filter(|slots| *slots == 3.0));
    let none = r#"service_gateway_tasks_open{service="bad",phase="waiting"}"#;
    until(PATIENCE, "nothing is open", || value(&metrics(&gateway), none).filter(|open| *open == 0.0));
}

#[test]
fn nothing_of_a_request_becomes_a_label() {
    let gateway = worked();
    for path in ["/stranger/annotate", "/good/status?uuid=zzz", "/%0aforged", "/good/zzz"] {
        get(&format!("{}{path}", gateway.url()));
    }
    let text = metrics(&gateway);
    assert!(!text.contains("stranger") && !text.contains("zzz") && !text.contains("forged"), "{text}");
}

/// The shipped rules' expressions, and the dashboard's: its variables replaced by what Grafana puts there.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(shipped("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10 && panels.iter().all(|panel| panel["type"] == "timeseries"));
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let shown = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    let rules = fs::read_to_string(shipped("alerts.yml")).unwrap();
    // `expr: ONE LINE`, or `expr: |` and lines that are further in.
    let alerts = rules.split("expr:").skip(1).map(|rest| {
        let end = ["\n        for:", "\n        labels:"].iter().filter_map(|key| rest.find(key)).min().unwrap();
        rest[..end].trim().trim_start_matches('|').split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let all: Vec<_> = shown.chain(alerts).collect();
    assert!(all.len() > 30, "{all:#?}");
    all.into_iter().map(|it| it.replace("$__rate_interval", "5m").replace("$service", ".*")).collect()
}

#[test]
fn prometheus_reads_it_and_the_dashboard_and_rules_ask_for_nothing_else() {
    let embedded = worked();
    let place = Place::at(Rabbit::shared(), "metrics", &shell("true"), "", "");
    let _worker = place.worker();
    let uuid = place.submit(&[]);
    assert_eq!(place.end(&uuid)["status"], "SUCCESS");
    let queue = format!("service_gateway_queue_workers{{service=\"{SERVICE}\"}}");
    wait_for("the queue is looked at", || value(&metrics(&place.gateway), &queue) == Some(1.0));
    let sent = r#"messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_operation_name="publish",outcome="sent"}"#;
    let settled = r#"messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_operation_name="settle",outcome="written"}"#;
    // Its end may be known before the broker has confirmed that it has the task.
    wait_for("what was sent and settled is counted", || {
        let text = metrics(&place.gateway);
        value(&text, sent) == Some(1.0) && value(&text, settled) >= Some(1.0)
    });
    wait_for("slots are looked up", || metrics(&embedded).contains("service_gateway_queue_slots{"));

    let files = [place.file("amqp.prom"), place.file("embedded.prom"), place.file("expressions.json")];
    fs::write(&files[0], metrics(&place.gateway)).unwrap();
    fs::write(&files[1], metrics(&embedded)).unwrap();
    fs::write(&files[2], serde_json::to_string(&expressions()).unwrap()).unwrap();
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.arg(support().join("metrics.py")).args(&files[..2]).arg("--").arg(&files[2]);
    let output = run(&mut command, PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Prometheus' own tool: the expressions parse, and the text is as it should be.
    let check = |arguments: &[&str], input: Option<&Path>| {
        let mut command = Command::new(rig("SG_TEST_PROMTOOL"));
        command.args(arguments);
        if let Some(input) = input {
            command.stdin(fs::File::open(input).unwrap());
        }
        let output = run(&mut command, PATIENCE);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
        said
    };
    let said = check(&["check", "rules", shipped("alerts.yml").to_str().unwrap()], None);
    assert!(said.contains("13 rules found"), "{said}");
    check(&["check", "config", shipped("prometheus.yml").to_str().unwrap()], None);
    for file in &files[..2] {
        check(&["check", "metrics"], Some(file));
    }
    // Every expression of the dashboard, as rules.
    let rules = expressions().into_iter().enumerate().map(|(at, expression)| {
        format!("      - record: \"dashboard:{at}\"\n        expr: {}\n", serde_json::to_string(&expression).unwrap())
    });
    let file = place.file("dashboard.yml");
    fs::write(&file, format!("groups:\n  - name: all\n    rules:\n{}", rules.collect::<String>())).unwrap();
    check(&["check", "rules", file.to_str().unwrap()], None);
}

#[test]
fn a_queue_that_nobody_serves_shows() {
    let broker = Rabbit::shared();
    let queue = format!("unserved-{}", std::process::id());
    let gateway = Gateway::start(&format!(
        "[broker]\nurl = \"{}\"\nreply_queue = \"{queue}.replies\"\n[auth]\nmode = \"none\"\n\
         [services.echo]\nqueue = \"{queue}\"\nrequires_document = false\n",
        broker.url()
    ));
    submit(&gateway, "echo", &[]);
    let both = |messages, workers| {
        let text = metrics(&gateway);
        value(&text, r#"service_gateway_queue_messages{service="echo"}"#) == Some(messages)
            && value(&text, r#"service_gateway_queue_workers{service="echo"}"#) == Some(workers)
    };
    wait_for("a task waits, and nobody is there", || both(1.0, 0.0));
    let worker = Worker::start(&broker, &queue, gateway.directory(), &[]);
    wait_for("a worker took it", || both(0.0, 1.0));
    worker.stop();
    broker.delete(&queue);
}
