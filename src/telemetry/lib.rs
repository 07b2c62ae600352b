//! Sends spans and metrics to an OpenTelemetry collector (OTLP, over HTTP or gRPC).
//!
//! | concept | file |
//! |---|---|
//! | what the configuration and the variables of OpenTelemetry's specification say | [`settings`] |
//! | from `tracing`'s spans to OTLP's | [`SpanLayer`] |
//! | from metrics to OTLP's | `metrics` |
//! | one request to a collector | `transport` |
//! | when, how much at once, and what if nobody answers | [`Exporter`] |
//!
//! The spans carry their ids as fields (see `gateway_contract::span!`), so nothing but this crate knows of OpenTelemetry,
//! and no SDK makes ids of its own. A collector that is away costs memory up to a bound, and spans; nobody ever waits
//! for it but [`Exporter::stop`], for a few seconds.

mod exporter;
mod layer;
mod metrics;
pub mod settings;
mod transport;

pub use exporter::Exporter;
pub use layer::SpanLayer;
pub use settings::Settings;
