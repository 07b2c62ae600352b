//! What became of each accepted task.

use crate::{
    load::Told,
    place::{LONG, Workshop},
    support::{Gateway, get, is_end, until},
};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::{Duration, Instant},
};

/// The checker's words; shown, it is the whole report.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Tasks whose client has a uuid.
    accepted: usize,
    /// Of these: unknown now, without an end, or with one that only the gateway presumes.
    lost: Vec<String>,
    /// Run more than once, and `attempts` says so.
    flagged: usize,
    /// Run more than once, and `attempts` says 1.
    unflagged: Vec<String>,
    /// Whatever else should not be: tasks that nobody was told of, ends that the worker did not send, answers that contradict.
    unexpected: Vec<String>,
    /// From acceptance to the end, sorted.
    terminal: Vec<Duration>,
    /// Clients asked again so often.
    again: u64,
}

impl Verdict {
    /// Follows each accepted task to its end, then compares with the record that the workers kept.
    pub(crate) fn of(gateway: &Gateway, workshop: &Workshop, told: Told, patience: Duration) -> Self {
        let mut verdict = Self { accepted: told.accepted.len(), unexpected: told.wrong, ..Self::default() };
        verdict.again = told.again;
        let accepted: BTreeSet<String> = told.accepted.into_values().collect();
        if accepted.len() != verdict.accepted {
            verdict.unexpected.push(format!("{} keys, {} tasks", verdict.accepted, accepted.len()));
        }
        // As long as some end, the others are waited for.
        let mut deadline = Instant::now() + patience;
        let mut ends = HashMap::new();
        for uuid in &accepted {
            let status = last(gateway, uuid, deadline);
            if is_end(&status) {
                deadline = Instant::now() + patience;
            }
            ends.insert(uuid.as_str(), status);
        }
        // A run that only the broker explains may go on after its task's end: it is counted when it is heard of. One
        // that begins only now is nobody's to have heard of.
        let begun = settled(gateway, workshop, &ends, deadline);
        let now: HashMap<&str, Value> = ends.keys().map(|uuid| (*uuid, last(gateway, uuid, Instant::now()))).collect();
        for (uuid, seen) in &ends {
            let now = &now[uuid];
            if is_end(seen) && (now["status"] != seen["status"] || now["result"] != seen["result"]) {
                verdict.unexpected.push(format!("an end changed: {seen} -> {now}"));
            }
            verdict.judge(uuid, now, begun.get(*uuid).copied().unwrap_or(0));
        }
        let strangers = begun.keys().filter(|uuid| !accepted.contains(*uuid));
        verdict.unexpected.extend(strangers.map(|uuid| format!("{uuid} was run, and no client was told of it")));
        verdict.terminal.sort_unstable();
        verdict
    }

    fn judge(&mut self, uuid: &str, status: &Value, runs: usize) {
        let state = status["status"].as_str().unwrap_or("unknown");
        match (state, runs) {
            ("SUCCESS", 0) => self.unexpected.push(format!("SUCCESS without a run: {status}")),
            ("SUCCESS", _) if status["result"] != uuid => self.unexpected.push(format!("not its result: {status}")),
            ("SUCCESS", _) => self.terminal.extend(taken(status)),
            ("FAILURE" | "REVOKED", _) => self.unexpected.push(format!("no worker sent this end: {status}")),
            _ => self.lost.push(format!("{uuid}: {status}, run {runs} times")),
        }
        let attempts = status["attempts"].as_u64().unwrap_or(0);
        match (runs, attempts) {
            (0 | 1, _) => {}
            (_, 2..) => self.flagged += 1,
            (_, _) => self.unflagged.push(format!("run {runs} times: {status}")),
        }
    }

    /// Tasks that were run more than once.
    pub(crate) fn duplicated(&self) -> usize {
        self.flagged + self.unflagged.len()
    }

    /// Holds it to what is promised.
    #[track_caller]
    pub(crate) fn holds(&self) {
        let Self { lost, unflagged, unexpected, .. } = self;
        let well = self.accepted > 0 && lost.is_empty() && unflagged.is_empty() && unexpected.is_empty();
        let some = |list: &[String]| list.iter().take(10).map(|line| format!("\n    {line}")).collect::<String>();
        assert!(
            well,
            "{self}\n  lost:{}\n  unflagged:{}\n  unexpected:{}",
            some(lost),
            some(unflagged),
            some(unexpected)
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            let last = self.terminal.len().saturating_sub(1);
            self.terminal.get((last as f64 * share) as usize).copied().unwrap_or_default().as_secs_f64()
        };
        writeln!(f, "  accepted {} (clients asked again {} times)", self.accepted, self.again)?;
        writeln!(f, "  lost {}", self.lost.len())?;
        let (flagged, unflagged) = (self.flagged, self.unflagged.len());
        writeln!(f, "  duplicated {} (flagged {flagged}, unflagged {unflagged})", flagged + unflagged)?;
        writeln!(f, "  unexpected {}", self.unexpected.len())?;
        write!(f, "  time to terminal: p50 {:.2} s, p99 {:.2} s, max {:.2} s", at(0.5), at(0.99), at(1.0))
    }
}

/// The task's last status; `null` if it is not known. An open task is asked for again, up to the deadline.
fn last(gateway: &Gateway, uuid: &str, deadline: Instant) -> Value {
    let url = format!("{}/record/status?uuid={uuid}&detail=1", gateway.url());
    until(deadline.saturating_duration_since(Instant::now()) + LONG, "the gateway answers", || {
        let answer = get(&url);
        match answer.status {
            200 if is_end(&answer.json()) || Instant::now() >= deadline => Some(answer.json()),
            200 | 503 => None,
            _ => Some(Value::Null),
        }
    })
}

/// Waits until each run that was begun is known to the gateway, or will not be; gives how often each task was.
fn settled(
    gateway: &Gateway,
    workshop: &Workshop,
    ends: &HashMap<&str, Value>,
    deadline: Instant,
) -> HashMap<String, usize> {
    let known = |uuid: &str, runs: usize| {
        let attempts = last(gateway, uuid, deadline)["attempts"].as_u64().unwrap_or(0);
        runs < 2 || attempts > 1 || !ends.contains_key(uuid)
    };
    let soon = Instant::now() + Duration::from_secs(60);
    until(LONG, "what ran again is heard of", || {
        let begun = workshop.begun();
        let all = begun.iter().all(|(uuid, runs)| *runs < 2 || known(uuid, *runs));
        (all || Instant::now() >= soon.min(deadline)).then_some(begun)
    })
}

fn taken(status: &Value) -> Option<Duration> {
    let at = |key: &str| status[key].as_str()?.parse::<jiff::Timestamp>().ok();
    (at("ended")? - at("submitted")?).try_into().ok()
}
