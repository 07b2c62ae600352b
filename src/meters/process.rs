//! The process itself, as Prometheus' client libraries show it.

use gateway_metrics::{Family, Labels, Points};
use std::{sync::LazyLock, time::SystemTime};

/// When this was first asked for: the process's start, near enough for a counter's.
static START: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Clock ticks and pages of Linux, on all machines that we build for.
const TICKS: f64 = 100.0;

pub(super) fn families() -> Vec<Family> {
    let start = START.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let mut families = vec![
        Family {
            name: "service_gateway.build.info",
            unit: "1",
            help: "Always 1; the label says which version runs.",
            points: Points::Gauge(vec![(vec![("version", env!("CARGO_PKG_VERSION").into())], 1.0)]),
        },
        Family::gauge("process.start.time", "s", "When the process began to count, in seconds since 1970.", start),
    ];
    if let Some(resident) = resident() {
        let help = "Memory of the process that is in RAM.";
        families.push(Family::gauge("process.resident.memory", "By", help, resident));
    }
    if let Some(cpu) = cpu() {
        families.push(Family {
            name: "process.cpu",
            unit: "s",
            help: "Processor time that the process has used.",
            points: Points::Counter(vec![(Labels::new(), cpu)]),
        });
    }
    families
}

fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn cpu() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name in parentheses, utime and stime are the 12th and 13th (proc(5)).
    let mut numbers = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || numbers.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}
