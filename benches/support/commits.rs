//! Counts the store's commits in this process, by what the engine tells of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// So many until now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) commits: u64,
    pub(crate) writes: u64,
}

/// The counter.
#[derive(Default)]
pub(crate) struct Commits {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    commits: AtomicU64,
    writes: AtomicU64,
}

impl Commits {
    /// Counts from now on.
    pub(crate) fn count() -> Self {
        let commits = Self::default();
        // Nobody else in this process listens.
        tracing::subscriber::set_global_default(Listener(commits.shared.clone())).expect("it is set once");
        commits
    }

    pub(crate) fn now(&self) -> Count {
        Count { commits: self.shared.commits.load(Relaxed), writes: self.shared.writes.load(Relaxed) }
    }
}

/// Hears of commits and of nothing else, so that it costs nothing.
struct Listener(Arc<Shared>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::TRACE && metadata.target() == "service_gateway::engine::commit"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.commits.fetch_add(1, Relaxed);
        event.record(&mut Writes(&self.0.writes));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Writes<'a>(&'a AtomicU64);

impl Visit for Writes<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "writes" {
            self.0.fetch_add(value, Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
