//! One trace over RabbitMQ: through our own worker, and through a Celery worker with OpenTelemetry's own package.

use crate::{
    celery::{Program, Worker},
    collector::{Collector, one, parents},
    place::{Place, SERVICE, shell},
    rabbit::Rabbit,
    store::Store,
    support::{Gateway, end, request, wait_for},
    traces::{CLIENT, TRACE, traceparent},
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::fs;

/// Submits with a client's context and follows to the end.
fn submit(gateway: &Gateway, service: &str, form: &[(&str, &str)]) {
    let submission = request("POST", &format!("{}/{service}/annotate", gateway.url()));
    let answer = submission.header("traceparent", &traceparent(TRACE)).header("tracestate", "v=1").form(form).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let uuid = answer.json()["uuid"].as_str().unwrap().to_owned();
    let end = end(gateway, service, &uuid);
    assert_eq!(end["status"], "SUCCESS", "{end}");
}

#[test]
fn through_our_worker() {
    let (collector, store) = (Collector::start(), Store::start("200 OK"));
    // Read by the worker too, which is started with the same file.
    let url = collector.url();
    let documents = "[documents]\nallow_hosts = [\"127.0.0.1\"]\n";
    let script = r#"echo "$TRACEPARENT" > "$SERVICE_GATEWAY_RUN.told"; cat "$SERVICE_GATEWAY_RUN.told""#;
    let place = Place::at(Rabbit::shared(), "trace", &shell(script), "", documents);
    // The place's own table [telemetry] is amended: two tables of one name are a fault.
    let text = fs::read_to_string(place.gateway.config()).unwrap();
    let text = text.replace("[telemetry]\n", &format!("[telemetry]\notlp_endpoint = \"{url}\"\n"));
    fs::write(place.gateway.config(), text).unwrap();
    let mut place = place;
    place.gateway.stop_and_start();
    let mut worker = place.worker();
    submit(&place.gateway, SERVICE, &[("callback_url", &store.url("/back"))]);
    wait_for("the callback", || !store.seen("POST /back").is_empty());

    let (publish, process) = (format!("publish {}", place.queue), format!("process {}", place.queue));
    let names = ["POST /stub/annotate", "store", &publish, &process, "command", "POST", "settle stub"];
    // Before the end: what is left then has three seconds, and is given up.
    let spans = collector.whole(TRACE, &names);
    worker.terminate();
    assert!(worker.wait().success(), "{}", worker.log());
    place.gateway.terminate();
    assert!(place.gateway.wait().success());
    let of = parents(&spans, CLIENT);
    assert_eq!(of["POST /stub/annotate"], "client");
    assert_eq!(of[&publish], "POST /stub/annotate");
    assert_eq!(of[&process], publish);
    assert_eq!((&*of["command"], &*of["POST"]), (&*process, &*process));
    assert_eq!(of["settle stub"], "POST /stub/annotate");
    let (sent, received) = (one(&spans, &publish), one(&spans, &process));
    assert_eq!((sent.kind(), sent.service.as_str()), (SpanKind::Producer, "service-gateway"));
    assert_eq!((received.kind(), received.service.as_str()), (SpanKind::Consumer, "service-gateway-worker"));
    assert_eq!(sent.attribute("messaging.message.id"), received.attribute("messaging.message.id"));
    assert_eq!(sent.attribute("messaging.operation.type"), "send");
    assert!(spans.iter().all(|told| told.span.trace_state == "v=1"), "{spans:#?}");
}

#[test]
fn through_a_celery_worker_with_opentelemetrys_package() {
    let collector = Collector::start();
    let broker = Rabbit::shared();
    let queue = format!("traced-{}", std::process::id());
    let configuration = format!(
        "[broker]\nurl = \"{}\"\nreply_queue = \"{queue}.replies\"\n[auth]\nmode = \"none\"\n\
         [telemetry]\notlp_endpoint = \"{}\"\n\
         [services.echo]\nqueue = \"{queue}\"\nrequires_document = false\n",
        broker.url(),
        collector.url()
    );
    let gateway = Gateway::start_with(&configuration, |command| {
        command.env("OTEL_BSP_SCHEDULE_DELAY", "100");
    });
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("OTEL_SERVICE_NAME", "python-worker".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
    ];
    let program = Program { app: "traced_worker", environment: environment.to_vec(), ..Program::default() };
    let worker = Worker::start_as(program, &broker, &queue, gateway.directory(), &[]);
    submit(&gateway, "echo", &[]);
    let publish = format!("publish {queue}");
    let names = ["POST /echo/annotate", "store", &publish, "run/worker.echo", "settle echo"];
    let spans = collector.whole(TRACE, &names);
    let of = parents(&spans, CLIENT);
    assert_eq!(of["run/worker.echo"], publish, "Celery's span is the child of our message's");
    assert_eq!(of[&publish], "POST /echo/annotate");
    let run = one(&spans, "run/worker.echo");
    assert_eq!((run.kind(), run.service.as_str()), (SpanKind::Consumer, "python-worker"));
    worker.stop();
    broker.delete(&queue);
}
