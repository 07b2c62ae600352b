//! How many workers are needed, for people.

use serde_json::{Map, Value};

/// The facts of one service, times with their unit; of several, a line for each.
pub(crate) fn flat(needs: Map<String, Value>) -> Map<String, Value> {
    match needs.get("services") {
        Some(Value::Object(services)) => {
            services.iter().map(|(name, needs)| (name.clone(), line(needs).into())).collect()
        }
        _ => needs.into_iter().filter(|(key, _)| key != "service").map(with_unit).collect(),
    }
}

fn line(needs: &Value) -> String {
    let number = |key: &str| needs[key].as_u64().map_or_else(|| "?".to_owned(), |number| number.to_string());
    let reason = needs["reason"].as_str().unwrap_or_default();
    format!(
        "{} workers wanted, {} there; {} tasks wait, {} run. {reason}",
        number("desired_workers"),
        number("workers"),
        number("waiting"),
        number("running")
    )
}

/// What is a time says so, and what is a share is a percentage.
fn with_unit((key, value): (String, Value)) -> (String, Value) {
    let shown = match (&*key, value.as_f64()) {
        ("service_time_mean" | "service_time_p95" | "predicted_wait" | "drain_time" | "oldest_wait", Some(seconds)) => {
            format!("{seconds:.1} s").into()
        }
        ("arrival_rate", Some(rate)) => format!("{:.2} a minute", rate * 60.0).into(),
        ("utilisation", Some(share)) => format!("{:.0} %", share * 100.0).into(),
        _ => value,
    };
    (key, shown)
}

/// A key for people.
pub(crate) fn label(key: &str) -> &str {
    match key {
        "waiting" => "Waiting tasks",
        "running" => "Running tasks",
        "idle_slots" => "Idle slots",
        "workers" => "Workers now",
        "arrival_rate" => "Arrivals",
        "service_time_mean" => "Time for a task, mean",
        "service_time_p95" => "Time for a task, 95 % within",
        "utilisation" => "At work",
        "predicted_wait" => "Wait of a task that comes now",
        "drain_time" => "Until nothing waits",
        "oldest_wait" => "The oldest has waited",
        "desired_workers" => "Workers wanted",
        "reason" => "Why",
        other => other,
    }
}
