//! The workers of one service: who is there, who is to be started, who is to go. Pure.

use serde::{Deserialize, Serialize};

/// After a start that failed the next waits so long, doubled each time up to the last. Milliseconds.
const FIRST_PAUSE: i64 = 5_000;
const LAST_PAUSE: i64 = 600_000;

/// A process: its number, and when it began, in ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) start: u64,
}

/// A worker that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// When, in milliseconds since 1970.
    pub(crate) since: i64,
    /// It was seen at work: it consumes.
    pub(crate) reported: bool,
    /// Since when it is told to finish and end.
    pub(crate) stopping: Option<i64>,
    /// Where it runs here.
    pub(crate) process: Option<Process>,
}

/// The workers of a service that we have started, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crew {
    pub(crate) members: Vec<Member>,
    /// Starts in a row that came to nothing.
    #[serde(default)]
    failures: u32,
    /// Nobody is started before.
    #[serde(default)]
    not_before: i64,
}

/// What the gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// How many workers there should be.
    pub(crate) desired: u32,
    /// How many consume.
    pub(crate) workers: u32,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Within which a worker that is started is there.
    pub(crate) start: i64,
    /// Within which it has to consume.
    pub(crate) report: i64,
}

/// What is never exceeded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Workers, those included that finish what they do.
    pub(crate) most: u32,
    pub(crate) times: Times,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    /// Whom, and why.
    Stop(String, &'static str),
}

impl Crew {
    /// A worker is about to be started.
    pub(crate) fn hire(&mut self, name: &str, now: i64) {
        self.members.push(Member { name: name.to_owned(), since: now, reported: false, stopping: None, process: None });
    }

    /// Where a worker runs.
    pub(crate) fn is_process(&mut self, name: &str, process: Option<Process>) {
        self.members.iter_mut().filter(|member| member.name == name).for_each(|member| member.process = process);
    }

    /// A start came to nothing.
    pub(crate) fn failed(&mut self, name: &str, now: i64) {
        self.members.retain(|member| member.name != name);
        self.missed(now);
    }

    pub(crate) fn stopping(&mut self, name: &str, now: i64) {
        for member in self.members.iter_mut().filter(|member| member.name == name) {
            member.stopping = Some(now);
        }
    }

    /// All that are there, those included that finish what they do.
    pub(crate) fn present(&self) -> u32 {
        self.members.len() as u32
    }

    fn missed(&mut self, now: i64) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(20)).min(LAST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause;
    }

    /// These live. Those of ours that do not are forgotten, and those that nobody remembers but bear our name are ours.
    pub(crate) fn found(&mut self, alive: &[String], prefix: &str, now: i64, limits: &Limits) {
        let is_alive = |member: &Member| alive.contains(&member.name);
        // One that was started just now may not be listed yet.
        let young = |member: &Member| member.process.is_none() && now - member.since < limits.times.start;
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.members).into_iter().partition(|member| is_alive(member) || young(member));
        self.members = kept;
        for member in gone {
            match (member.stopping, member.reported) {
                (Some(_), _) => tracing::info!(worker = member.name, "a worker has ended, as it was told"),
                (None, true) => tracing::warn!(worker = member.name, "a worker has ended by itself"),
                (None, false) => {
                    tracing::warn!(worker = member.name, "a worker ended before it had begun");
                    self.missed(now);
                }
            }
        }
        for name in alive.iter().filter(|name| super::is_of(name, prefix)) {
            if !self.members.iter().any(|member| member.name == *name) {
                tracing::info!(worker = name, "a worker of ours that was forgotten is ours again");
                self.hire(name, now);
            }
        }
    }

    /// What is to be done now.
    pub(crate) fn plan(&mut self, need: Need, now: i64, limits: &Limits) -> Vec<Action> {
        self.mark(need.workers);
        let staying = || self.members.iter().filter(|member| member.stopping.is_none());
        let mut actions = Vec::new();
        let late = |member: &&Member| !member.reported && now - member.since > limits.times.report;
        let lost: Vec<_> = staying().filter(late).map(|member| member.name.clone()).collect();
        let reported = staying().filter(|member| member.reported).count() as u32;
        // Somebody else's workers do some of it.
        let others = need.workers.saturating_sub(reported);
        let target = need.desired.saturating_sub(others).min(limits.most);
        let count = staying().count() as u32 - lost.len() as u32;
        if count < target && now >= self.not_before && lost.is_empty() {
            let room = limits.most.saturating_sub(self.present());
            actions.extend((0..(target - count).min(room)).map(|_| Action::Start));
        }
        if count > target {
            // Who has not begun yet first, then the youngest.
            let mut order: Vec<_> = staying().filter(|member| !lost.contains(&member.name)).collect();
            order.sort_by_key(|member| (member.reported, std::cmp::Reverse(member.since)));
            let surplus = order.into_iter().take((count - target) as usize);
            actions.extend(surplus.map(|member| Action::Stop(member.name.clone(), "there are more than are needed")));
        }
        for name in lost {
            self.missed(now);
            actions.push(Action::Stop(name, "it never came to consume: another is started for it"));
        }
        actions
    }

    /// The gateway counts consumers and does not know their names: as many of ours as consume are at work, the oldest
    /// first.
    fn mark(&mut self, workers: u32) {
        let staying = || self.members.iter().filter(|member| member.stopping.is_none());
        let known = staying().filter(|member| member.reported).count() as u32;
        let new = workers.saturating_sub(known) as usize;
        let silent = self.members.iter_mut().filter(|member| member.stopping.is_none() && !member.reported);
        for member in silent.take(new) {
            member.reported = true;
            (self.failures, self.not_before) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { most: 5, times: Times { start: 10_000, report: 30_000 } };

    fn need(desired: u32, workers: u32) -> Need {
        Need { desired, workers }
    }

    /// Carries out what is planned, and gives how many were started and who was stopped.
    fn round(crew: &mut Crew, need: Need, now: i64) -> (u32, Vec<String>) {
        let (mut started, mut stopped) = (0, Vec::new());
        for action in crew.plan(need, now, &LIMITS) {
            match action {
                Action::Start => {
                    crew.hire(&format!("sg-s-{}", now + i64::from(started)), now);
                    started += 1;
                }
                Action::Stop(name, _) => {
                    crew.stopping(&name, now);
                    stopped.push(name);
                }
            }
        }
        (started, stopped)
    }

    fn alive(crew: &Crew) -> Vec<String> {
        crew.members.iter().map(|member| member.name.clone()).collect()
    }

    #[test]
    fn as_many_as_are_needed_and_no_more_than_allowed() {
        let mut crew = Crew::default();
        assert_eq!(round(&mut crew, need(3, 0), 0).0, 3);
        assert_eq!(round(&mut crew, need(3, 0), 1_000), (0, vec![]), "they are on their way");
        assert_eq!(round(&mut crew, need(9, 3), 2_000).0, 2, "five is the most");
        assert_eq!(round(&mut crew, need(9, 5), 3_000), (0, vec![]));
    }

    #[test]
    fn who_goes_is_who_did_not_begin_and_then_the_youngest() {
        let mut crew = Crew::default();
        round(&mut crew, need(3, 0), 0);
        round(&mut crew, need(4, 3), 1_000);
        let (_, stopped) = round(&mut crew, need(2, 3), 2_000);
        assert_eq!(stopped, ["sg-s-1000", "sg-s-0"], "of the three that began together any");
        assert_eq!(round(&mut crew, need(2, 2), 3_000), (0, vec![]), "told once");
        // Those that finish what they do count against the limit until they have ended.
        assert_eq!(round(&mut crew, need(5, 2), 4_000).0, 1);
        let gone: Vec<_> = alive(&crew).into_iter().filter(|name| !stopped.contains(name)).collect();
        crew.found(&gone, "sg-s-", 5_000, &Limits { times: Times { start: 0, ..LIMITS.times }, ..LIMITS });
        assert_eq!(round(&mut crew, need(5, 3), 6_000).0, 2);
    }

    #[test]
    fn somebody_else_s_workers_count() {
        let mut crew = Crew::default();
        assert_eq!(round(&mut crew, need(3, 2), 0).0, 1);
        assert_eq!(round(&mut crew, need(3, 3), 1_000), (0, vec![]));
    }

    #[test]
    fn who_never_comes_to_consume_is_replaced_after_a_while() {
        let mut crew = Crew::default();
        round(&mut crew, need(2, 0), 0);
        assert_eq!(round(&mut crew, need(2, 1), 30_000), (0, vec![]));
        let (started, stopped) = round(&mut crew, need(2, 1), 31_000);
        assert_eq!((started, stopped), (0, vec!["sg-s-1".to_owned()]));
        let left = vec!["sg-s-0".to_owned()];
        crew.found(&left, "sg-s-", 62_000, &LIMITS);
        assert_eq!(round(&mut crew, need(2, 1), 62_000).0, 1);
    }

    #[test]
    fn starts_that_fail_are_tried_again_later_and_later() {
        let mut crew = Crew::default();
        let mut tries = Vec::new();
        for second in 0..200 {
            let now = second * 1_000;
            crew.found(&[], "sg-s-", now, &Limits { times: Times { start: 0, ..LIMITS.times }, ..LIMITS });
            if round(&mut crew, need(1, 0), now).0 > 0 {
                tries.push(second);
            }
        }
        assert!(tries.len() >= 4 && tries.len() <= 7, "{tries:?}");
        let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
    }

    #[test]
    fn what_was_forgotten_is_found_again() {
        let mut crew = Crew::default();
        let there = ["sg-s-0000000a", "other", "sg-s-de-0000000b", "sg-s-00000c-d"].map(str::to_owned);
        crew.found(&there, "sg-s-", 0, &LIMITS);
        assert_eq!(alive(&crew), ["sg-s-0000000a"], "another service's workers are left alone");
        assert_eq!(round(&mut crew, need(1, 1), 1_000), (0, vec![]));
    }
}
