//! What is remembered of one service between two looks.

use crate::{
    broker::Queued,
    store::{Counts, OPEN},
};
use gateway_contract::Needs;
use gateway_life::Millis;
use gateway_scaling::{Arrivals, Load, Policy, Rules, Steady, Times};

/// What one look has found.
pub(super) struct Seen {
    pub(super) queued: Queued,
    pub(super) counts: Counts,
    /// Milliseconds since 1970.
    pub(super) wall: Millis,
}

#[derive(Default)]
pub(super) struct Watched {
    pub(super) arrivals: Arrivals,
    pub(super) times: Times,
    steady: Option<(f64, Steady)>,
    /// When workers that were asked for will be ready, in seconds of our clock, the first first.
    booting: Vec<f64>,
    wanted: u32,
}

impl Watched {
    /// Concludes, and gives the number of busy workers too. `at`: seconds of a clock that only goes forward.
    pub(super) fn look(
        &mut self,
        service: &str,
        at: f64,
        seen: &Seen,
        policy: Policy,
        rules: &Rules,
        keep: f64,
    ) -> (Needs, u32) {
        self.arrivals.observe(at, seen.counts.accepted);
        let load = self.load(at, seen);
        let advice = policy.advise(&load, rules);
        let steady = match self.steady.take() {
            Some((window, steady)) if window == keep => steady,
            _ => Steady::new(keep),
        };
        let (_, steady) = self.steady.insert((keep, steady));
        let present = load.workers.saturating_add(load.booting.len() as u32);
        let desired = steady.settle(at, advice.desired, present.min(rules.max_workers));
        if seen.queued.others {
            for _ in present..desired {
                self.booting.push(at + rules.start_time);
            }
        }
        self.wanted = desired;
        let reason = match desired > advice.desired {
            true => format!(
                "{}; {} would do now, and workers are taken away only when that has been so for a while",
                advice.reason, advice.desired
            ),
            false => advice.reason.to_string(),
        };
        (needs(service, seen, &load, desired, reason), load.busy())
    }

    fn load(&mut self, at: f64, seen: &Seen) -> Load {
        let Queued { messages, workers, slots, .. } = seen.queued;
        let waiting = messages + seen.counts.due;
        // Those that are there now need not be waited for, and those that did not come in time are not waited for.
        self.booting.retain(|ready| *ready > at);
        let missing = self.wanted.saturating_sub(workers) as usize;
        let surplus = self.booting.len().saturating_sub(missing);
        self.booting.drain(..surplus);
        let service = self.times.service();
        let capacity = u64::from(workers) * u64::from(slots);
        let running = match seen.counts.running {
            // Workers that do not tell when they begin: what is open and does not wait is with them.
            0 if service.is_none() && seen.counts.open < OPEN as u64 => {
                seen.counts.open.saturating_sub(waiting).min(capacity)
            }
            running => running,
        };
        Load {
            waiting,
            ages: self.arrivals.ages(waiting),
            running,
            workers,
            booting: self.booting.iter().map(|ready| ready - at).collect(),
            slots,
            arrival_rate: self.arrivals.rate(),
            service,
        }
    }
}

fn needs(service: &str, seen: &Seen, load: &Load, desired: u32, reason: String) -> Needs {
    let round = |number: f64| (number * 10_000.0).round() / 10_000.0;
    let oldest = match load.waiting {
        0 => None,
        _ => seen.counts.oldest.into_iter().chain(seen.counts.due_since).min(),
    };
    Needs {
        service: service.into(),
        waiting: load.waiting,
        running: Some(load.running),
        idle_slots: Some(load.idle_slots()),
        workers: load.workers,
        arrival_rate: load.arrival_rate.map(round),
        service_time_mean: load.service.map(|service| round(service.mean)),
        service_time_p95: load.service.map(|service| round(service.p95)),
        utilisation: load.utilisation().map(round),
        predicted_wait: load.predicted_wait().map(round),
        drain_time: load.drain_time().map(round),
        oldest_wait: oldest.map(|since| round((seen.wall - since).max(0) as f64 / 1000.0)),
        desired_workers: desired,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        target_wait: 300.0,
        start_time: 60.0,
        max_workers: 10,
        min_idle_workers: 1,
        spawn_ratio: 0.2,
        backlog_threshold: 3,
    };

    fn seen(messages: u64, workers: u32, counts: Counts) -> Seen {
        Seen { queued: Queued { messages, workers, slots: 1, others: true }, counts, wall: 100_000 }
    }

    #[test]
    fn what_waits_here_and_there_is_added_up() {
        let counts =
            Counts { accepted: 12, due: 2, due_since: Some(99_000), oldest: Some(90_000), ..Counts::default() };
        let (needs, busy) = Watched::default().look("s", 0.0, &seen(8, 0, counts), Policy::Load, &RULES, 60.0);
        assert_eq!((needs.waiting, needs.running, busy), (10, Some(0), 0));
        assert_eq!((needs.oldest_wait, needs.desired_workers), (Some(10.0), 2), "a fifth of ten");
        assert_eq!((needs.arrival_rate, needs.predicted_wait), (None, None), "nothing is known of rates yet");
        assert!(needs.reason.contains("not known yet"), "{}", needs.reason);
    }

    #[test]
    fn workers_that_were_asked_for_are_waited_for_as_long_as_they_take() {
        let mut watched = Watched::default();
        (0..5).for_each(|_| watched.times.observe(60.0));
        let mut look = |at: f64, waiting, workers| {
            let counts = Counts { accepted: 40, ..Counts::default() };
            let (needs, _) = watched.look("s", at, &seen(waiting, workers, counts), Policy::Load, &RULES, 60.0);
            (needs.desired_workers, watched.booting.len())
        };
        let (desired, booting) = look(0.0, 20, 1);
        assert_eq!(booting as u32, desired - 1);
        let (again, booting) = look(10.0, 20, 2);
        assert!(again >= desired && booting as u32 == again - 2, "one has come: {again} {booting}");
        // None came within the time that they take: they are asked for anew.
        let (late, booting) = look(80.0, 20, 2);
        assert_eq!(booting as u32, late - 2);
    }

    #[test]
    fn silent_workers_are_busy_with_what_does_not_wait() {
        let counts = Counts { accepted: 9, open: 9, ..Counts::default() };
        let (needs, busy) = Watched::default().look("s", 0.0, &seen(6, 2, counts), Policy::Load, &RULES, 60.0);
        assert_eq!((needs.running, needs.idle_slots, busy), (Some(2), Some(0), 2));
        assert_eq!(needs.utilisation, Some(1.0));
    }
}
