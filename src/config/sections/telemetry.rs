//! `[telemetry]`

use crate::{fields::choice, schema::table, urls::HttpUrl};

choice! {
    /// `telemetry.log_format`
    pub enum LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

table! {
    /// `[telemetry]`: logs, traces, metrics.
    pub struct Telemetry {
        /// What is logged: a level, or a filter such as `info,lapin=warn`. Default `info`.
        pub log: String = "info".to_owned(),
        /// How it is logged. Default: text.
        pub log_format: LogFormat = LogFormat::Text,
        /// Where traces and metrics are sent (OTLP); `None` = what OTEL_EXPORTER_OTLP_ENDPOINT says, and nothing is sent
        /// where that is not set either.
        pub otlp_endpoint: Option<HttpUrl> = None,
        /// Is `GET /metrics` answered? Default: yes.
        pub metrics: bool = true,
    }
}
