//! What a run tells: reports to the engine, and a span where its trace is recorded.

use crate::plan::ServicePlan;
use gateway_contract::{Span, TraceContext, span};
use gateway_life::{Millis, Report, Run, Source, State, Task};
use gateway_worker::Event;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// The span of a run: below the request that submitted it.
pub(super) fn processing(service: &ServicePlan, task: &Task) -> Span {
    let parent = task.trace.as_deref().and_then(TraceContext::of_text);
    span!(
        parent.as_ref(),
        "process",
        "consumer",
        otel.name = format!("process {}", service.layer.name),
        messaging.system = "service_gateway",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = &*service.layer.name,
        messaging.message.id = tracing::field::display(task.id),
        gateway.attempt = task.attempts,
    )
}

/// An event of the program as the standard report.
pub(super) fn report(service: &ServicePlan, event: Event, run: &mut Option<Run>) -> Report {
    match event {
        Event::Started { host, start_time } => {
            *run = Some(Run { host: host.into(), start: start(start_time).into() });
            Report::new(State::Started, Source::Slot)
        }
        Event::Progress { done } => {
            let run = run.clone();
            let mut meta = meta(service, run.as_ref());
            meta["current"] = (done.floor() as u8).into();
            meta["total"] = 100.into();
            let result = Some(meta.to_string().into());
            Report { result, run, current: Some(done), ..Report::new(State::Progress, Source::Slot) }
        }
        Event::Storing => {
            let result = Some(meta(service, run.as_ref()).to_string().into());
            Report { result, run: run.clone(), ..Report::new(State::from_name("STORING"), Source::Slot) }
        }
    }
}

/// What every report of a run says of it.
fn meta(service: &ServicePlan, run: Option<&Run>) -> Value {
    serde_json::json!({
        "worker_id_version": service.config.version, "start_time": run.map(|run| &*run.start),
        "host": run.map(|run| &*run.host), "type": service.task_name(),
    })
}

/// When a run began, as the original's workers write it.
fn start(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    crate::keeper::request_time(since.as_millis() as Millis)
}
