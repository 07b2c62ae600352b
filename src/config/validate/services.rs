//! `[services]`: routes, queues, errors, workers.

use super::{Check, numbers::positive};
use crate::{
    About, BrokerUrl, Config, ResultBackend, Service, Worker, reader::quote, schema::join, sections::WORKFLOW,
};
use std::collections::BTreeMap;

/// First path segments that are the gateway's own.
const RESERVED: [&str; 35] = [
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
    // the error pages
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
];
/// Second path segments of every service: the first ones of the service routed `.`.
const VERBS: [&str; 4] = ["annotate", "process", "status", "cancel"];
/// AMQP's short string: names of queues and keys of arguments.
const SHORT: usize = 255;
/// Services are numbered in 16 bits.
const SERVICES_MAX: usize = u16::MAX as usize;

pub(super) fn check(config: &Config, check: &mut Check<'_>) {
    name("broker.app", &config.broker.app, check);
    if !config.broker.reply_queue.is_empty() {
        queue_name("broker.reply_queue", &config.broker.reply_queue, check);
    }
    if config.services.is_empty() {
        check.warn("services", "there is no service: add a table [services.NAME]");
    }
    if config.services.len() > SERVICES_MAX {
        check.fault("services", format!("expected at most {SERVICES_MAX} services"));
    }
    let mut routes: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queues: BTreeMap<&str, (&str, &Service)> = BTreeMap::new();
    let rooted = config.services.values().any(|service| service.route == ".");
    for (table, service) in &config.services {
        let at = join("services", table);
        one(&at, table, service, config, check);
        let key = join(&at, "route");
        route(&key, table, &service.route, rooted, check);
        if let Some(other) = routes.insert(&service.route, table) {
            check.fault(&key, format!("{}: the route of {} already", quote(&service.route), join("services", other)));
        }
        let (other, first) = queues.entry(&service.queue).or_insert((table, service));
        if (first.queue_type, &first.queue_arguments) != (service.queue_type, &service.queue_arguments) {
            let reason = format!(
                "{}: shared with {}, which declares it with another queue_type or other queue_arguments",
                quote(&service.queue),
                join("services", other)
            );
            check.fault(&join(&at, "queue"), reason);
        }
        if service.queue == config.broker.reply_queue {
            check.fault(&join(&at, "queue"), format!("{}: is broker.reply_queue", quote(&service.queue)));
        }
    }
}

fn one(at: &str, table: &str, service: &Service, config: &Config, check: &mut Check<'_>) {
    if table.is_empty() || table.len() > SHORT || table.chars().any(char::is_control) {
        check.fault(at, format!("expected a table's name of 1 to {SHORT} bytes without control characters"));
    }
    name(&join(at, "task"), &service.task, check);
    if config.broker.app.len() + 1 + service.task.len() > SHORT {
        let reason = format!("{}: `<app>.<task>` is longer than {SHORT} bytes", quote(&service.task));
        check.fault(&join(at, "task"), reason);
    }
    queue_name(&join(at, "queue"), &service.queue, check);
    arguments(&join(at, "queue_arguments"), service, check);
    if !service.dead_letter_queue.is_empty() {
        let key = join(at, "dead_letter_queue");
        queue_name(&key, &service.dead_letter_queue, check);
        if service.dead_letter_queue == service.queue {
            check.fault(&key, format!("{}: expected another queue than the service's own", quote(&service.queue)));
        }
    }
    for (key, limit) in [("wait_limit", service.wait_limit), ("run_limit", service.run_limit)] {
        if limit.is_some_and(|limit| limit.is_zero()) {
            check.fault(&join(at, key), "0s: expected a duration above zero, or \"\" for no limit");
        }
    }
    about(&join(at, "about"), &service.about, check);
    errors(&join(at, "errors"), &service.errors, check);
    match &service.worker {
        Some(program) => {
            worker(&join(at, "worker"), table, program, check);
            if config.broker.url != BrokerUrl::Embedded && config.broker.result_backend != ResultBackend::Rpc {
                let reason = "`service-gateway worker` sends results by \"rpc\" alone and does not start with another \
                              broker.result_backend";
                check.warn(&join(at, "worker"), reason);
            }
        }
        None if config.broker.url == BrokerUrl::Embedded && check.sound("broker.url") => {
            check.warn(at, "no [worker]: with the embedded broker nobody else can do its tasks, they wait")
        }
        None => {}
    }
    scaling(&join(at, "scaling"), service, check);
}

fn route(key: &str, table: &str, route: &str, rooted: bool, check: &mut Check<'_>) {
    let quoted = quote(route);
    if route == "." {
        return;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if route.is_empty() || route == ".." || route.len() > SHORT || !route.bytes().all(plain) {
        check.fault(
            key,
            format!("{quoted}: expected one path segment of letters, digits and `-` `.` `_` `~`, or \".\" for none"),
        );
    } else if RESERVED.contains(&route) {
        check.fault(key, format!("{quoted}: a path of the gateway itself: choose another route"));
    } else if route == WORKFLOW && table != WORKFLOW {
        check.fault(key, format!("{quoted}: the workflow service's route: choose another"));
    } else if rooted && VERBS.contains(&route) {
        check.fault(key, format!("{quoted}: a verb of the service routed \".\": choose another route"));
    }
}

/// A part of a task's name.
fn name(key: &str, name: &str, check: &mut Check<'_>) {
    if name.is_empty() || name.len() > SHORT || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        check.fault(key, format!("{}: expected 1 to {SHORT} bytes without white space", quote(name)));
    }
}

fn queue_name(key: &str, name: &str, check: &mut Check<'_>) {
    if name.is_empty() || name.len() > SHORT || name.chars().any(char::is_control) {
        let reason =
            format!("{}: expected a queue's name of 1 to {SHORT} bytes without control characters", quote(name));
        check.fault(key, reason);
    } else if name.starts_with("amq.") {
        check.fault(key, format!("{}: names that begin with `amq.` are the broker's own", quote(name)));
    }
}

fn arguments(at: &str, service: &Service, check: &mut Check<'_>) {
    for name in service.queue_arguments.keys() {
        let key = join(at, name);
        if name == "x-queue-type" {
            check.fault(&key, "expected under queue_type");
        } else if name.is_empty() || name.len() > SHORT {
            check.fault(&key, format!("expected a name of 1 to {SHORT} bytes"));
        }
    }
}

/// What the CANARIE pages say; used for the platform too.
pub(super) fn about(at: &str, about: &About, check: &mut Check<'_>) {
    let time = &about.release_time;
    if !time.is_empty() && time.parse::<jiff::Timestamp>().is_err() {
        let reason = format!("{}: expected a time such as \"2026-01-01T00:00:00Z\" (RFC 3339)", quote(time));
        check.fault(&join(at, "release_time"), reason);
    }
}

fn errors(at: &str, errors: &BTreeMap<String, u16>, check: &mut Check<'_>) {
    for (class, code) in errors {
        let key = join(at, class);
        if class.is_empty() || class.contains(|c: char| c == '.' || c.is_whitespace() || c.is_control()) {
            check.fault(&key, "expected an exception's class name, without its module");
        }
        if *code < 100 {
            check.fault(&key, format!("{code}: expected a code from 100 to 65535"));
        }
    }
}

fn worker(at: &str, table: &str, worker: &Worker, check: &mut Check<'_>) {
    let key = join(at, "command");
    let chains = table == WORKFLOW && worker.command.is_empty();
    if !chains && worker.command.first().is_none_or(String::is_empty) {
        check.fault(&key, "expected a program and its arguments, such as [\"sha256sum\", \"{document}\"]");
    }
    if worker.command.iter().any(|argument| argument.contains('\0')) {
        check.fault(&key, "expected arguments without NUL characters");
    }
    if !(1..=1024).contains(&worker.concurrency) {
        check.fault(&join(at, "concurrency"), format!("{}: expected 1 to 1024", worker.concurrency));
    }
    if worker.retries > 100 {
        check.fault(&join(at, "retries"), format!("{}: expected at most 100", worker.retries));
    }
    if !(1..=1000).contains(&worker.losses) {
        check.fault(&join(at, "losses"), format!("{}: expected 1 to 1000", worker.losses));
    }
    positive(&join(at, "timeout"), worker.timeout, check);
    if worker.max_document.bytes() == 0 {
        check.fault(&join(at, "max_document"), "0: expected a size above zero");
    }
    if let Some(memory) = worker.memory.filter(|memory| memory.bytes() < 1 << 20) {
        check.fault(&join(at, "memory"), format!("{memory}: expected 1 MiB or more, or \"\" for no limit"));
    }
    if worker.cpu_time.is_some_and(|time| time.as_secs() == 0) {
        check.fault(&join(at, "cpu_time"), "expected 1 s or more, or \"\" for no limit");
    }
    if let Some(files) = worker.open_files.filter(|files| !(8..=1 << 20).contains(files)) {
        check.fault(&join(at, "open_files"), format!("{files}: expected 8 to 1048576, or \"\" for no limit"));
    }
}

fn scaling(at: &str, service: &Service, check: &mut Check<'_>) {
    let scaling = &service.scaling;
    if !scaling.spawn_ratio.is_finite() || scaling.spawn_ratio <= 0.0 {
        check.fault(&join(at, "spawn_ratio"), format!("{}: expected a number above zero", scaling.spawn_ratio));
    }
    if scaling.max_workers == 0 {
        check.fault(&join(at, "max_workers"), "0: expected at least 1");
    }
    positive(&join(at, "target_wait"), scaling.target_wait, check);
    if scaling.worker_slots == 0 {
        check.fault(&join(at, "worker_slots"), "0: expected at least 1");
    }
    let commands = [("spawn", &scaling.spawn), ("stop", &scaling.stop), ("list", &scaling.list)];
    let given = commands.iter().filter(|(_, command)| !command.is_empty()).count();
    for (key, command) in commands {
        let key = join(at, key);
        if command.is_empty() && given > 0 {
            check.fault(&key, "not set: spawn, stop and list belong together");
        }
        if command.first().is_some_and(String::is_empty) || command.iter().any(|argument| argument.contains('\0')) {
            check.fault(&key, "expected a program and its arguments, without NUL characters");
        }
    }
}
