//! What the program tells about itself, on standard error.

use super::export::Export;
use gateway_config::{LogFormat, Telemetry};
use std::io::{self, Write};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// What is never logged unless it is asked for by name. lapin logs returned messages with their bodies, which may hold
/// credentials: we log what happened ourselves. Our spans go to a collector; the lines say what they belong to.
const QUIET: &[&str] = &["lapin", gateway_contract::SPANS];

/// Sets up logs and traces for the process, once; `service` is what a collector knows it by, and text is in colour if that
/// is wanted (for development: then a line is not searched for what speaks to a terminal) and `NO_COLOR` does not ask for
/// none. `Err` says what is wrong with the filter, or with a variable of OpenTelemetry's.
pub(super) fn start(telemetry: &Telemetry, service: &str, colour: bool) -> Result<Export, String> {
    let colour = colour && std::env::var_os("NO_COLOR").is_none_or(|said| said.is_empty());
    let quiet = QUIET.iter().filter(|name| !telemetry.log.contains(*name)).map(|name| format!("{name}=off,"));
    let filter = quiet.chain([telemetry.log.clone()]).collect::<String>();
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("telemetry.log: {error}"))?;
    let (export, spans) = Export::start(telemetry, service)?;
    let lines = tracing_subscriber::fmt::layer();
    // As one type, whichever it is.
    let lines = match telemetry.log_format {
        LogFormat::Json => lines.json().flatten_event(true).with_writer(io::stderr).boxed(),
        LogFormat::Text if colour => lines.with_target(false).with_writer(io::stderr).boxed(),
        LogFormat::Text => lines.with_ansi(false).with_target(false).with_writer(OneLine).boxed(),
    };
    let started = tracing_subscriber::registry().with(spans).with(lines.with_filter(filter)).try_init();
    started.map_err(|error| error.to_string())?;
    Ok(export)
}

/// Standard error, one line an event whatever it says: a client's, a worker's or a server's words must not forge another
/// line or speak to the terminal.
struct OneLine;

/// One event's text; the formatter writes it whole.
struct Event;

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event
    }
}

impl Write for Event {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(&one_line(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The same with what is no plain text written as Rust does (`\n`, `\u{1b}`), but for the line's own end.
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            plain if !is_treacherous(plain) => line.push(plain),
            other => line.extend(other.escape_default()),
        }
    }
    line.push('\n');
    line.into_bytes()
}

/// Control characters, Unicode's line breaks and its changes of writing direction.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_plain_text() {
        let line = |text: &str| String::from_utf8(one_line(text.as_bytes())).unwrap();
        assert_eq!(line("INFO é plain\n"), "INFO é plain\n");
        assert_eq!(line("a\nINFO forged\r\n\u{1b}[2J\u{9b}31m\n"), "a\\nINFO forged\\r\\n\\u{1b}[2J\\u{9b}31m\n");
        assert_eq!(line("a\u{2028}b\u{202e}c\n\n"), "a\\u{2028}b\\u{202e}c\\n\n");
    }
}
