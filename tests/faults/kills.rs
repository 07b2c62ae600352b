//! `kill -9` of everything at random moments, under open-loop load. What is killed, how often and when comes from a seed,
//! which is printed; afterwards each accepted task is checked.
//!
//! The short form is a part of the tests. The long form (`tests/faults/long`) sets `SG_FAULTS_MINUTES`, the time for the
//! first arrangement; the second takes a quarter of it. `SG_FAULTS_SEED` repeats a seed.

use crate::{
    chance::Chance,
    load::Load,
    place::{LONG, SQLITE, Workshop, ready},
    postgres::Postgres,
    rabbit::Rabbit,
    support::{Gateway, pause},
    verdict::Verdict,
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// Arrivals a second.
const RATE: u32 = 12;

/// A store is never away for so many times half a minute, nor killed at so many starts in a row.
const TRIES: u32 = 20;
/// How long a worker may take to be ready.
const STARTS: Duration = Duration::from_secs(20);

/// How long the short form of one arrangement goes on.
const SHORT: Duration = Duration::from_secs(15);

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

fn seed() -> u64 {
    from_env("SG_FAULTS_SEED").unwrap_or_else(|| uuid::Uuid::now_v7().as_u128() as u64)
}

#[test]
fn nothing_is_lost_whoever_is_killed() {
    let minutes = from_env("SG_FAULTS_MINUTES").map(|minutes| Duration::from_secs(60 * minutes));
    run("SQLite, RabbitMQ, Celery", None, minutes.unwrap_or(SHORT));
}

#[test]
fn nothing_is_lost_whoever_is_killed_with_postgresql() {
    let minutes = from_env("SG_FAULTS_MINUTES").map(|minutes| Duration::from_secs(15 * minutes));
    run("PostgreSQL, RabbitMQ, Celery", Some(Postgres::own()), minutes.unwrap_or(SHORT));
}

/// When to stop, and how often something was killed.
struct Killing {
    over: AtomicBool,
    seed: u64,
    gateway: AtomicU64,
    broker: AtomicU64,
    worker: AtomicU64,
    store: AtomicU64,
}

impl Killing {
    /// A busy machine may let the whole time pass before anything is.
    fn has_killed(&self) -> bool {
        self.gateway.load(SeqCst) > 0 && self.broker.load(SeqCst) > 0
    }

    /// Waits for a random time; `false` if the end came meanwhile.
    fn wait(&self, chance: &mut Chance, low: u64, high: u64) -> bool {
        let next = Instant::now() + chance.between(low, high);
        while Instant::now() < next {
            if self.over.load(SeqCst) {
                return false;
            }
            pause(5);
        }
        !self.over.load(SeqCst)
    }
}

fn run(what: &str, store: Option<Postgres>, time: Duration) {
    let (broker, workshop) = (Rabbit::own(), Workshop::new());
    let url = store.as_ref().map_or(SQLITE.to_owned(), Postgres::url);
    let toml = workshop.configuration(broker.url(), &url) + "[telemetry]\nlog = \"warn,service_gateway::cli=info\"\n";
    let mut gateway = Gateway::start(&toml);
    ready(&gateway);
    let killing = Killing {
        over: AtomicBool::new(false),
        seed: seed(),
        gateway: AtomicU64::new(0),
        broker: AtomicU64::new(0),
        worker: AtomicU64::new(0),
        store: AtomicU64::new(0),
    };
    println!("\n{what}: seed {} (again: SG_FAULTS_SEED={0})", killing.seed);
    let load = Load::begin(gateway.url(), RATE);
    std::thread::scope(|scope| {
        scope.spawn(|| kill_gateways(&killing, &mut gateway, store.is_some()));
        scope.spawn(|| kill_brokers(&killing, &broker));
        scope.spawn(|| kill_workers(&killing, &workshop, broker.url()));
        if let Some(store) = &store {
            scope.spawn(|| kill_stores(&killing, store));
        }
        let _ends = EndsAll(&killing);
        let (begun, mut told) = (Instant::now(), Instant::now());
        while (begun.elapsed() < time || !killing.has_killed()) && !killing.over.load(SeqCst) {
            assert!(begun.elapsed() < time + LONG, "nothing was killed: {}", kills(&killing));
            pause(100);
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                println!("  {:.0} s: {} accepted, {}", begun.elapsed().as_secs_f64(), load.accepted(), kills(&killing));
            }
        }
        killing.over.store(true, SeqCst);
    });
    let told = load.end();
    let _worker = workshop.worker(broker.url());
    let patience = LONG + time / 4;
    let verdict = Verdict::of(&gateway, &workshop, told, patience);
    println!("{what}: seed {}\n  killed: {}\n{verdict}", killing.seed, kills(&killing));
    verdict.holds();
}

fn kills(killing: &Killing) -> String {
    let [gateway, broker, worker, store] =
        [&killing.gateway, &killing.broker, &killing.worker, &killing.store].map(|count| count.load(SeqCst));
    format!("gateway {gateway}, broker {broker}, worker {worker}, store {store} times")
}

/// Whoever panics ends the others' work too.
struct EndsAll<'a>(&'a Killing);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.over.store(true, SeqCst);
        }
    }
}

fn kill_gateways(killing: &Killing, gateway: &mut Gateway, store_is_killed: bool) {
    let _ends = EndsAll(killing);
    let mut chance = Chance::new(killing.seed, 1);
    while killing.wait(&mut chance, 100, 2_500) {
        gateway.kill9();
        killing.gateway.fetch_add(1, SeqCst);
        gateway.forget_log();
        // It waits for a store that is killed for half a minute, gives up one that is killed once more meanwhile, and
        // leaves the rest to whoever starts it again.
        let mut tries = 0;
        while let Err(why) = gateway.try_restart() {
            tries += 1;
            let away = ["PostgreSQL cannot be reached", "the store failed", "the store did not answer in time"];
            let is_away = store_is_killed && away.iter().any(|words| why.contains(words));
            assert!(tries < TRIES && is_away, "try {tries}: {why}");
        }
    }
}

fn kill_brokers(killing: &Killing, broker: &Rabbit) {
    let _ends = EndsAll(killing);
    let mut chance = Chance::new(killing.seed, 2);
    while killing.wait(&mut chance, 2_000, 9_000) {
        broker.kill9();
        killing.broker.fetch_add(1, SeqCst);
        killing.wait(&mut chance, 0, 2_000);
        broker.start();
    }
}

/// In the end none is left: the check begins with a new one.
fn kill_workers(killing: &Killing, workshop: &Workshop, broker: &str) {
    let _ends = EndsAll(killing);
    let mut chance = Chance::new(killing.seed, 3);
    while !killing.over.load(SeqCst) {
        let mut worker = workshop.begin(broker, &[]);
        // One whose broker is killed while it starts may end by itself, or wait for ever for the rest of an answer.
        let begun = Instant::now();
        while !worker.is_ready() && !worker.has_ended() && begun.elapsed() < STARTS && !killing.over.load(SeqCst) {
            pause(20);
        }
        if worker.is_ready() {
            killing.wait(&mut chance, 200, 6_000);
            killing.worker.fetch_add(1, SeqCst);
        }
        worker.kill9();
    }
}

fn kill_stores(killing: &Killing, store: &Postgres) {
    let _ends = EndsAll(killing);
    let mut chance = Chance::new(killing.seed, 4);
    while killing.wait(&mut chance, 1_000, 10_000) {
        store.kill9();
        killing.store.fetch_add(1, SeqCst);
        killing.wait(&mut chance, 0, 2_000);
        store.start();
    }
}
