//! What a worker costs: our worker beside a Celery prefork worker, both doing nothing, in one run.
//!
//! ```text
//! tests/run --with-servers cargo bench --workspace --bench worker              # 4,000 tasks each, 200 one by one
//! tests/run --with-servers cargo bench --workspace --bench worker -- 20000 1000
//! ```
//!
//! It prints a table and says how it was made. Nothing here passes or fails.

#![allow(clippy::print_stdout)] // the table is what it is for
#![allow(clippy::disallowed_methods)] // it sleeps where no runtime is

mod support {
    pub(crate) mod crew;
    #[allow(dead_code)] // shared with another bench
    pub(crate) mod program;
    pub(crate) mod results;
}

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use support::{
    crew::{Kind, SLOTS, Worker, be_the_handler},
    program::{Fallible, Program},
    results::Results,
};

/// Workers of Python take seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a task.
const LOOK: Duration = Duration::from_millis(1);

const METHOD: &str = "\
Each worker has two slots and finds the queue full of the message that the gateway had sent (RabbitMQ, classic queue, results
by rpc). The rate is that of the results SUCCESS from the first tenth to the last task, so that starting does not count. As
the README sets it: late acknowledgement, confirmed and persistent results, STARTED told, no prefetching; ours always works
like that. Memory is that of the idle worker with its children, shared pages counted once (Pss). Submit to STARTED: from the
first byte of the POST until a status says STARTED or more, asked each millisecond, one task at a time, nothing else going
on; the gateway stores durably (SQLite) in between. (As it comes, Celery tells no STARTED: there it is the result.) Broker,
gateway, worker and client share the machine.";

fn main() -> Fallible<()> {
    if be_the_handler()? {
        return Ok(());
    }
    // `cargo bench` says so; anybody else only wants to know that this compiles.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<usize>().ok());
    let (tasks, singles) = (numbers.next().unwrap_or(4000), numbers.next().unwrap_or(200));
    let broker = std::env::var("SG_TEST_AMQP_URL").map_err(|_| "needs RabbitMQ: see the command in this file")?;

    println!("\n{SLOTS} slots, {tasks} tasks, {singles} one by one\n");
    println!("| worker | tasks /s | beside Celery | idle, MiB | submit to STARTED p50 | p99 |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut first = None;
    for kind in Kind::ALL {
        let Found { rate, memory, p50, p99 } = measure(kind, &broker, tasks, singles)?;
        let beside = rate / *first.get_or_insert(rate);
        let show = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1000.0);
        println!("| {} | {rate:.0} | {beside:.1} | {memory:.0} | {} | {} |", kind.name(), show(p50), show(p99));
    }
    println!("\n{METHOD}");
    Ok(())
}

struct Found {
    rate: f64,
    memory: f64,
    p50: Duration,
    p99: Duration,
}

/// One worker, with a queue and a gateway of its own.
fn measure(kind: Kind, broker: &str, tasks: usize, singles: usize) -> Fallible<Found> {
    let queue = format!("sg-bench.worker.{}.{kind:?}", std::process::id());
    let toml = format!(
        "[auth]\nmode = \"none\"\n[broker]\nurl = \"{broker}\"\nreply_queue = \"{queue}.gateway\"\n\
         [services.noop]\nqueue = \"{queue}\"\nrequires_document = false\n\
         [services.noop.worker]\ncommand = [\"true\"]\nconcurrency = {SLOTS}\n"
    );
    let gateway = Program::start(&toml, &[])?;
    let results = Results::connect(broker, &queue)?;
    submit(&connect(&gateway)?)?;
    results.fill(tasks)?;

    let mut worker = kind.start(broker, &queue, gateway.directory())?;
    let rate = rate(&results, &mut worker, tasks)?;
    drop(worker);
    // A new one: idle from its beginning.
    let mut worker = kind.start(broker, &queue, gateway.directory())?;
    let stream = connect(&gateway)?;
    until_started(&stream, &mut worker)?;
    std::thread::sleep(Duration::from_secs(2));
    let memory = worker.memory()?;
    let mut taken = Vec::new();
    for _ in 0..singles {
        taken.push(until_started(&stream, &mut worker)?);
        // Idle again.
        std::thread::sleep(Duration::from_millis(20));
    }
    taken.sort_unstable();
    let at = |share: f64| taken[(taken.len() as f64 * share) as usize];
    let found = Found { rate, memory, p50: at(0.5), p99: at(0.99) };
    drop((worker, gateway));
    results.delete(&[&queue, &format!("{queue}.gateway")])?;
    Ok(found)
}

/// Results a second.
fn rate(results: &Results, worker: &mut Worker, tasks: usize) -> Fallible<f64> {
    let (deadline, skipped) = (Instant::now() + PATIENCE, tasks / 10);
    let (mut done, mut begun) = (0, None);
    while done < tasks {
        done += results.succeeded(Duration::from_millis(100))?;
        if done >= skipped && begun.is_none() {
            begun = Some((Instant::now(), done));
        }
        if Instant::now() > deadline || worker.has_ended()? {
            return Err(format!("{done} of {tasks} tasks were done; see the worker's log").into());
        }
    }
    let (begun, skipped) = begun.ok_or("no tasks")?;
    Ok((tasks - skipped) as f64 / begun.elapsed().as_secs_f64())
}

/// A connection that is kept.
fn connect(gateway: &Program) -> Fallible<TcpStream> {
    let stream = TcpStream::connect(gateway.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Submits a task; gives its uuid.
fn submit(stream: &TcpStream) -> Fallible<String> {
    let answer = exchange(stream, "POST /noop/process HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")?;
    Ok(answer["uuid"].as_str().ok_or_else(|| answer.to_string())?.to_owned())
}

/// Submits a task; gives how long it took until it was no longer PENDING.
fn until_started(stream: &TcpStream, worker: &mut Worker) -> Fallible<Duration> {
    let begun = Instant::now();
    let uuid = submit(stream)?;
    loop {
        let status = exchange(stream, &format!("GET /noop/status?uuid={uuid} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
        match status["status"].as_str() {
            Some("PENDING" | "RECEIVED") => {}
            Some("STARTED" | "PROGRESS" | "STORING" | "SUCCESS") => return Ok(begun.elapsed()),
            _ => return Err(status.to_string().into()),
        }
        if begun.elapsed() > PATIENCE || worker.has_ended()? {
            return Err("the task does not start; see the worker's log".into());
        }
        std::thread::sleep(LOOK);
    }
}

/// One request on a kept connection; the body of its answer.
fn exchange(mut stream: &TcpStream, request: &str) -> Fallible<serde_json::Value> {
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        answer.extend_from_slice(&part[..read]);
        let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or("no length")?;
        let length: usize = length.trim().parse()?;
        if answer.len() >= head + 4 + length {
            return Ok(serde_json::from_slice(&answer[head + 4..])?);
        }
    }
}
