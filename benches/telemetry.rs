//! What traces and metrics cost, in one run: requests a second and processor time a request without and with them; and
//! what a gateway holds in memory, idle and with many tasks.
//!
//! ```text
//! cargo bench --bench telemetry                # two seconds a measurement, 100,000 tasks
//! cargo bench --bench telemetry -- 2 1000000   # and a million
//! ```
//!
//! It prints two tables and says how they were made. Nothing here passes or fails.

#![allow(clippy::print_stdout)] // the tables are what it is for

mod support {
    #[allow(dead_code)] // shared with another bench
    pub(crate) mod load;
    #[allow(dead_code)] // shared with another bench
    pub(crate) mod program;
}

use std::{
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use support::{
    load::{bare, fixed, run},
    program::{Fallible, Program},
};

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(300);
/// Each cell is measured so often, in turn with the others.
const ROUNDS: usize = 5;
/// Fifteen times as often as Prometheus and OTLP do by default.
const INTERVAL: Duration = Duration::from_secs(1);

const TOML: &str = "[auth]\nmode = \"none\"\n[services.stub]\n";

const METHOD: &str = "\
The middle of five rounds, in which the gateways take turns. Each is the program itself, a process with a store of its own
(SQLite, synchronous=FULL), no token, and tasks that wait. 64 connections in a closed loop on the same machine. `CPU` is the
processor time of the gateway's process for one request, as the system counts it; `of none` is the rate beside the first
row's. Spans and metrics go over HTTP to a server that throws them away. Counting itself is always on: `scraped` means that
somebody reads /metrics each second, `sent` that OTLP sends them each second.";

fn main() -> Fallible<()> {
    // `cargo bench` says so; anybody else only wants to know that this compiles.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let duration = Duration::from_secs(numbers.next().unwrap_or(2));
    let tasks = numbers.next().unwrap_or(100_000);

    let (collector, _stop) = bare(b"")?;
    let endpoint = format!("http://{collector}");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str());
    let metrics = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str());
    let some = [traces, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.01")];
    let modes: [(&str, &[(&str, &str)]); 5] = [
        ("none", &[]),
        ("metrics scraped", &[]),
        ("metrics sent", &[metrics, ("OTEL_METRIC_EXPORT_INTERVAL", "1000")]),
        ("1 % of all traces", &some),
        ("all traces", &[traces, ("OTEL_TRACES_SAMPLER", "always_on")]),
    ];
    let mut found = Vec::new();
    for (name, variables) in modes {
        found.push((name, UnderTest::start(variables)?, [Vec::new(), Vec::new()]));
    }
    for _ in 0..ROUNDS {
        for (name, gateway, cells) in &mut found {
            let scraped = *name == "metrics scraped";
            for (request, cells) in [&gateway.status, &gateway.annotate].into_iter().zip(cells) {
                cells.push(gateway.measure(request, duration, scraped)?);
            }
        }
    }
    println!(
        "\n| | `status` /s | of none | CPU | `annotate` /s | of none | CPU |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    let rows: Vec<_> = found.iter_mut().map(|(name, _, cells)| (*name, cells.each_mut().map(middle))).collect();
    for (name, cells) in &rows {
        let [status, annotate] = [0, 1].map(|at| {
            let Cell { rate, cost } = cells[at];
            format!("{rate:.0} | {:.2} | {:.1} µs", rate / rows[0].1[at].rate, cost * 1e6)
        });
        println!("| {name} | {status} | {annotate} |");
    }
    println!("\n{METHOD}\n");
    drop(found);
    memory(tasks)
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Requests a second.
    rate: f64,
    /// Seconds of processor time a request.
    cost: f64,
}

/// The middle rate and the middle cost.
fn middle(cells: &mut Vec<Cell>) -> Cell {
    let of = |what: fn(&Cell) -> f64, cells: &mut Vec<Cell>| {
        cells.sort_by(|a, b| what(a).total_cmp(&what(b)));
        what(&cells[cells.len() / 2])
    };
    Cell { rate: of(|cell| cell.rate, cells), cost: of(|cell| cell.cost, cells) }
}

/// Has a new gateway accept so many tasks and tells what that took.
fn memory(tasks: u64) -> Fallible<()> {
    let gateway = UnderTest::start(&[])?;
    println!("| | resident, MiB |\n|---|---:|\n| idle, one task | {:.0} |", gateway.program.resident()?);
    let (mut accepted, mut told) = (0, tasks / 10);
    let deadline = Instant::now() + Duration::from_secs(900);
    while accepted < tasks {
        if Instant::now() > deadline {
            return Err(format!("{accepted} of {tasks} tasks were accepted in time").into());
        }
        let report = run(gateway.program.address, CONNECTIONS, INTERVAL, fixed(gateway.annotate.clone()))?;
        if let Some(error) = report.first_error {
            return Err(format!("a task was not accepted: {error}").into());
        }
        accepted += report.requests;
        if accepted >= told {
            println!("| {accepted} tasks waiting | {:.0} |", gateway.program.resident()?);
            told = (told * 10).min(tasks.max(told + 1));
        }
    }
    Ok(())
}

/// A gateway, and what to ask of it.
struct UnderTest {
    program: Program,
    status: Vec<u8>,
    annotate: Vec<u8>,
}

impl UnderTest {
    fn start(variables: &[(&str, &str)]) -> Fallible<Self> {
        let program = Program::start(TOML, variables)?;
        let form = "doc_url=http%3A%2F%2Fexample.org%2Fa.wav&language=fr";
        let annotate = format!(
            "POST /stub/annotate HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .into_bytes();
        let accepted: serde_json::Value = serde_json::from_slice(&program.ask(&annotate)?)?;
        let uuid = accepted["uuid"].as_str().ok_or_else(|| accepted.to_string())?;
        let status = format!("GET /stub/status?uuid={uuid} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").into_bytes();
        Ok(Self { program, status, annotate })
    }

    /// An answer that is no success spoils it.
    fn measure(&self, request: &[u8], duration: Duration, scraped: bool) -> Fallible<Cell> {
        run(self.program.address, CONNECTIONS, WARM_UP, fixed(request.to_vec()))?;
        let before = self.program.taken()?;
        let (stop, stopped) = channel::<()>();
        let report = std::thread::scope(|scope| {
            scope.spawn(move || {
                while scraped && stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let _ = self.program.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                }
            });
            let report = run(self.program.address, CONNECTIONS, duration, fixed(request.to_vec()));
            drop(stop);
            report
        })?;
        let cost = (self.program.taken()? - before).as_secs_f64() / report.requests.max(1) as f64;
        match &report.first_error {
            Some(error) => Err(format!("{} requests failed, the first by {error}", report.errors).into()),
            None => Ok(Cell { rate: report.per_second, cost }),
        }
    }
}
