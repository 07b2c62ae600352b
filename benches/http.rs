//! Requests a second over HTTP: bare hyper, status, and durable submissions, in one run.
//!
//! ```text
//! cargo bench --bench http              # two seconds a measurement
//! cargo bench --bench http -- 10        # ten
//! ```
//!
//! It prints a table and says how it was made. Nothing here passes or fails.

#![allow(clippy::print_stdout)] // the table is what it is for

mod support {
    pub(crate) mod load;
    pub(crate) mod under_test;
}

use std::{
    fs::File,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use support::{
    load::{Report, bare, fixed, run},
    under_test::{Fallible, UnderTest},
};

/// How many clients ask at once.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 128];
/// Before each measurement.
const WARM_UP: Duration = Duration::from_millis(300);
/// Each cell is measured so often, in turn with the others; the best counts, because noise only takes away.
const ROUNDS: usize = 3;

const METHOD: &str = "\
Best of three rounds, in which the three servers take turns. Closed loop: each connection sends its next request when the answer is there. The clients (one thread), the server
(one thread a core) and the store's threads share the machine, so a rate is what is left for the server beside its
clients. `bare hyper` is hyper and nothing else in the same layout, with the same body as `status`. `annotate` is a
form with a URL and a token; each 200 stands for a row that is on the disk (SQLite, WAL, synchronous=FULL). Its tasks
have no worker and wait. p50 and p99 are of a server that is fully used.";

fn main() -> Fallible<()> {
    // `cargo bench` says so; anybody else only wants to know that this compiles.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let duration = Duration::from_secs(seconds);

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = format!("sqlite:{}", directory.path().join("gateway.db").display());
    let under_test = UnderTest::start("[services.stub]\n", &[("store.url", &store)])?;
    let status = under_test.status()?;
    let (bare_address, _stop) = bare(under_test.ask(&status)?.leak())?;
    let asked: [(SocketAddr, &[u8]); 3] =
        [(bare_address, &status), (under_test.address, &status), (under_test.address, &under_test.annotate)];

    let cores = std::thread::available_parallelism()?;
    let sync = fdatasync(directory.path())?;
    println!("\n{cores} cores, {seconds} s a measurement; to append and fdatasync 4 KiB takes {sync:?}\n");
    println!(
        "| connections | bare hyper /s | status /s | of bare | annotate /s | status p50, p99 | annotate p50, p99 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let before = Ticks::now()?;
    let mut accepted = 0;
    for connections in CONNECTIONS {
        let mut best: [Report; 3] = Default::default();
        for _ in 0..ROUNDS {
            for ((address, request), best) in asked.iter().zip(&mut best) {
                let report = measure(*address, connections, duration, request)?;
                if std::ptr::eq(*request, &*under_test.annotate) {
                    accepted += report.requests;
                }
                if report.per_second > best.per_second {
                    *best = report;
                }
            }
        }
        let [bare, status, annotate] = best;
        println!(
            "| {connections} | {:.0} | {:.0} | {:.2} | {:.0} | {} | {} |",
            bare.per_second,
            status.per_second,
            status.per_second / bare.per_second,
            annotate.per_second,
            latency(&status),
            latency(&annotate),
        );
    }
    let others = Ticks::now()?.others_since(&before);
    let (rows, size) = (under_test.accepted()?, size(directory.path())?);
    println!("\n{METHOD}\n\nMeanwhile other processes took {:.0} % of the machine.", others * 100.0);
    println!("In the store at the end: {rows} tasks, {:.0} MiB.", size as f64 / f64::from(1 << 20));
    if rows < accepted {
        return Err(format!("{accepted} tasks were accepted, and only {rows} are in the store").into());
    }
    under_test.stop()
}

/// One measurement, warmed up. An answer that is no success spoils it.
fn measure(address: SocketAddr, connections: usize, duration: Duration, request: &[u8]) -> Fallible<Report> {
    run(address, connections, WARM_UP, fixed(request.to_vec()))?;
    let report = run(address, connections, duration, fixed(request.to_vec()))?;
    match &report.first_error {
        Some(error) => Err(format!("{} requests failed, the first by {error}", report.errors).into()),
        None => Ok(report),
    }
}

fn latency(report: &Report) -> String {
    let show = |duration: Duration| format!("{:.2}", duration.as_secs_f64() * 1000.0);
    format!("{}, {} ms", show(report.p50), show(report.p99))
}

/// Processor time in ticks, as the system counts it: whoever else works on the machine takes from every cell.
struct Ticks {
    ours: u64,
    busy: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Fallible<Self> {
        let numbers = |text: &str| -> Vec<u64> { text.split_whitespace().filter_map(|it| it.parse().ok()).collect() };
        // /proc/stat: user nice system idle iowait irq softirq steal; /proc/self/stat: utime and stime are the 12th and
        // 13th after the name in parentheses (proc(5)).
        let stat = std::fs::read_to_string("/proc/stat")?;
        let machine = numbers(stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no cpu line")?);
        let own = std::fs::read_to_string("/proc/self/stat")?;
        let own: Vec<&str> = own.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let [user, system] = [11, 12].map(|at| own.get(at).and_then(|it| it.parse::<u64>().ok()).unwrap_or_default());
        let all: u64 = machine.iter().take(8).sum();
        let idle: u64 = machine.iter().skip(3).take(2).sum();
        Ok(Self { ours: user + system, busy: all - idle, all })
    }

    /// The share of the machine that was neither idle nor ours.
    fn others_since(&self, before: &Self) -> f64 {
        let theirs = (self.busy - before.busy).saturating_sub(self.ours - before.ours);
        theirs as f64 / (self.all - before.all).max(1) as f64
    }
}

/// How long the disk takes to keep 4 KiB: the middle of a hundred.
fn fdatasync(directory: &Path) -> Fallible<Duration> {
    let mut file = File::create(directory.join("fdatasync"))?;
    let mut taken = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    Ok(taken[taken.len() / 2])
}

/// Bytes on the disk.
fn size(directory: &Path) -> Fallible<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(directory)? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}
