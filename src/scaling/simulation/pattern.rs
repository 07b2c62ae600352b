//! When tasks come, and how long they take.

use super::{Setting, random::Random};
use crate::Rules;

/// One task. Seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Task {
    /// When it comes.
    pub arrival: f64,
    /// How long it takes.
    pub service: f64,
}

/// A load, and where it falls.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Its name.
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    /// The tasks, by arrival.
    pub tasks: Vec<Task>,
    /// What the policy is told.
    pub setting: Setting,
}

const HOUR: f64 = 3600.0;
/// The mean of a task, in seconds, and half of the variations' squared coefficient where nothing else is said.
const MEAN: f64 = 60.0;

/// The patterns that we tune and test with.
pub fn patterns(seed: u64) -> Vec<Pattern> {
    let rules = Rules {
        target_wait: 300.0,
        start_time: 60.0,
        max_workers: 200,
        min_idle_workers: 1,
        spawn_ratio: 0.2,
        backlog_threshold: 3,
    };
    let setting = Setting { rules, interval: 30.0, slots: 1, seed };
    let slow = Setting { rules: Rules { start_time: 240.0, ..rules }, ..setting };
    let day = |at: f64| 2.0 + 9.0 * (1.0 - (std::f64::consts::TAU * at / (24.0 * HOUR)).cos());
    let burst = |at: f64| if at % (2.0 * HOUR) < 600.0 && at > HOUR { 30.0 } else { 3.0 };
    let made = |name: &str, about: &str, hours, busy: &dyn Fn(f64) -> f64, variation, setting: Setting| {
        let tasks = make(seed, hours * HOUR, busy, variation);
        Pattern { name: name.to_owned(), about: about.to_owned(), tasks, setting }
    };
    vec![
        made("steady", "8 slots' worth of tasks of a minute, at random", 24.0, &|_| 8.0, 1.0, setting),
        made("diurnal", "2 slots' worth at night, 20 by day", 24.0, &day, 1.0, setting),
        made("burst", "3 slots' worth, every two hours ten times as much for ten minutes", 24.0, &burst, 1.0, setting),
        made("heavy-tailed", "as steady, tasks of a minute on average, some of an hour", 24.0, &|_| 8.0, 8.0, setting),
        made("slow boots", "as diurnal, workers start within 4 of the 5 minutes", 24.0, &day, 1.0, slow),
        made("sparse", "a task every ten minutes", 24.0, &|_| 0.1, 1.0, setting),
    ]
}

/// Tasks at random, `busy(t)` slots' worth of them at time t, by thinning.
fn make(seed: u64, until: f64, busy: &dyn Fn(f64) -> f64, variation: f64) -> Vec<Task> {
    let (mut random, mut at, mut tasks) = (Random::new(seed), 0.0, Vec::new());
    let most = (0..=(until / 60.0) as u32).map(|minute| busy(f64::from(minute) * 60.0)).fold(0.0, f64::max) / MEAN;
    loop {
        at += random.exponential(1.0 / most);
        if at >= until {
            return tasks;
        }
        if random.unit() * most <= busy(at) / MEAN {
            let service = if variation == 1.0 { random.exponential(MEAN) } else { random.log_normal(MEAN, variation) };
            tasks.push(Task { arrival: at, service: service.clamp(0.1, HOUR) });
        }
    }
}

impl Pattern {
    /// A recorded load: a line for each task, arrival and time taken in seconds, separated by white space or a comma;
    /// empty lines, and those that begin with `#`, are left out.
    ///
    /// # Errors
    /// What is wrong with which line.
    pub fn recorded(name: &str, text: &str, setting: Setting) -> Result<Self, String> {
        let mut tasks = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let numbers: Vec<_> = line
                .split(|c: char| c == ',' || c.is_whitespace())
                .filter(|field| !field.is_empty())
                .map(str::parse::<f64>)
                .collect();
            match numbers[..] {
                [Ok(arrival), Ok(service)] if (0.0..1e9).contains(&arrival) && (0.0..1e7).contains(&service) => {
                    tasks.push(Task { arrival, service: service.max(0.001) });
                }
                _ => return Err(format!("line {number}: expected two numbers, arrival and duration in seconds")),
            }
        }
        if tasks.is_empty() {
            return Err("there is no task in it".to_owned());
        }
        tasks.sort_by(|one, other| one.arrival.total_cmp(&other.arrival));
        let first = tasks[0].arrival;
        tasks.iter_mut().for_each(|task| task.arrival -= first);
        Ok(Self { name: name.to_owned(), about: format!("{} recorded tasks", tasks.len()), tasks, setting })
    }
}
