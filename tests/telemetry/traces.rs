//! One trace from the client's request to the callback, with the embedded broker.

use crate::{
    collector::{Collector, Told, hex, one, parents},
    place::shell,
    store::Store,
    support::{AUTH, Gateway, end, get, request, wait_for},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::fs;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const CLIENT: &str = "b7ad6b7169203331";

/// `traceparent` of a client whose trace is recorded.
pub(crate) fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CLIENT}-01")
}

/// Reads its document, tells what it was told of the trace, and hands in an annotation.
const SCRIPT: &str = r#"cat "$2" > /dev/null; echo "$TRACEPARENT $TRACESTATE" > "$0/told"; echo '[{"@id": "a"}]'"#;

fn gateway(collector: &Collector, store: &Store, variables: &[(&str, &str)]) -> Gateway {
    let command = shell(SCRIPT).replace("\"{uuid}\", \"{output}\"", "\"@DIR@\", \"{output}\", \"{document}\"");
    let configuration = format!(
        "{AUTH}[store]\nurl = \"sqlite:gateway.db\"\n[documents]\nallow_hosts = [\"127.0.0.1\"]\n\
         [annotations]\npost_url = \"{}\"\n[telemetry]\notlp_endpoint = \"{}\"\n\
         [services.stub]\n[services.stub.worker]\ncommand = {command}\n",
        store.url("/notes/{ann_doc_id}"),
        collector.url(),
    );
    Gateway::start_with(&configuration, |command| {
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100").env("OTEL_METRIC_EXPORT_INTERVAL", "300");
        command.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        command.envs(variables.iter().copied());
    })
}

const NAMES: [&str; 9] =
    ["POST /stub/annotate", "auth", "document", "store", "process stub", "command", "settle stub", "GET", "POST"];

/// Submits with a client's context; gives the spans of the trace once all are there.
fn traced(gateway: &Gateway, collector: &Collector, store: &Store, trace: &str) -> Vec<Told> {
    let form =
        [("doc_url", store.url("/doc.txt")), ("ann_doc_id", "7".to_owned()), ("callback_url", store.url("/back"))];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let submission = request("POST", &format!("{}/stub/annotate", gateway.url()))
        .header("traceparent", &traceparent(trace))
        .header("tracestate", "vendor=x")
        .token(&gateway.token(&[]))
        .form(&form);
    let answer = submission.send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    assert_eq!(end(gateway, "stub", &uuid)["status"], "SUCCESS");
    wait_for("the callback", || !store.seen("POST /back").is_empty());
    let spans = collector.whole(trace, &NAMES);
    // Annotations and callback.
    let both = || collector.trace(trace).iter().filter(|told| told.span.name == "POST").count() == 2;
    wait_for("both POST spans", both);
    assert!(spans.iter().all(|told| told.service == "service-gateway"), "{spans:?}");
    collector.trace(trace)
}

#[test]
fn one_trace_from_the_request_to_the_callback() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    let gateway = gateway(&collector, &store, &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA")]);
    let spans = traced(&gateway, &collector, &store, TRACE);
    let of = parents(&spans, CLIENT);
    assert_eq!(of["POST /stub/annotate"], "client");
    for child in ["auth", "document", "store", "process stub", "settle stub"] {
        assert_eq!(of[child], "POST /stub/annotate", "{child}");
    }
    for child in ["command", "GET"] {
        assert_eq!(of[child], "process stub", "{child}");
    }
    let request = one(&spans, "POST /stub/annotate");
    // The annotations belong to the run; the callback comes after it.
    let run = one(&spans, "process stub");
    let mut above: Vec<_> =
        spans.iter().filter(|told| told.span.name == "POST").map(|told| hex(&told.span.parent_span_id)).collect();
    let mut expected = [run.id(), request.id()];
    above.sort();
    expected.sort();
    assert_eq!(above, expected);
    assert_eq!((request.kind(), request.attribute("http.response.status_code")), (SpanKind::Server, "200".to_owned()));
    assert_eq!(request.attribute("http.route"), "/stub/annotate");
    assert_eq!(request.span.trace_state, "vendor=x");
    assert_eq!(one(&spans, "process stub").kind(), SpanKind::Consumer);
    assert_eq!(one(&spans, "settle stub").attribute("gateway.state"), "SUCCESS");

    // The program, the storage service, the annotation store and the callback are told where they stand.
    let told = fs::read_to_string(gateway.directory().join("told")).unwrap();
    assert_eq!(told.trim_end(), format!("00-{TRACE}-{}-01 vendor=x", one(&spans, "command").id()));
    for line in ["GET /doc.txt", "POST /notes/7", "POST /back"] {
        let head = &store.seen(line)[0].head;
        let own = spans.iter().any(|told| head.contains(&format!("traceparent: 00-{TRACE}-{}-01\r\n", told.id())));
        assert!(own && head.contains("tracestate: vendor=x\r\n"), "{line}: {head}");
    }
    let requests = collector.requests();
    assert!(requests.iter().all(|(_, secret)| secret.as_deref() == Some("Basic eA")), "{requests:?}");
    assert!(!gateway.log().contains("Basic eA"), "{}", gateway.log());
    wait_for("metrics come, too", || collector.metrics().iter().any(|it| it.name == "service_gateway.tasks.ended"));
}

#[test]
fn the_same_over_grpc_and_what_is_left_is_sent_at_the_end() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    let mut gateway = gateway(
        &collector,
        &store,
        &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=b")],
    );
    traced(&gateway, &collector, &store, TRACE);
    let requests = collector.requests();
    assert!(requests.iter().all(|(path, _)| path.ends_with("Service/Export")), "{requests:?}");
    assert!(requests.iter().all(|(_, secret)| secret.as_deref() == Some("b")), "{requests:?}");
    wait_for("metrics come, too", || !collector.metrics().is_empty());
    // An empty queue waits long; the end does not.
    let last = "1af7651916cd43dd8448eb211c80319c";
    let answer = request("GET", &format!("{}/info", gateway.url())).header("traceparent", &traceparent(last)).send();
    assert_eq!(answer.status, 200);
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    assert_eq!(collector.trace(last).len(), 1);
}

#[test]
fn a_restart_keeps_a_waiting_task_in_its_trace() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    let configuration = format!(
        "[auth]\nmode = \"none\"\n[telemetry]\notlp_endpoint = \"{}\"\n[services.stub]\nrequires_document = false\n",
        collector.url()
    );
    let mut gateway = Gateway::start_with(&configuration, |command| {
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
    });
    let trace = "2af7651916cd43dd8448eb211c80319c";
    let submission = request("POST", &format!("{}/stub/annotate", gateway.url()));
    let answer = submission.header("traceparent", &traceparent(trace)).form(&[]).send();
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    gateway.kill9();
    fs::write(gateway.config(), configuration + "[services.stub.worker]\ncommand = [\"true\"]\n").unwrap();
    gateway.restart();
    assert_eq!(end(&gateway, "stub", &uuid)["status"], "SUCCESS");
    let names = ["process stub", "command", "settle stub"];
    let spans = until_flushed(&collector, trace, &names);
    let request = spans.iter().find(|told| told.span.name == "process stub").unwrap();
    assert_ne!(hex(&request.span.parent_span_id), CLIENT, "below the span that the dead process had begun");
    drop(store);
}

fn until_flushed(collector: &Collector, trace: &str, names: &[&str]) -> Vec<Told> {
    collector.whole(trace, names)
}

#[test]
fn sampling_is_as_the_variables_say() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    let ask = |gateway: &Gateway, trace: &str, flags: &str| {
        let url = format!("{}/info", gateway.url());
        let parent = format!("00-{trace}-{CLIENT}-{flags}");
        assert_eq!(request("GET", &url).header("traceparent", &parent).send().status, 200);
    };
    let none = gateway(&collector, &store, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    ask(&none, TRACE, "01");
    assert_eq!(get(&format!("{}/info", none.url())).status, 200);
    let all = gateway(&collector, &store, &[("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_SERVICE_NAME", "mine")]);
    let other = "3af7651916cd43dd8448eb211c80319c";
    ask(&all, other, "00");
    assert_eq!(get(&format!("{}/readyz", all.url())).status, 200, "probes are not traced");
    let spans = collector.whole(other, &["GET /info"]);
    assert_eq!(spans[0].service, "mine");
    // As the default has it, the caller decides.
    let default = gateway(&collector, &store, &[]);
    let (unsampled, sampled) = ("4af7651916cd43dd8448eb211c80319c", "5af7651916cd43dd8448eb211c80319c");
    ask(&default, unsampled, "00");
    ask(&default, sampled, "01");
    collector.whole(sampled, &["GET /info"]);
    assert_eq!((collector.trace(TRACE).len(), collector.trace(unsampled).len()), (0, 0));
    assert_eq!(collector.spans(), 2);
}

#[test]
fn what_a_stranger_writes_into_the_headers_is_no_trace() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    let gateway = gateway(&collector, &store, &[("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let good = traceparent(TRACE);
    for (parent, state) in [
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", "a=1"),
        ("nonsense", "a=1"),
        (&*good.to_uppercase(), "a=1"),
        (&*format!("{good}-x"), "a=1"),
    ] {
        let request = request("GET", &format!("{}/info", gateway.url()));
        assert_eq!(request.header("traceparent", parent).header("tracestate", state).send().status, 200);
    }
    let long = "a=".to_owned() + &"x".repeat(4000);
    let request = request("GET", &format!("{}/info", gateway.url()));
    assert_eq!(request.header("traceparent", &good).header("tracestate", &long).send().status, 200);
    let spans = collector.whole(TRACE, &["GET /info"]);
    assert_eq!((spans.len(), spans[0].span.trace_state.as_str()), (1, ""));
    assert_eq!(collector.spans(), 1);
}
