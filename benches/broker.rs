//! Durable submissions a second with RabbitMQ, beside what a bare publisher of the same shape gets out of it, in one run.
//!
//! ```text
//! tests/run --with-servers cargo bench --workspace --bench broker              # two seconds a measurement
//! tests/run --with-servers cargo bench --workspace --bench broker -- 1 9       # one second, nine rounds
//! ```
//!
//! Longer measurements bring the node of the test rig (1 GiB) to its memory alarm on a fast machine.
//!
//! It prints a table and says how it was made. Nothing here passes or fails.

#![allow(clippy::print_stdout)] // the table is what it is for

mod support {
    pub(crate) mod commits;
    #[allow(dead_code)] // shared with another bench
    pub(crate) mod load;
    pub(crate) mod raw;
    pub(crate) mod under_test;
}

use std::time::{Duration, Instant};
use support::{
    commits::Commits,
    load::{fixed, run},
    raw::Raw,
    under_test::{Fallible, UnderTest},
};

/// How many clients submit at once.
const CONNECTIONS: usize = 128;

const METHOD: &str = "\
The ceiling is lapin with two channels, one owner, 256 unconfirmed messages on each, mandatory, confirms on, and the
message that the gateway itself had sent; it makes, stores and answers nothing. The gateway's rate is that of submissions
over HTTP (a token and a form each, closed loop) that are on the disk *and* confirmed by the broker: from the first request
to the last confirm. Broker, gateway, store and clients share the machine. Each round measures one after the other, and
the ratio is that of the two in the same round; the middle one counts. A write is a task accepted or a confirm settled.";

fn main() -> Fallible<()> {
    // `cargo bench` says so; anybody else only wants to know that this compiles.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let duration = Duration::from_secs(numbers.next().unwrap_or(2));
    let rounds = numbers.next().unwrap_or(5) as usize;
    let broker = std::env::var("SG_TEST_AMQP_URL").map_err(|_| "needs RabbitMQ: see the command in this file")?;
    let commits = Commits::count();

    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut stores = vec![("SQLite", format!("sqlite:{}", directory.path().join("gateway.db").display()))];
    if let Ok(postgres) = std::env::var("SG_TEST_POSTGRES_URL") {
        stores.push(("PostgreSQL", postgres));
    }
    let cores = std::thread::available_parallelism()?;
    println!("\n{cores} cores, {CONNECTIONS} connections, {rounds} rounds of {} s\n", duration.as_secs());
    println!(
        "| store | ceiling /s | submitted, stored and confirmed /s | of the ceiling | commits /s | writes a commit |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, store) in stores {
        let mut found: Vec<Round> = Vec::new();
        for round in 0..rounds {
            found.push(Round::measure(&broker, &store, &format!("sg-bench.{name}.{round}"), duration, &commits)?);
        }
        found.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let ratios: Vec<_> = found.iter().map(|round| format!("{:.2}", round.ratio())).collect();
        let Round { ceiling, submitted, commits, writes } = &found[found.len() / 2];
        println!(
            "| {name} | {ceiling:.0} | {submitted:.0} | {:.2} ({}) | {commits:.0} | {writes:.1} |",
            submitted / ceiling,
            ratios.join(" ")
        );
    }
    println!("\n{METHOD}");
    Ok(())
}

/// What one round found.
struct Round {
    ceiling: f64,
    submitted: f64,
    commits: f64,
    writes: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.submitted / self.ceiling
    }

    /// A gateway with an empty queue, then the bare publisher with the same.
    fn measure(broker: &str, store: &str, queue: &str, duration: Duration, commits: &Commits) -> Fallible<Self> {
        let toml = format!("[services.stub]\nqueue = \"{queue}\"\n");
        let replies = format!("{queue}.replies");
        // What is accepted faster than it is sent must not be refused: the time until all is sent counts.
        let depth = ("broker.outbox_depth", "1000000");
        let settings = [("broker.url", broker), ("store.url", store), ("broker.reply_queue", &replies), depth];
        let under_test = UnderTest::start(&toml, &settings)?;
        let raw = Raw::connect(broker, queue)?;
        // The store may remember earlier rounds.
        let before = under_test.accepted()?;
        // Warm, and a message to copy.
        run(under_test.address, CONNECTIONS, Duration::from_millis(500), fixed(under_test.annotate.clone()))?;
        let warm = under_test.accepted()?;
        raw.wait_for(warm - before)?;
        let message = raw.take()?;
        raw.publish(&message, Duration::from_millis(500))?;
        raw.purge()?;

        let counted = commits.now();
        let begun = Instant::now();
        let report = run(under_test.address, CONNECTIONS, duration, fixed(under_test.annotate.clone()))?;
        if let Some(error) = report.first_error {
            return Err(format!("{} requests failed, the first by {error}", report.errors).into());
        }
        let all = under_test.accepted()? - warm;
        raw.wait_for(all)?;
        let taken = begun.elapsed().as_secs_f64();
        let after = commits.now();
        raw.purge()?;
        let ceiling = raw.publish(&message, duration)?;
        under_test.stop()?;
        raw.delete(&[queue, &replies])?;
        let (number, writes) = ((after.commits - counted.commits) as f64, (after.writes - counted.writes) as f64);
        Ok(Self { ceiling, submitted: all as f64 / taken, commits: number / taken, writes: writes / number.max(1.0) })
    }
}
