//! Metrics as data: what is shown to Prometheus, and what is sent elsewhere, comes from the same.

/// The labels of one line: name as OpenTelemetry writes it, and value. Values come from the configuration or an enum.
pub type Labels = Vec<(&'static str, Box<str>)>;

/// All that is known under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// As OpenTelemetry writes it: `http.server.request.duration`.
    pub name: &'static str,
    /// UCUM: `s`, `By`, `1`, or what is counted, in braces: `{task}`.
    pub unit: &'static str,
    /// What it is, in one sentence.
    pub help: &'static str,
    /// The numbers.
    pub points: Points,
}

/// The numbers of a [`Family`].
#[derive(Debug, Clone, PartialEq)]
pub enum Points {
    /// Only grows.
    Counter(Vec<(Labels, f64)>),
    /// Is as it is now.
    Gauge(Vec<(Labels, f64)>),
    /// How often values were how large.
    Histogram(Vec<(Labels, Distribution)>),
}

/// A histogram's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Upper bounds of the buckets, inclusive.
    pub bounds: Vec<f64>,
    /// How many values lie in each bucket (not cumulative); the last one is what is beyond all bounds.
    pub counts: Vec<u64>,
    /// All values together.
    pub sum: f64,
}

impl Distribution {
    /// How many values there are. Each bucket is read once and this is their sum: they always agree.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Family {
    /// A counter without labels.
    pub fn count(name: &'static str, unit: &'static str, help: &'static str, value: u64) -> Self {
        // Exact up to 2^53.
        Self { name, unit, help, points: Points::Counter(vec![(Labels::new(), value as f64)]) }
    }

    /// A gauge without labels.
    pub fn gauge(name: &'static str, unit: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, unit, help, points: Points::Gauge(vec![(Labels::new(), value)]) }
    }

    /// The name that Prometheus knows it by: dots become underscores, the unit and `_total` are added
    /// (OpenTelemetry's compatibility rules).
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if matches!(self.points, Points::Counter(_)) { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}
