//! When, how much at once, and what if nobody answers.

use crate::{
    SpanLayer,
    metrics::metrics,
    settings::{Destination, Settings},
    transport::{Cargo, Refused, Way},
};
use gateway_metrics::Family;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use rand::RngExt;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc as std_mpsc,
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// The conventions that attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
/// So often the same is sent, if the collector may take it later.
const TRIES: u32 = 3;
/// Before the second time; doubled before the third.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what is left may take at the end.
const LAST: Duration = Duration::from_secs(3);

type Source = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

/// Sends spans and metrics from a thread of its own. Nobody waits for it, but for [`Exporter::stop`].
pub struct Exporter {
    source: Arc<OnceLock<Source>>,
    dropped: Arc<AtomicU64>,
    stop: CancellationToken,
    ended: std_mpsc::Receiver<()>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Starts the thread; gives the layer for the process's subscriber, if spans are sent. A collector that is away is
    /// no error.
    ///
    /// # Errors
    /// A destination that can never be reached as it is written, or no thread.
    pub fn start(settings: Settings) -> Result<(Self, Option<SpanLayer>), String> {
        let dropped = Arc::new(AtomicU64::default());
        let (sender, spans) = mpsc::channel(settings.queue);
        let layer = settings.traces.is_some().then(|| SpanLayer::new(sender, dropped.clone()));
        let source = Arc::new(OnceLock::new());
        let stop = CancellationToken::new();
        let (end, ended) = std_mpsc::channel();
        let (begin, begun) = std_mpsc::channel();
        let work = Work { settings, dropped: dropped.clone(), source: source.clone(), stop: stop.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let run = move || {
            runtime.block_on(work.run(spans, |result| drop(begin.send(result))));
            runtime.shutdown_background();
            let _ = end.send(());
        };
        std::thread::Builder::new().name("telemetry".into()).spawn(run).map_err(|error| error.to_string())?;
        begun.recv().map_err(|_| "the thread for telemetry died at its start".to_owned())??;
        Ok((Self { source, dropped, stop, ended }, layer))
    }

    /// From now on the metrics of `source` are sent. The first one counts.
    pub fn watch(&self, source: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Spans that found no room, or that no collector took.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Sends what is left; takes a few seconds at most.
    pub fn stop(self) {
        self.stop.cancel();
        let _ = self.ended.recv_timeout(LAST + Duration::from_secs(1));
    }
}

struct Work {
    settings: Settings,
    dropped: Arc<AtomicU64>,
    source: Arc<OnceLock<Source>>,
    stop: CancellationToken,
}

impl Work {
    async fn run(self, spans: mpsc::Receiver<Span>, begun: impl FnOnce(Result<(), String>)) {
        let way = |destination: &Option<Destination>| destination.as_ref().map(Way::to).transpose();
        let ways = way(&self.settings.traces).and_then(|traces| Ok((traces, way(&self.settings.metrics)?)));
        match ways {
            Ok((traces, metrics)) => {
                begun(Ok(()));
                let end = async {
                    self.stop.cancelled().await;
                    sleep(LAST).await;
                };
                let work = async { tokio::join!(self.send_spans(traces, spans), self.send_metrics(metrics)) };
                tokio::select! {
                    _ = work => {}
                    () = end => {}
                }
            }
            Err(why) => begun(Err(why)),
        }
    }

    async fn send_spans(&self, way: Option<Way>, mut spans: mpsc::Receiver<Span>) {
        let Some(way) = way else { return };
        let (most, mut told) = (self.settings.batch, Told::new("spans"));
        let mut batch = Vec::with_capacity(most);
        loop {
            let stopping = self.stop.is_cancelled();
            if stopping {
                while batch.len() < most
                    && let Ok(span) = spans.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
            } else {
                self.gather(&mut spans, &mut batch).await;
            }
            if batch.is_empty() {
                continue;
            }
            let count = batch.len() as u64;
            let cargo = Cargo::Spans(self.request(std::mem::take(&mut batch)));
            if !self.send(&way, &cargo, &mut told).await {
                self.dropped.fetch_add(count, Relaxed);
            }
        }
    }

    /// Waits for spans: until there are many, or the first has waited long enough, or it is the end.
    async fn gather(&self, spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
        let most = self.settings.batch;
        tokio::select! {
            () = self.stop.cancelled() => return,
            _ = spans.recv_many(batch, most) => {}
        }
        let deadline = Instant::now() + self.settings.delay;
        while batch.len() < most {
            let room = most - batch.len();
            tokio::select! {
                () = self.stop.cancelled() => return,
                received = timeout_at(deadline, spans.recv_many(batch, room)) => match received {
                    Ok(count) if count > 0 => {}
                    _ => return,
                },
            }
        }
    }

    async fn send_metrics(&self, way: Option<Way>) {
        let Some(way) = way else { return };
        let (start, mut told) = (SystemTime::now(), Told::new("metrics"));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(self.settings.interval) => {}
            }
            if let Some(source) = self.source.get() {
                let cargo = Cargo::Metrics(self.metrics(source(), start));
                self.send(&way, &cargo, &mut told).await;
            }
            if self.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Sends it, again if it may be taken later; once only at the end.
    async fn send(&self, way: &Way, cargo: &Cargo, told: &mut Told) -> bool {
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            match way.send(cargo).await {
                Ok(()) => {
                    told.taken();
                    return true;
                }
                Err(refused) => {
                    told.refused(&refused);
                    if !refused.later || attempt == TRIES || self.stop.is_cancelled() {
                        return false;
                    }
                }
            }
            let pause_now = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            let _ = timeout(pause_now, self.stop.cancelled()).await;
            pause *= 2;
        }
        false
    }

    fn resource(&self) -> Resource {
        let attributes = self.settings.resource.iter().map(|(name, value)| attribute(name, value.clone())).collect();
        Resource { attributes, ..Resource::default() }
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA.to_owned() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(self.resource()), scope_spans, schema_url: SCHEMA.to_owned() }];
        ExportTraceServiceRequest { resource_spans }
    }

    fn metrics(&self, mut families: Vec<Family>, start: SystemTime) -> ExportMetricsServiceRequest {
        let help = "Spans that found no room, or that no collector took.";
        families.push(Family::count("service_gateway.spans.dropped", "{span}", help, self.dropped.load(Relaxed)));
        let metrics = metrics(families, start, SystemTime::now());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA.to_owned() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: Some(self.resource()), scope_metrics, schema_url: SCHEMA.to_owned() }];
        ExportMetricsServiceRequest { resource_metrics }
    }
}

fn scope() -> InstrumentationScope {
    let (name, version) = ("service-gateway".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

pub(crate) fn attribute(name: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

pub(crate) fn number(name: &str, value: i64) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::IntValue(value)) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

/// Tells once that a collector is away, and once that it is back.
struct Told {
    what: &'static str,
    away: bool,
}

impl Told {
    fn new(what: &'static str) -> Self {
        Self { what, away: false }
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.away) {
            tracing::info!(what = self.what, "the collector takes telemetry again");
        }
    }

    fn refused(&mut self, refused: &Refused) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(what = self.what, why = refused.why, "the collector takes no telemetry; this is told once");
        }
    }
}
