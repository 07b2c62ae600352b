//! `service-gateway simulate`: what the policies would have done.

mod plot;

use super::{exit, failed, print};
use gateway_scaling::{
    Policy, Rules,
    simulation::{Outcome, Pattern, Setting, optimum, patterns, run},
};
use std::{fmt::Write, fs, path::PathBuf, process::ExitCode, time::Duration};

/// Try the scaling policies against made or recorded load, in virtual time
///
/// For each load and policy: the share of tasks that began within the target, worker-hours, these compared with a
/// schedule made with foreknowledge, how often an hour the number of workers turned, and how many busy workers were
/// stopped. The policy `load` is the code that answers /needs.
#[derive(clap::Args)]
pub(super) struct Simulate {
    /// Draw arrivals, waiting tasks and workers of every policy as an SVG picture
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// A recorded load instead of the made ones: a line a task, its arrival and its duration in seconds
    #[arg(long, value_name = "FILE")]
    recorded: Option<PathBuf>,
    /// Only the made load of this name
    #[arg(long, value_name = "NAME", conflicts_with = "recorded")]
    pattern: Option<String>,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Of a recorded load: how long a task may wait
    #[arg(long, value_name = "TIME", value_parser = gateway_config::parse_duration, default_value = "5m")]
    target: Duration,
    /// Of a recorded load: how long a worker takes to start
    #[arg(long, value_name = "TIME", value_parser = gateway_config::parse_duration, default_value = "1m")]
    start_time: Duration,
    /// Of a recorded load: the most workers
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    max_workers: u32,
}

/// A load, and what each policy made of it.
struct Trial {
    pattern: Pattern,
    outcomes: Vec<(Policy, Outcome)>,
}

impl Simulate {
    pub(super) fn run(self) -> ExitCode {
        exit(self.simulate())
    }

    fn simulate(self) -> Result<(), ExitCode> {
        let mut table = format!(
            "{:<14} {:<9} {:>8} {:>8} {:>9} {:>8} {:>8} {:>7} {:>6}\n",
            "load", "policy", "in time", "longest", "worker-h", "optimum", "turns/h", "killed", "most"
        );
        let mut trials = Vec::new();
        for pattern in self.patterns()? {
            let least = optimum(&pattern.tasks, &pattern.setting);
            let outcomes: Vec<_> =
                Policy::ALL.into_iter().map(|policy| (policy, run(policy, &pattern.tasks, &pattern.setting))).collect();
            for (policy, outcome) in &outcomes {
                // Writing to a string never fails.
                let _ = writeln!(
                    table,
                    "{:<14} {:<9} {:>7.2}% {:>7.0}s {:>9.1} {:>7.2}x {:>8.2} {:>7} {:>6}",
                    pattern.name,
                    policy.name(),
                    outcome.in_time * 100.0,
                    outcome.longest,
                    outcome.worker_seconds / 3600.0,
                    outcome.worker_seconds / least.schedule,
                    outcome.turns,
                    outcome.killed,
                    outcome.most
                );
            }
            trials.push(Trial { pattern, outcomes });
        }
        print(&table)?;
        if let Some(file) = &self.plot {
            fs::write(file, plot::draw(&trials)).map_err(|error| failed(format!("{}: {error}", file.display())))?;
        }
        Ok(())
    }

    fn patterns(&self) -> Result<Vec<Pattern>, ExitCode> {
        let Some(file) = &self.recorded else {
            let mut made = patterns(self.seed);
            if let Some(name) = &self.pattern {
                let known: Vec<_> = made.iter().map(|pattern| pattern.name.clone()).collect();
                made.retain(|pattern| pattern.name == *name);
                if made.is_empty() {
                    return Err(failed(format!("no load is called {name:?}; there are: {}", known.join(", "))));
                }
            }
            return Ok(made);
        };
        let wrong = |why: &dyn std::fmt::Display| failed(format!("{}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let rules = Rules {
            target_wait: self.target.as_secs_f64(),
            start_time: self.start_time.as_secs_f64(),
            max_workers: self.max_workers,
            min_idle_workers: 1,
            spawn_ratio: 0.2,
            backlog_threshold: 3,
        };
        let setting = Setting { rules, interval: 30.0, slots: 1, seed: self.seed };
        Ok(vec![Pattern::recorded("recorded", &text, setting).map_err(|error| wrong(&error))?])
    }
}
