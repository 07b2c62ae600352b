//! What is told of a task's end: a line in the log, and the last span of its trace.

use gateway_contract::{TraceContext, span};
use gateway_life::Task;
use std::time::Instant;

/// The end of a task is durable; `begun` is when the commit was begun that wrote it.
pub(super) fn ended(task: &Task, begun: Instant) {
    let trace = task.trace.as_deref().and_then(TraceContext::of_text);
    let state = shown(task.state.name());
    let seconds = |from: Option<i64>, to: Option<i64>| Some((to? - from?).max(0) as f64 / 1000.0);
    tracing::info!(
        uuid = %task.id,
        service = &*task.service,
        state,
        trace_id = trace.as_ref().map(|trace| tracing::field::display(trace.shown())),
        attempts = task.attempts,
        presumed = task.presumed.then_some(true),
        wait_s = seconds(Some(task.submitted), task.started),
        run_s = seconds(task.started, task.ended),
        "ended"
    );
    let span = span!(
        trace.as_ref(),
        "result",
        "consumer",
        otel.name = format!("settle {}", task.service),
        took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or_default(),
        messaging.operation.name = "settle",
        messaging.operation.type = "settle",
        messaging.destination.name = &*task.service,
        messaging.message.id = tracing::field::display(task.id),
        gateway.service = &*task.service,
        gateway.state = state,
        gateway.attempts = task.attempts,
        gateway.presumed = task.presumed,
    );
    if state != "SUCCESS" {
        span.fail(&task.note.as_deref().unwrap_or(state));
    }
}

/// A worker may call a state as it likes.
fn shown(state: &str) -> &str {
    match state {
        "SUCCESS" | "FAILURE" | "REVOKED" | "EXPIRED" => state,
        _ => "other",
    }
}
