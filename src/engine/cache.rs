//! Tasks as they were last committed, for `status` without a wait.

use gateway_contract::Snapshot;
use gateway_life::{Millis, State, Task};
use quick_cache::{Weighter, sync};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

/// Bytes of JSON that are kept, about.
const CAPACITY: u64 = 64 << 20;
const TYPICAL: u64 = 400;
/// How long a task is shown as it was, where another gateway may have learnt more. Clients ask again and again and nobody
/// waits for a change, so PostgreSQL has no news to spread (`NOTIFY` takes a lock of the whole server at commit).
const FRESH: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Bytes;

impl Weighter<Uuid, Known> for Bytes {
    fn weight(&self, _: &Uuid, known: &Known) -> u64 {
        TYPICAL / 2 + known.snapshot.json.len() as u64
    }
}

#[derive(Clone)]
struct Known {
    snapshot: Arc<Snapshot>,
    /// Then it has to be read again; `None`: it is as it is until this process changes it.
    until: Option<Instant>,
}

/// Bounded; filled by the engine in commit order, and by readers only where nothing newer is known.
pub struct Cache {
    known: sync::Cache<Uuid, Known, Bytes>,
    commits: AtomicU64,
    /// How long results are kept after the end; set where other gateways change tasks too.
    shared: Option<Millis>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("tasks", &self.known.len()).finish_non_exhaustive()
    }
}

impl Default for Cache {
    fn default() -> Self {
        let known = sync::Cache::with_weighter((CAPACITY / TYPICAL) as usize, CAPACITY, Bytes);
        Self { known, commits: AtomicU64::new(0), shared: None }
    }
}

impl Cache {
    /// A cache of tasks that other gateways change too: open tasks and presumed ends are kept for half a second, ends
    /// for as long as their results are kept (`keep_results`).
    pub fn shared(keep_results: Millis) -> Self {
        Self { shared: Some(keep_results), ..Self::default() }
    }

    /// The task, if it is at hand.
    pub fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
        let known = self.known.get(&id)?;
        known.until.is_none_or(|until| Instant::now() < until).then_some(known.snapshot)
    }

    /// Was the task at hand lately?
    pub fn knows(&self, id: Uuid) -> bool {
        self.known.peek(&id).is_some()
    }

    /// A task as it was just committed.
    pub fn committed(&self, task: &Task, snapshot: Arc<Snapshot>, now: Millis) {
        self.commits.fetch_add(1, SeqCst);
        // Another gateway may have changed it since, and a reader have seen that.
        if self.shared.is_none() || !self.is_older(task.id, snapshot.seq) {
            self.insert(task, snapshot, now);
        }
    }

    /// Is what is known newer than that?
    fn is_older(&self, id: Uuid, seq: u64) -> bool {
        self.known.peek(&id).is_some_and(|known| known.snapshot.seq > seq)
    }

    /// Call before reading from the store; give the ticket back with what was read.
    pub fn before_read(&self) -> u64 {
        self.commits.load(SeqCst)
    }

    /// A task as it was read. Kept only if nothing was committed since the ticket was taken: it may be older than
    /// what the engine put here meanwhile. Where other gateways commit too its `seq` tells which is newer; an older
    /// one that slips in between is there for half a second.
    pub fn read(&self, ticket: u64, task: &Task, snapshot: &Arc<Snapshot>, now: Millis) {
        if self.shared.is_some() {
            if !self.is_older(task.id, snapshot.seq) {
                self.insert(task, snapshot.clone(), now);
            }
            return;
        }
        if self.commits.load(SeqCst) != ticket {
            return;
        }
        self.insert(task, snapshot.clone(), now);
        if self.commits.load(SeqCst) != ticket {
            self.known.remove(&task.id);
        }
    }

    fn insert(&self, task: &Task, snapshot: Arc<Snapshot>, now: Millis) {
        let until = self.shared.map(|keep_results| Instant::now() + fresh(task, keep_results, now));
        self.known.insert(task.id, Known { snapshot, until });
    }

    /// Drops tasks whose records were deleted.
    pub fn forget(&self, ids: &[Uuid]) {
        // A read that began before must not bring one back.
        self.commits.fetch_add(1, SeqCst);
        for id in ids {
            self.known.remove(id);
        }
    }

    /// Drops everything: what is shown depends on the configuration.
    pub fn clear(&self) {
        self.commits.fetch_add(1, SeqCst);
        self.known.clear();
    }
}

/// How long nobody else can have changed it. A worker's own end changes no more but to EXPIRED, when its result is
/// no longer kept.
fn fresh(task: &Task, keep_results: Millis, now: Millis) -> Duration {
    match task.ended {
        Some(ended) if task.state.is_end() && !task.presumed => {
            let kept = ended.saturating_add(keep_results).saturating_sub(now);
            let at_least = if task.state == State::Expired { keep_results } else { kept };
            FRESH.max(Duration::from_millis(u64::try_from(at_least).unwrap_or_default()))
        }
        _ => FRESH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_life::{Fact, Report, Source, apply};

    const HOUR: Millis = 3_600_000;

    fn shown(task: &Task) -> Arc<Snapshot> {
        let history = gateway_contract::History::default();
        Arc::new(Snapshot { service: 0, seq: task.seq, json: Default::default(), mismatch: None, history })
    }

    fn ended(presumed: bool) -> Task {
        let mut task = Task::new(Uuid::now_v7(), "s", 0);
        let fact = match presumed {
            true => Fact::Overdue { heard: 0, why: "silence".into() },
            false => Fact::Heard(Report::new(State::Success, Source::Queue)),
        };
        apply(&mut task, &fact, 0);
        task
    }

    #[tokio::test(start_paused = true)]
    async fn alone_everything_is_kept() {
        let (cache, task) = (Cache::default(), Task::new(Uuid::now_v7(), "s", 0));
        cache.committed(&task, shown(&task), 0);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(cache.peek(task.id).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_may_change_is_kept_for_half_a_second_and_ends_as_long_as_their_results() {
        let cache = Cache::shared(HOUR);
        let (open, presumed, end) = (Task::new(Uuid::now_v7(), "s", 0), ended(true), ended(false));
        for task in [&open, &presumed, &end] {
            cache.committed(task, shown(task), 0);
            assert!(cache.peek(task.id).is_some());
        }
        tokio::time::advance(FRESH).await;
        assert!(cache.peek(open.id).is_none() && cache.knows(open.id));
        assert!(cache.peek(presumed.id).is_none(), "a worker's own end may have replaced it");
        assert!(cache.peek(end.id).is_some());
        tokio::time::advance(Duration::from_millis(HOUR as u64)).await;
        assert!(cache.peek(end.id).is_none(), "another gateway may have forgotten the result");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_late_does_not_replace_what_is_newer() {
        for cache in [Cache::default(), Cache::shared(HOUR)] {
            let ticket = cache.before_read();
            let old = Task::new(Uuid::now_v7(), "s", 0);
            let new = Task { seq: 2, ..old.clone() };
            cache.committed(&new, shown(&new), 0);
            cache.read(ticket, &old, &shown(&old), 0);
            assert_eq!(cache.peek(new.id).map(|snapshot| snapshot.seq), Some(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_gateway_committed_later_is_not_replaced() {
        let cache = Cache::shared(HOUR);
        let ours = ended(false);
        let later = Task { seq: ours.seq + 1, ..ours.clone() };
        cache.read(cache.before_read(), &later, &shown(&later), 0);
        cache.committed(&ours, shown(&ours), 0);
        assert_eq!(cache.peek(ours.id).map(|snapshot| snapshot.seq), Some(later.seq));
    }

    #[tokio::test(start_paused = true)]
    async fn with_other_gateways_a_read_counts_while_others_are_committed() {
        let cache = Cache::shared(HOUR);
        let (read, other) = (Task::new(Uuid::now_v7(), "s", 0), Task::new(Uuid::now_v7(), "s", 0));
        let ticket = cache.before_read();
        cache.committed(&other, shown(&other), 0);
        cache.read(ticket, &read, &shown(&read), 0);
        assert!(cache.peek(read.id).is_some());
    }
}
