//! From metrics to OTLP's.

use crate::{
    exporter::{attribute, number},
    layer::nanoseconds,
};
use gateway_metrics::{Family, Labels, Points};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
        number_data_point::Value,
    },
};
use std::time::SystemTime;

/// Everything as it is now; counted since `start`.
pub(crate) fn metrics(families: Vec<Family>, start: SystemTime, now: SystemTime) -> Vec<Metric> {
    let times = (nanoseconds(start), nanoseconds(now));
    families.into_iter().map(|family| metric(family, times)).collect()
}

fn metric(family: Family, (start, now): (u64, u64)) -> Metric {
    let number = |(labels, value): (Labels, f64)| NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match family.points {
        Points::Counter(points) => Data::Sum(Sum {
            data_points: points.into_iter().map(number).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Points::Gauge(points) => Data::Gauge(Gauge { data_points: points.into_iter().map(number).collect() }),
        Points::Histogram(points) => Data::Histogram(Histogram {
            data_points: points
                .into_iter()
                .map(|(labels, distribution)| HistogramDataPoint {
                    attributes: attributes(labels),
                    start_time_unix_nano: start,
                    time_unix_nano: now,
                    count: distribution.count(),
                    sum: Some(distribution.sum),
                    bucket_counts: distribution.counts,
                    explicit_bounds: distribution.bounds,
                    ..HistogramDataPoint::default()
                })
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.to_owned(),
        description: family.help.to_owned(),
        unit: family.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    let told = |(name, value): (&str, Box<str>)| match value.parse() {
        // A number by OpenTelemetry's conventions for HTTP.
        Ok(status) if name == "http.response.status_code" => number(name, status),
        _ => attribute(name, value.into()),
    };
    labels.into_iter().map(told).collect()
}
