//! The table: one cell for each service, verb and outcome.

use crate::{Distribution, Family, Points};
use gateway_contract::{Target, Verb};
use http::StatusCode;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Upper bounds of the buckets, inclusive, in nanoseconds and in seconds. From 5 ms on they are
/// those that OpenTelemetry advises for `http.server.request.duration`; the finer ones below are for answers that need
/// neither broker nor store.
pub(crate) const BOUNDS: [(u64, f64); 19] = [
    (100_000, 0.0001),
    (250_000, 0.00025),
    (500_000, 0.0005),
    (1_000_000, 0.001),
    (2_500_000, 0.0025),
    (5_000_000, 0.005),
    (10_000_000, 0.01),
    (25_000_000, 0.025),
    (50_000_000, 0.05),
    (75_000_000, 0.075),
    (100_000_000, 0.1),
    (250_000_000, 0.25),
    (500_000_000, 0.5),
    (750_000_000, 0.75),
    (1_000_000_000, 1.0),
    (2_500_000_000, 2.5),
    (5_000_000_000, 5.0),
    (7_500_000_000, 7.5),
    (10_000_000_000, 10.0),
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a status; its first digit, 1 to 5.
    Class(u8),
    /// With an error instead of an answer.
    Error,
    /// Nobody waited for the answer.
    Cancelled,
}

impl Outcome {
    /// All outcomes, in the order of [`Outcome::index`].
    pub(crate) const ALL: [(Outcome, &str); 7] = [
        (Outcome::Class(1), "1xx"),
        (Outcome::Class(2), "2xx"),
        (Outcome::Class(3), "3xx"),
        (Outcome::Class(4), "4xx"),
        (Outcome::Class(5), "5xx"),
        (Outcome::Error, "error"),
        (Outcome::Cancelled, "cancelled"),
    ];

    /// `http` admits 100 to 999: what is beyond 5xx counts as an error of the server that made it up.
    pub(crate) fn of(status: StatusCode) -> Self {
        Outcome::Class((status.as_u16() / 100).clamp(1, 5) as u8)
    }

    fn index(self) -> usize {
        match self {
            Outcome::Class(class) => usize::from(class.clamp(1, 5)) - 1,
            Outcome::Error => 5,
            Outcome::Cancelled => 6,
        }
    }
}

/// One combination of labels. Whole cache lines, so that two busy cells never share one.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Cell {
    /// Not cumulative; the last one is what is beyond all bounds.
    pub(crate) buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Nanoseconds: 584 years of them.
    pub(crate) sum: AtomicU64,
}

/// A gauge on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Gauge(AtomicI64);

/// The cells of one service, or of none: by verb and outcome.
type Block = Arc<[Cell]>;

struct Table {
    services: Box<[Box<str>]>,
    /// That of no service, and then one for each.
    blocks: Box<[Block]>,
    active: Arc<Gauge>,
}

/// The row of a service and a verb; its cells are that row's outcomes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    service: usize,
    verb: usize,
}

/// What the layer counts. A clone counts into the same table.
#[derive(Clone)]
pub struct Recorder(Arc<Table>);

impl Recorder {
    /// An empty table for services of these names (`service` labels), each at the place that is its
    /// [`Service::index`](gateway_contract::Service::index). It takes about 16 KiB a service.
    pub fn new(service_names: &[impl AsRef<str>]) -> Self {
        let none = Table { services: Box::default(), blocks: Box::new([block()]), active: Arc::default() };
        Self(Arc::new(none)).grown(service_names)
    }

    /// The same table with places for more services: `service_names` begins with those that it has. What one of the two
    /// counts for a service that both have, the other shows.
    #[must_use]
    pub fn grown(&self, service_names: &[impl AsRef<str>]) -> Self {
        let services: Box<[Box<str>]> = service_names.iter().map(|name| name.as_ref().into()).collect();
        let known = self.0.blocks.iter().take(services.len() + 1).cloned();
        let blocks = known.chain(std::iter::repeat_with(block)).take(services.len() + 1).collect();
        Self(Arc::new(Table { services, blocks, active: self.0.active.clone() }))
    }

    /// How many requests are being answered now.
    pub fn active(&self) -> i64 {
        self.0.active.0.load(Relaxed)
    }

    /// Where requests of that target count. What no configured service's index tells counts as no service's.
    pub(crate) fn row(&self, target: &Target) -> Row {
        let service = target.service().map(|service| usize::from(service.index));
        let service = service.filter(|index| *index < self.0.services.len()).map_or(0, |index| index + 1);
        Row { service, verb: target.verb.index() }
    }

    pub(crate) fn begin(&self) {
        self.0.active.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, row: Row, outcome: Outcome, took: Duration) {
        self.0.active.0.fetch_sub(1, Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Every row that `row` gives lies in the table; a lookup that cannot panic costs the same.
        let block = self.0.blocks.get(row.service);
        if let Some(cell) = block.and_then(|block| block.get(row.verb * Outcome::ALL.len() + outcome.index())) {
            let bucket = BOUNDS.partition_point(|(bound, _)| *bound < nanoseconds);
            cell.buckets[bucket].fetch_add(1, Relaxed);
            cell.sum.fetch_add(nanoseconds, Relaxed);
        }
    }

    /// Everything counted so far. Combinations that have not been seen yet are left out.
    pub fn families(&self) -> Vec<Family> {
        let seen = self.cells().filter_map(|(service, verb, outcome, cell)| {
            let labels = vec![("service", service.into()), ("verb", verb.into()), ("status_class", outcome.into())];
            let counts = cell.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
            let any = counts.iter().any(|count| *count > 0);
            let sum = cell.sum.load(Relaxed) as f64 / 1e9;
            let bounds = BOUNDS.iter().map(|(_, bound)| *bound).collect();
            any.then(|| (labels, Distribution { bounds, counts: counts.into(), sum }))
        });
        let duration = Family {
            name: "http.server.request.duration",
            unit: "s",
            help: "Time from a request's arrival to the head of its answer.",
            points: Points::Histogram(seen.collect()),
        };
        let active = "Requests that are being answered now.";
        vec![duration, Family::gauge("http.server.active_requests", "{request}", active, self.active() as f64)]
    }

    /// All combinations of labels with their cells: service, verb, outcome.
    fn cells(&self) -> impl Iterator<Item = (&str, &'static str, &'static str, &Cell)> {
        let services = std::iter::once("").chain(self.0.services.iter().map(AsRef::as_ref));
        let labels = services.flat_map(|service| {
            Verb::all()
                .into_iter()
                .flat_map(move |verb| Outcome::ALL.into_iter().map(move |(_, outcome)| (service, verb.name(), outcome)))
        });
        labels
            .zip(self.0.blocks.iter().flat_map(|block| block.iter()))
            .map(|((service, verb, outcome), cell)| (service, verb, outcome, cell))
    }
}

fn block() -> Block {
    (0..Verb::COUNT * Outcome::ALL.len()).map(|_| Cell::default()).collect()
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("services", &self.0.services).field("active", &self.active()).finish()
    }
}
