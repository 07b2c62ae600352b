//! The table as text: Prometheus' exposition format 0.0.4.

use crate::recorder::{BOUNDS, Cell, Recorder};
use std::{
    fmt::{self, Write},
    sync::atomic::Ordering::Relaxed,
};

const DURATION: &str = "http_server_request_duration_seconds";
const ACTIVE: &str = "http_server_active_requests";

impl Recorder {
    /// Appends everything counted so far to `out`, as Prometheus' text format 0.0.4. Combinations that have not been
    /// seen yet are left out.
    pub fn render(&self, out: &mut String) {
        // Writing to a string never fails.
        let _ = self.write(out);
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "# HELP {DURATION} Time from a request's arrival to the head of its answer.")?;
        writeln!(out, "# TYPE {DURATION} histogram")?;
        for (service, verb, outcome, cell) in self.cells() {
            let labels = format_args!(
                r#"service="{}",verb="{}",status_class="{}""#,
                Escaped(service),
                Escaped(verb),
                Escaped(outcome)
            );
            write_cell(out, labels, cell)?;
        }
        writeln!(out, "# HELP {ACTIVE} Requests that are being answered now.")?;
        writeln!(out, "# TYPE {ACTIVE} gauge")?;
        writeln!(out, "{ACTIVE} {}", self.active())
    }
}

/// A histogram, unless it is empty. Each bucket is read once and the count is their sum: they always agree.
fn write_cell(out: &mut String, labels: fmt::Arguments<'_>, cell: &Cell) -> fmt::Result {
    let counts = cell.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return Ok(());
    }
    let mut below = 0;
    for (count, (_, bound)) in counts.iter().zip(BOUNDS) {
        below += count;
        writeln!(out, r#"{DURATION}_bucket{{{labels},le="{bound}"}} {below}"#)?;
    }
    let sum = cell.sum.load(Relaxed);
    writeln!(out, r#"{DURATION}_bucket{{{labels},le="+Inf"}} {total}"#)?;
    writeln!(out, "{DURATION}_sum{{{labels}}} {}.{:09}", sum / 1_000_000_000, sum % 1_000_000_000)?;
    writeln!(out, "{DURATION}_count{{{labels}}} {total}")
}

/// A label's value, escaped as the format asks: backslash, quote and line feed.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
