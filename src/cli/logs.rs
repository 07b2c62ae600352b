//! What the program tells about itself, on standard error.

use gateway_config::{LogFormat, Telemetry};
use tracing_subscriber::EnvFilter;

/// Sets up logging for the process, once. `Err` says what is wrong with the filter.
pub(super) fn start(telemetry: &Telemetry) -> Result<(), String> {
    let filter = EnvFilter::try_new(&telemetry.log).map_err(|error| format!("telemetry.log: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match telemetry.log_format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber.with_ansi(false).with_target(false).try_init(),
    };
    started.map_err(|error| error.to_string())
}
