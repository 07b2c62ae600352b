//! Families as text: Prometheus' exposition format 0.0.4.

use crate::{Distribution, Family, Points, Recorder};
use std::fmt::{self, Write};

/// Appends families to `out`, as Prometheus' text format 0.0.4.
pub fn render(families: &[Family], out: &mut String) {
    for family in families {
        // Writing to a string never fails.
        let _ = write_family(out, family);
    }
}

impl Recorder {
    /// Appends everything counted so far to `out`: [`render`] of [`Recorder::families`].
    pub fn render(&self, out: &mut String) {
        render(&self.families(), out);
    }
}

fn write_family(out: &mut String, family: &Family) -> fmt::Result {
    let name = family.prometheus_name();
    let kind = match family.points {
        Points::Counter(_) => "counter",
        Points::Gauge(_) => "gauge",
        Points::Histogram(_) => "histogram",
    };
    writeln!(out, "# HELP {name} {}", family.help)?;
    writeln!(out, "# TYPE {name} {kind}")?;
    match &family.points {
        Points::Counter(points) | Points::Gauge(points) => {
            for (labels, value) in points {
                write_labels(out, &name, labels, None)?;
                writeln!(out, " {value}")?;
            }
        }
        Points::Histogram(points) => {
            for (labels, distribution) in points {
                write_distribution(out, &name, labels, distribution)?;
            }
        }
    }
    Ok(())
}

fn write_distribution(
    out: &mut String,
    name: &str,
    labels: &[(&str, Box<str>)],
    distribution: &Distribution,
) -> fmt::Result {
    let (bucket, mut below) = (format!("{name}_bucket"), 0);
    for (count, bound) in distribution.counts.iter().zip(&distribution.bounds) {
        below += count;
        write_labels(out, &bucket, labels, Some(&bound.to_string()))?;
        writeln!(out, " {below}")?;
    }
    let total = distribution.count();
    write_labels(out, &bucket, labels, Some("+Inf"))?;
    writeln!(out, " {total}")?;
    write_labels(out, &format!("{name}_sum"), labels, None)?;
    writeln!(out, " {}", distribution.sum)?;
    write_labels(out, &format!("{name}_count"), labels, None)?;
    writeln!(out, " {total}")
}

/// A name and its labels; dots in theirs become underscores. `le` is a bucket's bound.
fn write_labels(out: &mut String, name: &str, labels: &[(&str, Box<str>)], le: Option<&str>) -> fmt::Result {
    out.write_str(name)?;
    let all = labels.iter().map(|(label, value)| (*label, &**value)).chain(le.map(|le| ("le", le)));
    let mut separator = '{';
    for (label, value) in all {
        out.write_char(separator)?;
        for character in label.chars() {
            out.write_char(if character == '.' { '_' } else { character })?;
        }
        write!(out, "=\"{}\"", Escaped(value))?;
        separator = ',';
    }
    if separator == ',' { out.write_char('}') } else { Ok(()) }
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
