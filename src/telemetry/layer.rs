//! From `tracing`'s spans to OTLP's.

use gateway_contract::SPANS;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, Status, span::SpanKind, status::StatusCode},
};
use std::{
    fmt::{Debug, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

/// The W3C flag of a sampled trace, and OTLP's two about the parent: known whether remote, and remote.
const SAMPLED: u32 = 0x1;
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;
/// Longer texts are cut, in characters.
const LONGEST: usize = 1024;

/// Sends every span of the target [`SPANS`] that has ended to the exporter. One that finds no room is dropped and
/// counted; nobody waits.
#[derive(Debug, Clone)]
pub struct SpanLayer {
    ended: mpsc::Sender<Span>,
    dropped: Arc<AtomicU64>,
}

impl SpanLayer {
    pub(crate) fn new(ended: mpsc::Sender<Span>, dropped: Arc<AtomicU64>) -> Self {
        Self { ended, dropped }
    }
}

/// A span that is open.
#[derive(Debug, Default)]
struct Open {
    span: Span,
    root: bool,
    took: Duration,
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != SPANS {
            return;
        }
        let mut open = Open::default();
        open.span.name = attributes.metadata().name().to_owned();
        open.span.start_time_unix_nano = nanoseconds(SystemTime::now());
        attributes.record(&mut open);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let open = context.span(&id).and_then(|span| span.extensions_mut().remove::<Open>());
        if let Some(open) = open
            && self.ended.try_send(open.ended()).is_err()
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

impl Open {
    fn ended(self) -> Span {
        let Self { mut span, root, took } = self;
        span.end_time_unix_nano = nanoseconds(SystemTime::now());
        // Told after the fact.
        span.start_time_unix_nano -= u64::try_from(took.as_nanos()).unwrap_or_default().min(span.start_time_unix_nano);
        if root {
            span.parent_span_id = Vec::new();
        }
        let remote = span.kind == SpanKind::Server as i32 || span.kind == SpanKind::Consumer as i32;
        span.flags = SAMPLED | KNOWN | if remote && !root { REMOTE } else { 0 };
        span
    }

    fn status(&mut self) -> &mut Status {
        self.span.status.get_or_insert_default()
    }

    fn attribute(&mut self, field: &Field, value: Value) {
        // As it was last told.
        self.span.attributes.retain(|known| known.key != field.name());
        let value = Some(AnyValue { value: Some(value) });
        self.span.attributes.push(KeyValue { key: field.name().to_owned(), value, ..KeyValue::default() });
    }
}

impl Visit for Open {
    fn record_u128(&mut self, field: &Field, value: u128) {
        match field.name() {
            "trace.id" => self.span.trace_id = value.to_be_bytes().into(),
            _ => self.attribute(field, Value::StringValue(value.to_string())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "span.id" => self.span.span_id = value.to_be_bytes().into(),
            "parent.id" => self.span.parent_span_id = value.to_be_bytes().into(),
            "took_us" => self.took = Duration::from_micros(value),
            _ => self.attribute(field, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX))),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attribute(field, Value::IntValue(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.attribute(field, Value::DoubleValue(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "root" => self.root = value,
            _ => self.attribute(field, Value::BoolValue(value)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = cut(value);
        match field.name() {
            "otel.name" => self.span.name = text,
            "otel.kind" => self.span.kind = kind(value) as i32,
            "otel.status_code" if value == "ERROR" => self.status().code = StatusCode::Error as i32,
            "otel.status_description" => self.status().message = text,
            "trace.state" => self.span.trace_state = text,
            _ => self.attribute(field, Value::StringValue(text)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string never fails.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

fn kind(name: &str) -> SpanKind {
    match name {
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

pub(crate) fn nanoseconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
