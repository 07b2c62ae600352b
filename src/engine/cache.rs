//! Tasks as they were last committed, for `status` without a wait.

use gateway_contract::Snapshot;
use quick_cache::{Weighter, sync};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};
use uuid::Uuid;

/// Bytes of JSON that are kept, about.
const CAPACITY: u64 = 64 << 20;
const TYPICAL: u64 = 400;

#[derive(Clone)]
struct Bytes;

impl Weighter<Uuid, Arc<Snapshot>> for Bytes {
    fn weight(&self, _: &Uuid, snapshot: &Arc<Snapshot>) -> u64 {
        TYPICAL / 2 + snapshot.json.len() as u64
    }
}

/// Bounded; filled by the engine in commit order, and by readers only where no commit came between.
pub struct Cache {
    known: sync::Cache<Uuid, Arc<Snapshot>, Bytes>,
    commits: AtomicU64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("tasks", &self.known.len()).finish_non_exhaustive()
    }
}

impl Default for Cache {
    fn default() -> Self {
        let known = sync::Cache::with_weighter((CAPACITY / TYPICAL) as usize, CAPACITY, Bytes);
        Self { known, commits: AtomicU64::new(0) }
    }
}

impl Cache {
    /// The task, if it is at hand.
    pub fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
        self.known.get(&id)
    }

    /// A task as it was just committed.
    pub fn committed(&self, id: Uuid, snapshot: Arc<Snapshot>) {
        self.commits.fetch_add(1, SeqCst);
        self.known.insert(id, snapshot);
    }

    /// Call before reading from the store; give the ticket back with what was read.
    pub fn before_read(&self) -> u64 {
        self.commits.load(SeqCst)
    }

    /// A task as it was read. Kept only if nothing was committed since the ticket was taken: it may be older than
    /// what the engine put here meanwhile.
    pub fn read(&self, ticket: u64, id: Uuid, snapshot: &Arc<Snapshot>) {
        if self.commits.load(SeqCst) != ticket {
            return;
        }
        self.known.insert(id, snapshot.clone());
        if self.commits.load(SeqCst) != ticket {
            self.known.remove(&id);
        }
    }

    /// Drops everything: what is shown depends on the configuration.
    pub fn clear(&self) {
        self.commits.fetch_add(1, SeqCst);
        self.known.clear();
    }
}
