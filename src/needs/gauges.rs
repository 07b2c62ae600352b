//! The needs as gauges, for alerts and for autoscalers that read Prometheus.

use gateway_contract::Needs;
use gateway_metrics::{Family, Points};

type Gauge = (&'static str, &'static str, &'static str, fn(&Needs) -> Option<f64>);

const GAUGES: [Gauge; 8] = [
    ("service_gateway.tasks_waiting", "{task}", "Tasks that wait.", |needs| Some(needs.waiting as f64)),
    ("service_gateway.tasks_running", "{task}", "Tasks that workers have.", |needs| {
        needs.running.map(|running| running as f64)
    }),
    ("service_gateway.workers", "{worker}", "Workers that are there.", |needs| Some(needs.workers.into())),
    ("service_gateway.workers_desired", "{worker}", "Workers that there should be.", |needs| {
        Some(needs.desired_workers.into())
    }),
    ("service_gateway.arrival_rate", "{task}/s", "Accepted tasks a second, lately.", |needs| needs.arrival_rate),
    ("service_gateway.service_time", "s", "How long a task takes, on average.", |needs| needs.service_time_mean),
    ("service_gateway.predicted_wait", "s", "How long a task that comes now will wait.", |needs| needs.predicted_wait),
    ("service_gateway.oldest_wait", "s", "How long the oldest waiting task has waited.", |needs| {
        needs.oldest_wait.or((needs.waiting == 0).then_some(0.0))
    }),
];

/// A gauge for each fact that is known.
pub(super) fn families(needs: &[Needs]) -> Vec<Family> {
    let family = |(name, unit, help, value): Gauge| {
        let known = needs.iter().filter_map(|needs| Some((vec![("service", needs.service.clone())], value(needs)?)));
        Family { name, unit, help, points: Points::Gauge(known.collect()) }
    };
    GAUGES.map(family).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_left_out() {
        let needs = Needs { service: "a\"b".into(), waiting: 3, desired_workers: 2, ..Needs::default() };
        let mut text = String::new();
        gateway_metrics::render(&families(&[needs]), &mut text);
        assert!(text.contains("service_gateway_workers_desired{service=\"a\\\"b\"} 2\n"), "{text}");
        assert!(!text.contains("arrival_rate{"), "{text}");
        assert!(text.ends_with("_seconds gauge\n"), "nobody knows since when these three wait: {text}");
    }
}
