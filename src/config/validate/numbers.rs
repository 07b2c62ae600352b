//! Ranges of numbers, durations and sizes, and how they fit each other.

use super::Check;
use crate::{BrokerUrl, Config, Files, ResultBackend, Scaling, Size, StoreUrl, units::show_duration};
use std::time::Duration;

/// The most that `x-expires` of a queue can hold: milliseconds in 31 bits.
const EXPIRES_MAX: Duration = Duration::from_millis(i32::MAX as u64);
/// The largest request body.
const BODY_MAX: Size = Size::of(1 << 30);

pub(super) fn check(config: &Config, check: &mut Check<'_>) {
    let Config { server, broker, store, telemetry, .. } = config;
    for (key, duration) in [
        ("server.header_timeout", server.header_timeout),
        ("server.request_timeout", server.request_timeout),
        ("broker.publish_timeout", broker.publish_timeout),
        ("broker.result_expires", broker.result_expires),
        ("store.keep_results", store.keep_results),
        ("store.keep_records", store.keep_records),
        ("store.task_timeout", store.task_timeout),
        ("files.keep", config.files.keep),
        ("scaling.interval", config.scaling.interval),
    ] {
        positive(key, duration, check);
    }
    if server.max_body.bytes() == 0 || server.max_body > BODY_MAX {
        check.fault("server.max_body", format!("{}: expected a size from 1 B to {BODY_MAX}", server.max_body));
    }
    if let Some(admin) = server.admin_listen {
        if admin == server.listen && admin.port() != 0 {
            check.fault("server.admin_listen", format!("{admin}: expected another address than server.listen"));
        } else if !admin.ip().is_loopback() {
            let reason = "everybody who reaches it sees metrics and probes without a token: keep clients away from it";
            check.warn("server.admin_listen", reason);
        }
    }
    if server.max_concurrency == 0 {
        check.fault("server.max_concurrency", "0: expected at least 1");
    }
    if !matches!(broker.task_protocol, 1 | 2) {
        check.fault("broker.task_protocol", format!("{}: expected 2, or 1 for Celery 3.1", broker.task_protocol));
    }
    if broker.outbox_depth < 2 {
        let reason = format!("{}: expected at least 2 (one queue may hold half of it)", broker.outbox_depth);
        check.fault("broker.outbox_depth", reason);
    }
    if broker.result_backend == ResultBackend::Amqp && broker.result_expires > EXPIRES_MAX {
        let reason = format!("{}: expected at most 24d (x-expires of a queue)", show_duration(broker.result_expires));
        check.fault("broker.result_expires", reason);
    }
    if store.keep_records < store.keep_results {
        let reason = format!(
            "{}: expected at least store.keep_results ({})",
            show_duration(store.keep_records),
            show_duration(store.keep_results)
        );
        check.fault("store.keep_records", reason);
    }
    if matches!(store.url, StoreUrl::Postgres(_)) && broker.url == BrokerUrl::Embedded {
        let reason = "PostgreSQL is for several gateways, which need a broker that they share: set broker.url to \
                      amqp://…; the embedded broker works with sqlite:FILE";
        check.fault("store.url", reason);
    }
    if store.url == StoreUrl::SqliteMemory {
        check.warn("store.url", "tasks are kept in memory: all are forgotten when the process ends");
    }
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&telemetry.log) {
        let reason = format!("{:?}: expected a level or filter such as \"info,lapin=warn\": {error}", telemetry.log);
        check.fault("telemetry.log", reason);
    }
    files(&config.files, check);
    scaling(&config.scaling, check);
}

/// A duration that means nothing when it is zero.
pub(super) fn positive(key: &str, duration: Duration, check: &mut Check<'_>) {
    if duration.is_zero() {
        check.fault(key, "0s: expected a duration above zero");
    }
}

fn files(files: &Files, check: &mut Check<'_>) {
    if files.max_file.bytes() == 0 {
        check.fault("files.max_file", "0 B: expected a size above zero");
    }
    if files.max_total < files.max_file {
        let reason = format!("{}: expected at least files.max_file ({})", files.max_total, files.max_file);
        check.fault("files.max_total", reason);
    }
}

fn scaling(scaling: &Scaling, check: &mut Check<'_>) {
    if scaling.max_workers == 0 {
        check.fault("scaling.max_workers", "0: expected at least 1");
    }
    if scaling.backlog_threshold == 0 {
        check.fault("scaling.backlog_threshold", "0: expected at least 1");
    }
    if scaling.min_idle_workers > scaling.max_workers {
        let reason =
            format!("{}: expected at most scaling.max_workers ({})", scaling.min_idle_workers, scaling.max_workers);
        check.fault("scaling.min_idle_workers", reason);
    }
}
