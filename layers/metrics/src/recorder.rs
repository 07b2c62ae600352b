//! The table: one cell for each service, verb, method and outcome.

use crate::{Distribution, Family, Labels, Points};
use gateway_contract::{Target, Verb};
use http::{Method, StatusCode};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
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

/// The statuses that have a cell of their own. Any other counts as the x00 of its class, as RFC 9110 (15) has clients
/// treat one that they do not know: so labels are bounded, whatever a page or a host answers.
const STATUSES: [u16; 36] = [
    100, 200, 201, 202, 204, 205, 206, 300, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411,
    412, 413, 415, 416, 422, 429, 431, 500, 501, 502, 503, 504, 507,
];

/// The methods that have cells of their own; any other is the last (OpenTelemetry's name for it).
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "_OTHER"];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this status.
    Status(StatusCode),
    /// With an error instead of an answer.
    Error,
    /// Nobody waited for the answer.
    Cancelled,
}

impl Outcome {
    const COUNT: usize = STATUSES.len() + 2;

    fn index(self) -> usize {
        match self {
            Outcome::Status(status) => {
                let status = status.as_u16().min(599);
                // The x00 of each class is there, so what is not found is found by it.
                let class = || STATUSES.binary_search(&(status / 100 * 100));
                STATUSES.binary_search(&status).or_else(|_| class()).unwrap_or(STATUSES.len())
            }
            Outcome::Error => STATUSES.len(),
            Outcome::Cancelled => STATUSES.len() + 1,
        }
    }

    /// The label of an index.
    fn label(index: usize) -> (&'static str, Box<str>) {
        match STATUSES.get(index) {
            Some(status) => ("http.response.status_code", status.to_string().into()),
            None if index == STATUSES.len() => ("error.type", "error".into()),
            None => ("error.type", "cancelled".into()),
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

/// The cells of a service's verb, by method and outcome; each is made when it is first needed.
type Cells = Box<[OnceLock<Box<Cell>>]>;

/// What is counted of one service, or of none: by verb.
type Block = Arc<[OnceLock<Cells>]>;

struct Table {
    services: Box<[Box<str>]>,
    /// That of no service, and then one for each.
    blocks: Box<[Block]>,
    active: Arc<Gauge>,
}

/// The row of a service, a verb and a method; its cells are that row's outcomes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    service: usize,
    verb: usize,
    method: usize,
}

/// What the layer counts. A clone counts into the same table.
#[derive(Clone)]
pub struct Recorder(Arc<Table>);

impl Recorder {
    /// An empty table for services of these names (`service` labels), each at the place that is its
    /// [`Service::index`](gateway_contract::Service::index). It takes about 5 KiB for each verb that a service is asked, and
    /// 200 bytes for each combination that is seen.
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
    pub(crate) fn row(&self, target: &Target, method: &Method) -> Row {
        let service = target.service().map(|service| usize::from(service.index));
        let service = service.filter(|index| *index < self.0.services.len()).map_or(0, |index| index + 1);
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        Row { service, verb: target.verb.index(), method }
    }

    pub(crate) fn begin(&self) {
        self.0.active.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, row: Row, outcome: Outcome, took: Duration) {
        self.0.active.0.fetch_sub(1, Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Every row that `row` gives lies in the table; a lookup that cannot panic costs the same.
        let verb = self.0.blocks.get(row.service).and_then(|block| block.get(row.verb));
        let cells = verb.map(|verb| verb.get_or_init(cells));
        if let Some(cell) = cells.and_then(|cells| cells.get(row.method * Outcome::COUNT + outcome.index())) {
            let cell = cell.get_or_init(Box::default);
            let bucket = BOUNDS.partition_point(|(bound, _)| *bound < nanoseconds);
            cell.buckets[bucket].fetch_add(1, Relaxed);
            cell.sum.fetch_add(nanoseconds, Relaxed);
        }
    }

    /// Everything counted so far. Combinations that have not been seen yet are left out.
    pub fn families(&self) -> Vec<Family> {
        let seen = self.cells().map(|(labels, cell)| {
            let counts = cell.buckets.each_ref().map(|bucket| bucket.load(Relaxed));
            let sum = cell.sum.load(Relaxed) as f64 / 1e9;
            let bounds = BOUNDS.iter().map(|(_, bound)| *bound).collect();
            (labels, Distribution { bounds, counts: counts.into(), sum })
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

    /// All combinations of labels that were seen, with their cells.
    fn cells(&self) -> impl Iterator<Item = (Labels, &Cell)> {
        let services = std::iter::once("").chain(self.0.services.iter().map(AsRef::as_ref));
        services.zip(&self.0.blocks).flat_map(|(service, block)| {
            let verbs = Verb::all().into_iter().zip(block.iter());
            let verbs = verbs.filter_map(|(verb, cells)| Some((verb, cells.get()?)));
            verbs.flat_map(move |(verb, cells)| {
                let seen = cells.iter().enumerate().filter_map(|(index, cell)| Some((index, cell.get()?)));
                seen.map(move |(index, cell)| (labels(service, verb, index), &**cell))
            })
        })
    }
}

/// The labels of a service's verb and the index of a cell there.
fn labels(service: &str, verb: Verb, index: usize) -> Labels {
    let (method, outcome) = (METHODS[index / Outcome::COUNT], Outcome::label(index % Outcome::COUNT));
    vec![("service", service.into()), ("verb", verb.name().into()), ("http.request.method", method.into()), outcome]
}

fn block() -> Block {
    (0..Verb::COUNT).map(|_| OnceLock::new()).collect()
}

fn cells() -> Cells {
    (0..METHODS.len() * Outcome::COUNT).map(|_| OnceLock::new()).collect()
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("services", &self.0.services).field("active", &self.active()).finish()
    }
}
