//! What the program tells about itself, on standard error.

use gateway_config::{LogFormat, Telemetry};
use tracing_subscriber::EnvFilter;

/// It logs returned messages with their bodies, which may hold credentials. We log what happened ourselves.
const QUIET: &[&str] = &["lapin"];

/// Sets up logging for the process, once; text is in colour if that is wanted, and `NO_COLOR` does not ask for none. `Err` says what is wrong with the filter.
pub(super) fn start(telemetry: &Telemetry, colour: bool) -> Result<(), String> {
    let colour = colour && std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty());
    let quiet = QUIET.iter().filter(|name| !telemetry.log.contains(*name)).map(|name| format!("{name}=off,"));
    let filter = quiet.chain([telemetry.log.clone()]).collect::<String>();
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("telemetry.log: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match telemetry.log_format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => subscriber.with_ansi(colour).with_target(false).try_init(),
    };
    started.map_err(|error| error.to_string())
}
