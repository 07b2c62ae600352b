//! Nothing is lost: the real [`Engine`](gateway_life::Engine) and the real [`apply`](gateway_life::apply), driven by a
//! model of everything around them, with one seed for all that chance decides. No real time, no threads, no I/O: the
//! same seed gives the same run.
//!
//! | file | what it plays |
//! |---|---|
//! | `world` | the clock and the heap of events |
//! | `scenario` | which troubles a seed knows, and the drivers that are wrong on purpose |
//! | `gateway` | the process: the driver of `src/engine`, killed and started again |
//! | `sweeper` | finds what is over its time |
//! | `store` | transactions; what is not committed is gone with the process |
//! | `publisher`, `broker`, `revoker` | RabbitMQ, and our connections to it |
//! | `workers` | Celery workers |
//! | `slots` | the embedded broker |
//! | `clients` | who submits, asks again, polls and cancels |
//! | `check` | what must hold |
//! | `words` | the report of a run that failed |
//!
//! The windows W0 to W15 are those of the design: between which two steps a fault falls. W14 (two gateways on one store)
//! needs a second process and is not played here.
//!
//! That the planted bugs are found, after how many seeds and by what: `cargo test -p gateway-life --test simulation found
//! -- --nocapture`. `SIMULATION_SEEDS=n` runs so many seeds; `SIMULATION_SEED=n` runs that one and tells what happened if it fails.

mod broker;
mod check;
mod clients;
mod gateway;
mod publisher;
mod revoker;
mod rng;
mod scenario;
mod slots;
mod store;
mod sweeper;
mod words;
mod workers;
mod world;

use scenario::{Fault, Plant, Scenario};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use world::World;

type Happened = BTreeMap<&'static str, u32>;

/// One run; `Err` is what went wrong.
fn run(scenario: Scenario, trace: bool) -> (Result<Happened, String>, String) {
    let mut world = World::new(scenario, trace);
    let panicked = catch_unwind(AssertUnwindSafe(|| world.run())).err();
    let lines = world.lines();
    match (panicked, world.check.violation) {
        (Some(panic), _) => {
            let why = panic.downcast_ref::<String>().cloned();
            (Err(why.unwrap_or_else(|| "the engine panicked".into())), lines)
        }
        (None, Some(violation)) => (Err(violation), lines),
        (None, None) => (Ok(world.happened), lines),
    }
}

/// Takes away what is not needed for the failure: troubles first, then tasks.
fn shrink(mut scenario: Scenario) -> Scenario {
    let fails = |scenario: &Scenario| run(scenario.clone(), false).0.is_err();
    for fault in Fault::ALL {
        let less = Scenario { faults: scenario.faults & !(1 << fault as u32), ..scenario.clone() };
        if less.faults != scenario.faults && fails(&less) {
            scenario = less;
        }
    }
    for tasks in 1..scenario.tasks {
        let less = Scenario { tasks, ..scenario.clone() };
        if fails(&less) {
            return less;
        }
    }
    scenario
}

fn report(scenario: Scenario) -> String {
    let seed = scenario.seed;
    let first = run(scenario.clone(), false).0.err().unwrap_or_default();
    let small = shrink(scenario);
    let (result, lines) = run(small.clone(), true);
    format!(
        "seed {seed}: {first}\n\nthe smallest run of this seed that fails: {} tasks, {:?}\n{lines}  {}\n\n\
         again: SIMULATION_SEED={seed} cargo test -p gateway-life --test simulation\n",
        small.tasks,
        small.troubles(),
        result.err().unwrap_or_default(),
    )
}

/// A run that panics is caught: no thread dies while it holds a lock.
const WHOLE: &str = "no thread panics";

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Runs the seeds on all cores; what happened in them all, or the first that failed.
fn nothing_is_lost(embedded: bool, seeds: u64) -> Happened {
    if let Some(seed) = from_env("SIMULATION_SEED") {
        let scenario = Scenario::new(seed, embedded, None);
        return match run(scenario.clone(), false).0 {
            Ok(happened) => happened,
            Err(_) => panic!("{}", report(scenario)),
        };
    }
    let seeds = from_env("SIMULATION_SEEDS").unwrap_or(seeds);
    let (next, stop, all) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Happened::new()));
    let failed = Mutex::new(None);
    let work = || {
        let mut mine = Happened::new();
        while !stop.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                break;
            }
            let scenario = Scenario::new(seed, embedded, None);
            match run(scenario.clone(), false).0 {
                Ok(happened) => happened.into_iter().for_each(|(what, n)| *mine.entry(what).or_default() += n),
                Err(_) => {
                    stop.store(true, Relaxed);
                    failed.lock().expect(WHOLE).get_or_insert(scenario);
                }
            }
        }
        let mut all = all.lock().expect(WHOLE);
        mine.into_iter().for_each(|(what, n)| *all.entry(what).or_default() += n);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(scenario) = failed.into_inner().expect(WHOLE) {
        panic!("{}", report(scenario));
    }
    all.into_inner().expect(WHOLE)
}

/// What did not happen was not tested.
fn all_happened(happened: &Happened, windows: &[&str]) {
    let whole = from_env("SIMULATION_SEED").is_none() && from_env("SIMULATION_SEEDS").is_none();
    let missing: Vec<_> = windows.iter().filter(|what| !happened.contains_key(**what)).collect();
    assert!(missing.is_empty() || !whole, "never happened: {missing:?}");
}

#[test]
fn nothing_is_lost_between_store_broker_and_workers() {
    let happened = nothing_is_lost(false, 6_000);
    println!("{happened:#?}");
    all_happened(
        &happened,
        &[
            "durable, and nobody was told",        // W0, W1
            "durable, and the process died",       // W1
            "answer lost",                         // W1
            "the same uuid for the same key",      // W1
            "died between two effects",            // W2, W11
            "restored",                            // W2
            "lost on the wire",                    // W3
            "confirm lost",                        // W4
            "died while a confirm was on its way", // W4
            "confirm after its deadline",          // W4
            "nack",                                // W4
            "published again",                     // W4
            "executed again",                      // W4, W10
            "unroutable",                          // W5
            "a confirm carried another's return",  // W5, W6
            "broker restarted",                    // W7
            "purged",                              // W8
            "dead letter",                         // W8
            "result lost with the broker",         // W9
            "worker died",                         // W9, W10
            "task redelivered",                    // W10
            "reply redelivered",                   // W11
            "a cancelled task was begun",          // W12
            "a running task was stopped",          // W12
            "disk full",                           // W13
            "may have been accepted",              // W13
            "stopped by an unknown commit",        // W13
            "written after a failed commit",       // W13
            "clock back",                          // W15
            "clock ahead",                         // W15
            "outbox full",
        ],
    );
}

#[test]
fn nothing_is_lost_when_the_store_is_the_queue() {
    let happened = nothing_is_lost(true, 4_000);
    println!("{happened:#?}");
    all_happened(
        &happened,
        &[
            "durable, and nobody was told",
            "durable, and the process died",
            "died between two effects",
            "orphan handed back",
            "executed again",
            "a running task was stopped",
            "disk full",
            "stopped by an unknown commit",
            "written after a failed commit",
            "clock back",
        ],
    );
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for (seed, embedded) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let scenario = Scenario::new(seed, embedded, None);
        assert!(run(scenario.clone(), true) == run(scenario, true), "seed {seed}");
    }
}

/// How many seeds a planted bug may take.
const BUDGET: u64 = 1_000;

/// After how many seeds a wrong driver is found, and by what.
fn found(plant: Plant, embedded: bool) -> String {
    for seed in 0..BUDGET {
        if let Err(violation) = run(Scenario::new(seed, embedded, Some(plant)), false).0 {
            return format!("{plant:?}: found after {} seeds: {violation}", seed + 1);
        }
    }
    panic!("{plant:?} was not found in {BUDGET} seeds");
}

/// One test for each wrong driver.
macro_rules! found {
    ($($test:ident: $plant:ident, $embedded:literal;)*) => {$(
        #[test]
        fn $test() {
            println!("{}", found(Plant::$plant, $embedded));
        }
    )*};
}

found! {
    an_ack_before_the_commit_is_found: AckFirst, false;
    an_end_of_a_slot_taken_for_kept_before_the_commit_is_found: AckFirst, true;
    a_publication_before_the_commit_is_found: PublishFirst, false;
    an_answer_before_the_commit_is_found: AnswerFirst, false;
    a_return_matched_by_order_is_found: ReturnByOrder, false;
    a_return_decided_too_soon_is_found: ReturnTooSoon, false;
    an_outbox_that_is_not_restored_is_found: NotRestored, false;
    a_lost_connection_taken_for_unsent_is_found: LostMeansUnsent, false;
    attempts_that_are_not_kept_are_found: AttemptsNotKept, false;
    attempts_of_slots_that_are_not_kept_are_found: AttemptsNotKept, true;
    a_revoke_that_is_told_once_is_found: RevokeOnce, false;
    a_change_without_a_seq_is_found: NoSeq, false;
    a_message_written_apart_from_its_task_is_found: OutboxApart, false;
    a_key_written_apart_from_its_task_is_found: KeyApart, false;
    an_unknown_commit_taken_for_rolled_back_is_found: UnknownMeansRolledBack, false;
    a_settled_message_that_stays_is_found: NotSettled, false;
    orphans_that_are_left_are_found: OrphansLeft, true;
    a_task_claimed_twice_is_found: ClaimedTwice, true;
    an_alarm_that_is_not_set_again_is_found: AlarmOnce, true;
}
