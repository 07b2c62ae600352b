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
}

use base64::Engine;
use gateway_auth::{Algorithm, Grant, sign};
use gateway_server::{Current, Server, Settings};
use service_gateway::{Gateway, Options, config};
use std::{
    error::Error,
    fs::File,
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use support::load::{Report, bare, fixed, run};

type Fallible<T> = Result<T, Box<dyn Error>>;

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
    let under_test = UnderTest::start(directory.path())?;
    let (bare_address, _stop) = bare(under_test.status_body()?.leak())?;
    let asked: [(SocketAddr, &[u8]); 3] = [
        (bare_address, &under_test.status),
        (under_test.address, &under_test.status),
        (under_test.address, &under_test.annotate),
    ];

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
    let (rows, size) = under_test.kept(directory.path())?;
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

/// A gateway with our own server in front, as `service-gateway serve` runs it.
struct UnderTest {
    runtime: tokio::runtime::Runtime,
    gateway: Gateway,
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<gateway_server::Summary>>,
    status: Vec<u8>,
    annotate: Vec<u8>,
}

impl UnderTest {
    fn start(directory: &Path) -> Fallible<Self> {
        let secret = [7; 64];
        let key = base64::engine::general_purpose::STANDARD.encode(secret);
        let store = format!("sqlite:{}", directory.join("gateway.db").display());
        let overrides = [("auth.key", key.as_str()), ("store.url", &store)];
        let loaded = config::parse(Some((Path::new("bench.toml"), "[services.stub]\n")), [], &overrides)?;

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let gateway = runtime.block_on(Gateway::start(&loaded.config, Options::default()))?;
        let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), ..Settings::default() })?;
        let address = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = runtime.spawn(server.serve(Current::new(gateway.service()), async { drop(stopped.await) }));

        let grant = Grant::new("service-gateway", SystemTime::now() + Duration::from_secs(3600)).with_subject("bench");
        let token = sign(&grant, &secret, Algorithm::HS512)?;
        let form = "doc_url=http%3A%2F%2Fexample.org%2Fa.wav&language=fr";
        let annotate = format!(
            "POST /stub/annotate HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
        .into_bytes();
        let mut under_test = Self { runtime, gateway, address, stop, serving, status: Vec::new(), annotate };
        let accepted: serde_json::Value = serde_json::from_slice(&under_test.ask(&under_test.annotate)?)?;
        let uuid = accepted["uuid"].as_str().ok_or_else(|| accepted.to_string())?;
        under_test.status =
            format!("GET /stub/status?uuid={uuid} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n").into_bytes();
        Ok(under_test)
    }

    /// The body that a status has: bare hyper gives the same.
    fn status_body(&self) -> Fallible<Vec<u8>> {
        self.ask(&self.status)
    }

    /// One request, the body of its answer.
    fn ask(&self, request: &[u8]) -> Fallible<Vec<u8>> {
        use std::io::Read;
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let line = request.windows(2).position(|two| two == b"\r\n").ok_or("no request")? + 2;
        stream.write_all(&[&request[..line], b"Connection: close\r\n", &request[line..]].concat())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no answer")?;
        Ok(answer.split_off(head + 4))
    }

    /// Tasks that the gateway says it accepted, and bytes on the disk.
    fn kept(&self, directory: &Path) -> Fallible<(u64, u64)> {
        let stats = self.ask(b"GET /stub/stats HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")?;
        let stats: serde_json::Value = serde_json::from_slice(&stats)?;
        let rows = stats["invocations"].as_u64().ok_or_else(|| stats.to_string())?;
        let mut size = 0;
        for entry in std::fs::read_dir(directory)? {
            size += entry?.metadata()?.len();
        }
        Ok((rows, size))
    }

    fn stop(self) -> Fallible<()> {
        drop(self.stop);
        self.runtime.block_on(self.serving)??;
        self.runtime.block_on(self.gateway.stop());
        Ok(())
    }
}
