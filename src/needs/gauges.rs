//! The needs as gauges: Prometheus' text format 0.0.4, for alerts and for autoscalers that read Prometheus.

use gateway_contract::Needs;
use std::fmt::Write;

type Gauge = (&'static str, &'static str, fn(&Needs) -> Option<f64>);

const GAUGES: [Gauge; 8] = [
    ("tasks_waiting", "Tasks that wait.", |needs| Some(needs.waiting as f64)),
    ("tasks_running", "Tasks that workers have.", |needs| needs.running.map(|running| running as f64)),
    ("workers", "Workers that are there.", |needs| Some(needs.workers.into())),
    ("workers_desired", "Workers that there should be.", |needs| Some(needs.desired_workers.into())),
    ("arrival_rate", "Accepted tasks a second, lately.", |needs| needs.arrival_rate),
    ("service_time_seconds", "How long a task takes, on average.", |needs| needs.service_time_mean),
    ("predicted_wait_seconds", "How long a task that comes now will wait.", |needs| needs.predicted_wait),
    ("oldest_wait_seconds", "How long the oldest waiting task has waited.", |needs| {
        needs.oldest_wait.or((needs.waiting == 0).then_some(0.0))
    }),
];

/// Appends a gauge for each fact that is known.
pub(super) fn render(needs: &[Needs], out: &mut String) {
    for (name, help, value) in GAUGES {
        // Writing to a string never fails.
        let _ = writeln!(out, "# HELP service_gateway_{name} {help}\n# TYPE service_gateway_{name} gauge");
        for (service, value) in needs.iter().filter_map(|needs| Some((&needs.service, value(needs)?))) {
            let service = service.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = writeln!(out, "service_gateway_{name}{{service=\"{service}\"}} {value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out() {
        let needs = Needs { service: "a\"b".into(), waiting: 3, desired_workers: 2, ..Needs::default() };
        let mut text = String::new();
        render(&[needs], &mut text);
        assert!(text.contains("service_gateway_workers_desired{service=\"a\\\"b\"} 2\n"), "{text}");
        assert!(!text.contains("arrival_rate{"), "{text}");
        assert!(text.ends_with("_seconds gauge\n"), "nobody knows since when these three wait: {text}");
    }
}
