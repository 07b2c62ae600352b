//! How much of everything a load takes, on paper, with the arithmetic shown.
//!
//! Every number has its ceiling: what one of a part can take, from what was measured (README, "How fast it is", and the
//! figures in [`Costs`]). A part is planned to be busy for `BUSY` of that. The part with the lowest ceiling that cannot
//! simply be doubled is the first bottleneck.

use crate::erlang::Work;
use std::fmt::Write as _;

/// How busy a part is planned to be.
const BUSY: f64 = 0.6;
/// The share of tasks that may wait longer than the target.
const LATE: f64 = 0.05;
const HOUR: f64 = 3600.0;

/// What a task costs. The defaults were measured on 2 cores where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Core-seconds of the gateway for a submission over HTTP, token and durable row included (12,658 a second).
    pub submit: f64,
    /// Core-seconds for a question about a task (51,792 a second).
    pub status: f64,
    /// Core-seconds of broker and publisher for one persistent, confirmed message (91 µs on the wire of one machine, both
    /// ends together).
    pub message: f64,
    /// Messages a second through one queue: one process of the broker, half of the above for its end.
    pub queue: f64,
    /// Rows a second that one SQLite writer makes durable, in batches of 16 to 64.
    pub sqlite: f64,
    /// Rows a second that PostgreSQL makes durable for one gateway's writer (assumed: as SQLite; its network waits are
    /// hidden by batches).
    pub postgres: f64,
    /// Core-seconds of PostgreSQL for a row (assumed).
    pub row: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            submit: 2.0 / 12_658.0,
            status: 2.0 / 51_792.0,
            message: 91e-6,
            queue: 1.0 / 45e-6,
            sqlite: 23_000.0,
            postgres: 23_000.0,
            row: 60e-6,
        }
    }
}

/// A load. Times in seconds, sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Tasks a second.
    pub rate: f64,
    /// How long a task takes.
    pub service: f64,
    /// The squared coefficient of variation of that.
    pub variation: f64,
    /// How long a task may wait.
    pub target: f64,
    /// Tasks that one worker runs at once.
    pub slots: u32,
    /// How often a client asks about its task.
    pub questions: f64,
    /// Reports of a worker for each task: the end, its begin, progress.
    pub reports: f64,
    /// A task's message and record.
    pub size: f64,
    /// A task's result.
    pub result: f64,
    /// How long results are kept.
    pub keep_results: f64,
    /// How long records are kept.
    pub keep_records: f64,
}

/// A part of the installation.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What.
    pub name: &'static str,
    /// How many, or how large.
    pub amount: String,
    /// How that is reckoned.
    pub arithmetic: String,
}

/// What it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Workers.
    pub workers: f64,
    /// The parts.
    pub parts: Vec<Part>,
    /// Ceilings in tasks a second, the lowest first: name, and why.
    pub ceilings: Vec<(f64, &'static str, String)>,
    /// Installations side by side (each with its own broker, database and gateways) that the load takes.
    pub installations: f64,
}

/// Plans an installation, or as many as it takes.
pub fn plan(demand: &Demand, costs: &Costs) -> Plan {
    let (rate, writes) = (demand.rate, 2.0 + demand.reports);
    let messages = 1.0 + demand.reports;
    let mut ceilings = vec![
        (
            costs.queue / 2.0,
            "the service's queue",
            format!("each task goes in and out once: {:.0} / 2 messages a second through one queue", costs.queue),
        ),
        (
            costs.queue / (2.0 * demand.reports.max(1.0)),
            "the reply queue",
            format!(
                "all results of an installation pass it, in order: {:.0} / (2 · {} reports)",
                costs.queue, demand.reports
            ),
        ),
        (
            costs.sqlite / writes,
            "SQLite",
            format!("{:.0} durable rows a second / {writes} writes a task", costs.sqlite),
        ),
        (
            4.0 * costs.postgres / writes,
            "PostgreSQL",
            format!(
                "four gateways' writers at {:.0} rows a second each (assumed) / {writes} writes a task",
                costs.postgres
            ),
        ),
    ];
    ceilings.sort_by(|one, other| one.0.total_cmp(&other.0));
    let one_process = ceilings.iter().map(|(ceiling, _, _)| *ceiling).fold(f64::MAX, f64::min) * BUSY;
    let shared = ceilings.iter().filter(|(_, name, _)| *name != "SQLite").map(|(ceiling, _, _)| *ceiling);
    let most = shared.fold(f64::MAX, f64::min) * BUSY;
    let installations = (rate / most).ceil().max(1.0);
    let (workers, part) = workers(demand);
    let mut parts = vec![part];
    parts.push(gateways(demand, costs, rate > one_process));
    parts.extend(broker(demand, costs, messages, workers));
    parts.extend(store(demand, costs, writes, rate > one_process));
    Plan { workers, parts, ceilings, installations }
}

fn workers(demand: &Demand) -> (f64, Part) {
    let load = demand.rate * demand.service;
    let work = Work { load, service: demand.service, variation: demand.variation };
    // Beyond ten thousand slots Erlang's formula and its square-root limit are the same to a worker in a thousand.
    let slots = if load < 10_000.0 { f64::from(work.slots(demand.target, LATE, 200_000)) } else { square_root(load) };
    let workers = (slots / f64::from(demand.slots.max(1))).ceil();
    let spare = slots - load;
    let arithmetic = format!(
        "load = {:.4} /s · {:.4} s = {load:.2} busy slots; with {spare:.2} to spare 95 % wait no longer than {:.0} s \
         (Erlang C); {slots:.0} slots / {} each; {:.0} worker-hours a day",
        demand.rate,
        demand.service,
        demand.target,
        demand.slots,
        workers * 24.0
    );
    (workers, Part { name: "workers", amount: format!("{workers:.0}"), arithmetic })
}

/// β = 1.4 keeps 95 % from waiting at all.
fn square_root(load: f64) -> f64 {
    (load + 1.4 * load.sqrt()).ceil()
}

fn gateways(demand: &Demand, costs: &Costs, several: bool) -> Part {
    let submit = demand.rate * costs.submit;
    let status = demand.rate * demand.questions * costs.status;
    let cores = submit + status;
    let gateways = (cores / (2.0 * BUSY)).ceil().max(if several { 2.0 } else { 1.0 });
    Part {
        name: "gateways",
        amount: format!("{gateways:.0} of 2 cores"),
        arithmetic: format!(
            "{:.4} /s · {:.0} µs a submission + {:.4} /s · {} questions · {:.0} µs = {cores:.3} cores; {:.0} % of 2 each",
            demand.rate,
            costs.submit * 1e6,
            demand.rate,
            demand.questions,
            costs.status * 1e6,
            BUSY * 100.0
        ),
    }
}

fn broker(demand: &Demand, costs: &Costs, messages: f64, workers: f64) -> [Part; 2] {
    let flow = demand.rate * messages;
    let cores = flow * costs.message;
    let backlog = demand.rate * HOUR * demand.size;
    [
        Part {
            name: "RabbitMQ",
            amount: format!("{:.0} cores", (cores / BUSY).ceil().max(1.0)),
            arithmetic: format!(
                "{:.4} /s · {messages} messages a task · {:.0} µs = {cores:.3} cores at {:.0} %; {workers:.0} workers' \
                 connections at about 0.1 MiB = {}",
                demand.rate,
                costs.message * 1e6,
                BUSY * 100.0,
                size(workers * 104_858.0)
            ),
        },
        Part {
            name: "its disk",
            amount: size(backlog),
            arithmetic: format!("all workers away for an hour: {:.4} /s · 3600 s · {}", demand.rate, size(demand.size)),
        },
    ]
}

fn store(demand: &Demand, costs: &Costs, writes: f64, several: bool) -> [Part; 2] {
    let rows = demand.rate * writes;
    let (name, amount, how) = if several {
        let cores = rows * costs.row;
        let amount = format!("{:.0} cores", (cores / BUSY).ceil().max(1.0));
        ("PostgreSQL", amount, format!("· {:.0} µs (assumed) = {cores:.3} cores", costs.row * 1e6))
    } else {
        let share = rows / costs.sqlite * 100.0;
        ("SQLite", "one file".to_owned(), format!("of {:.0} = {share:.2} % of its writer", costs.sqlite))
    };
    let (records, results) = (demand.rate * demand.keep_records, demand.rate * demand.keep_results);
    let disk = records * demand.size + results * demand.result;
    [
        Part {
            name,
            amount,
            arithmetic: format!("{:.4} /s · {writes} writes a task = {rows:.2} rows a second {how}", demand.rate),
        },
        Part {
            name: "its disk",
            amount: size(disk),
            arithmetic: format!(
                "{records:.0} records · {} + {results:.0} results · {}",
                size(demand.size),
                size(demand.result)
            ),
        },
    ]
}

fn size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut amount, mut at) = (bytes, 0);
    while amount >= 1024.0 && at + 1 < units.len() {
        (amount, at) = (amount / 1024.0, at + 1);
    }
    format!("{amount:.1} {}", units[at])
}

impl Plan {
    /// As a text for people.
    pub fn text(&self, demand: &Demand) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        for Part { name, amount, arithmetic } in &self.parts {
            let _ = writeln!(text, "{name:<12} {amount:<16} {arithmetic}");
        }
        let _ = writeln!(text, "\nWhat one installation can take, in tasks a second:");
        for (ceiling, name, why) in &self.ceilings {
            let _ = writeln!(text, "{ceiling:>10.0}  {name:<20} {why}");
        }
        let first = self.ceilings.iter().find(|(_, name, _)| self.installations <= 1.0 || *name != "SQLite");
        if let Some((ceiling, name, _)) = first {
            let part = demand.rate / ceiling * 100.0;
            let _ = writeln!(text, "\nThe first bottleneck is {name}: this load is {part:.2} % of what it takes.");
        }
        if self.installations > 1.0 {
            let _ = writeln!(
                text,
                "So it takes {:.0} installations side by side (each with its own broker, database and gateways, {:.0} workers \
                 each), and clients that ask about a task where they submitted it.",
                self.installations,
                (self.workers / self.installations).ceil()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(rate: f64) -> Demand {
        Demand {
            rate,
            service: 60.0,
            variation: 1.0,
            target: 300.0,
            slots: 1,
            questions: 20.0,
            reports: 2.0,
            size: 2048.0,
            result: 4096.0,
            keep_results: 7200.0,
            keep_records: 30.0 * 86_400.0,
        }
    }

    #[test]
    fn a_small_load_takes_one_of_each() {
        let plan = plan(&demand(0.1), &Costs::default());
        assert_eq!((plan.workers, plan.installations), (7.0, 1.0), "6 busy, and by Erlang one more");
        let names: Vec<_> = plan.parts.iter().map(|part| part.name).collect();
        assert_eq!(names, ["workers", "gateways", "RabbitMQ", "its disk", "SQLite", "its disk"]);
        assert!(plan.text(&demand(0.1)).contains("The first bottleneck is"), "{}", plan.text(&demand(0.1)));
    }

    #[test]
    fn a_large_load_takes_several_installations() {
        let huge = demand(100_000.0);
        let plan = plan(&huge, &Costs::default());
        assert!(plan.workers > 6_000_000.0 && plan.workers < 6_010_000.0, "{}", plan.workers);
        assert!(plan.installations > 10.0);
        assert!(plan.parts.iter().any(|part| part.name == "PostgreSQL"));
        assert!(plan.text(&huge).contains("installations side by side"));
    }

    #[test]
    fn both_formulas_meet() {
        let work = Work { load: 9_999.0, service: 60.0, variation: 1.0 };
        let erlang = f64::from(work.slots(0.0, LATE, 200_000));
        assert!((square_root(9_999.0) / erlang - 1.0).abs() < 0.01);
    }
}
