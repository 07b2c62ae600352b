//! Spans and metrics on their way to a collector.

use crate::Gateway;
use gateway_config::Telemetry;
use gateway_contract::{SPANS, Sampler};
use gateway_telemetry::{Exporter, Settings};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

/// The layer that sees spans, if they are sent.
pub(super) type Spans<S> = Option<Box<dyn Layer<S> + Send + Sync>>;

/// What is sent, if anything is.
pub(super) struct Export {
    sampler: Sampler,
    exporter: Option<Exporter>,
}

impl Export {
    /// As the configuration and OpenTelemetry's variables say; with the layer that sees the spans.
    pub(super) fn start<S>(telemetry: &Telemetry, service: &str) -> Result<(Self, Spans<S>), String>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let endpoint = telemetry.otlp_endpoint.as_ref().map(|url| url.as_str());
        let settings = Settings::read(endpoint, service, &|name| std::env::var(name).ok());
        let Some(settings) = settings.map_err(|fault| fault.to_string())? else {
            return Ok((Self { sampler: Sampler::bystander(), exporter: None }, None));
        };
        let sampler = settings.sampler;
        let (exporter, layer) = Exporter::start(settings).map_err(|error| format!("OpenTelemetry: {error}"))?;
        let ours = Targets::new().with_target(SPANS, LevelFilter::INFO);
        let layer = layer.map(|layer| layer.with_filter(ours).boxed());
        Ok((Self { sampler, exporter: Some(exporter) }, layer))
    }

    /// Which traces are recorded.
    pub(super) fn sampler(&self) -> Sampler {
        self.sampler
    }

    /// Sends this gateway's metrics, too.
    pub(super) fn watch(&self, gateway: &Gateway) {
        if let Some(exporter) = &self.exporter {
            let gateway = gateway.clone();
            exporter.watch(move || gateway.families());
        }
    }

    /// Sends what is left, within a few seconds.
    pub(super) fn stop(self) {
        if let Some(exporter) = self.exporter {
            exporter.stop();
        }
    }
}
