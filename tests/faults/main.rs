//! Faults made for real, on the whole program with a real broker, store and worker. `tests/run --test faults` runs them.
//!
//! Nothing in the product knows of this. A point in its life is met from outside: the network between gateway and broker
//! stops at a frame (`wire.rs`), the one between gateway and PostgreSQL loses what it should (`support/proxy.rs`), and
//! `strace` makes the N-th call of a thread fail or be its last (`inject.rs`).
//!
//! | file | what is held |
//! |---|---|
//! | `kills.rs` | everything is killed at random moments under open-loop load; `tests/faults/long` is the long form |
//! | `verdict.rs` | what became of each accepted task: accepted, lost, duplicated, unexpected, time to terminal |
//! | `load.rs` | the clients: arrivals at their times, each asks until it is answered |
//! | `windows/` | the table below |
//! | `network.rs` | a network that is slow, breaks, falls silent, loses confirms; a broker that blocks or is away for long |
//! | `disk.rs` | a full disk, and one that fails |
//! | `terminate.rs` | SIGTERM under load |
//! | `place.rs`, `arena.rs` | a gateway with all that it needs; one with a network on each side |
//! | `chance.rs` | chance from a seed |
//!
//! The points of the design, each with both stores unless it is one store's alone. A test below holds this table to the
//! code. `simulation` is `src/life/tests/simulation`, where the same points are met some thousand times in a second.
//!
//! | point | fault at | tests |
//! |---|---|---|
//! | W0 | before the commit | `faults/windows/accepting.rs` `before_the_commit_nothing_exists` |
//! | W1 | after the commit, the answer lost | `faults/windows/accepting.rs` `after_the_commit_the_same_key_is_the_same_task` |
//! | W2 | after the answer, before it is published | `faults/windows/accepting.rs` `after_the_answer_it_is_sent` |
//! | W3 | written to the socket, the broker never got it | `faults/windows/publishing.rs` `what_the_broker_never_got_is_sent_again` `a_message_cut_in_half_is_sent_again` |
//! | W4 | the broker has it, the confirm lost | `faults/windows/publishing.rs` `a_lost_confirm_is_a_second_attempt` `a_confirm_that_no_process_heard_is_a_second_attempt` `confirms_refused_are_further_attempts` |
//! | W5 | unroutable | `faults/windows/publishing.rs` `what_no_queue_takes_waits_for_one` |
//! | W6 | batched, reordered confirms | `faults/windows/publishing.rs` `reordered_confirms_settle_the_right_tasks` |
//! | W7 | the broker restarts | `faults/windows/waiting.rs` `what_waits_outlives_a_broker_that_is_killed` |
//! | W8 | purge, TTL, dead letters | `faults/windows/waiting.rs` `what_is_purged_ends_with_an_explanation` `a_dead_letter_ends_its_task` |
//! | W9 | a worker dies after an early ack | `faults/windows/hearing.rs` `a_worker_that_dies_after_an_early_ack_is_waited_for_no_longer_than_the_limit` |
//! | W10 | a worker is done, and dies before its ack | `faults/windows/hearing.rs` `a_worker_that_dies_between_its_result_and_its_ack_is_a_second_run` |
//! | W11 | the gateway dies between result and commit, or between commit and ack | `faults/windows/hearing.rs` `a_result_is_heard_again_when_the_gateway_died_before_its_commit` `a_result_is_heard_once_when_the_gateway_died_before_its_ack` |
//! | W12 | a cancel against the start, workers restart | `faults/windows/hearing.rs` `a_cancel_outlives_gateway_and_workers` |
//! | W13 | disk full, failed fsync | `faults/disk.rs` `a_full_disk_is_told_and_passes_sqlite` `a_full_disk_is_told_and_passes_postgres` `after_a_failed_fsync_the_process_ends_and_the_next_has_everything` `after_a_failed_fsync_the_process_ends_while_it_runs_a_program` |
//! | W14 | two gateways drain one row | `faults/windows/owning.rs` `a_second_gateway_on_the_file_waits_for_the_first_ones_end`; `several/paused.rs` `what_was_taken_over_meanwhile_is_not_sent_unnoticed` |
//! | W15 | the clock jumps | `faults/windows/time.rs` `a_clock_that_is_set_ends_and_delays_nothing` |

#![allow(clippy::unwrap_used)] // tests
#![allow(clippy::print_stdout)] // the checker's report is what these tests are for

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/postgres.rs"]
#[allow(dead_code)] // shared with other test programs
mod postgres;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

mod arena;
mod chance;
mod disk;
mod inject;
mod kills;
mod load;
mod network;
mod place;
mod terminate;
mod verdict;
mod windows;
mod wire;

/// Each point has its tests, they exist, and those of `windows/` that take a store run with both.
#[test]
fn the_table_is_right() {
    let rows = include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("//! | W"));
    let mut points = Vec::new();
    for row in rows {
        let (point, rest) = row.split_once(" | ").unwrap();
        let mut code = String::new();
        let mut tests = 0;
        for word in rest.split('`').skip(1).step_by(2) {
            if let Some(file) = word.strip_suffix(".rs") {
                let path = format!("{}/tests/{file}.rs", env!("CARGO_MANIFEST_DIR"));
                code = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("W{point}: {path}: {error}"));
                continue;
            }
            assert!(code.contains(&format!("fn {word}(")), "W{point}: no test {word}");
            let takes_a_store = code.contains(&format!("fn {word}(kind: Kind)"));
            let both =
                code.split_once("both!(").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(list, _)| list);
            assert!(!takes_a_store || both.contains(word), "W{point}: {word} does not run with both stores");
            tests += 1;
        }
        assert!(tests > 0, "W{point} has no test");
        points.push(point.to_owned());
    }
    let expected: Vec<_> = (0..16).map(|point| point.to_string()).collect();
    assert_eq!(points, expected);
}
