//! What the configuration and OpenTelemetry's variables say.

use gateway_contract::Sampler;
use percent_encoding::percent_decode_str;
use std::{collections::BTreeMap, time::Duration};

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protocol buffers over HTTP/1.1.
    Http,
}

/// Where one kind of data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// gRPC: the collector; HTTP: the whole URL.
    pub url: String,
    /// How.
    pub protocol: Protocol,
    /// Sent with each request; may hold credentials, so never logged.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
}

/// What is sent where, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Spans.
    pub traces: Option<Destination>,
    /// Metrics.
    pub metrics: Option<Destination>,
    /// Which traces are recorded; none is begun where no spans are sent.
    pub sampler: Sampler,
    /// Who tells it: `service.name` and its like.
    pub resource: BTreeMap<String, String>,
    /// Spans that may wait.
    pub queue: usize,
    /// Spans in one request.
    pub batch: usize,
    /// How long a span may wait for others.
    pub delay: Duration,
    /// Between two looks at the metrics.
    pub interval: Duration,
}

/// Something that a variable says cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct Fault {
    /// The variable.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

/// The variables, by name; an empty one is as none.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.0(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Fault> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let wrong = || Fault { name: name.to_owned(), why: "expected a whole number above 0".to_owned() };
        value.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
    }

    /// Of a kind of data (`TRACES`, `METRICS`), or of all.
    fn of(&self, kind: &str, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{kind}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }
}

impl Settings {
    /// Of `telemetry.otlp_endpoint` (which stands for OTEL_EXPORTER_OTLP_ENDPOINT, if it is there) and the environment.
    /// `None`: nothing is sent.
    ///
    /// # Errors
    /// A variable that says what is not known here: better told than guessed.
    pub fn read(
        endpoint: Option<&str>,
        service: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Fault> {
        let variables = Variables(variable);
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let traces = destination(&variables, "TRACES", "/v1/traces", endpoint)?;
        let metrics = destination(&variables, "METRICS", "/v1/metrics", endpoint)?;
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        let sampler = if traces.is_some() { sampler(&variables)? } else { Sampler::bystander() };
        let count = |name, default| Ok(usize::try_from(variables.number(name, default)?).unwrap_or(usize::MAX));
        let (queue, batch) =
            (count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?.min(1 << 20), count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?);
        Ok(Some(Self {
            traces,
            metrics,
            sampler,
            resource: resource(&variables, service)?,
            queue,
            batch: batch.min(queue),
            delay: Duration::from_millis(variables.number("OTEL_BSP_SCHEDULE_DELAY", 5_000)?),
            interval: Duration::from_millis(variables.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?),
        }))
    }
}

fn destination(
    variables: &Variables<'_>,
    kind: &str,
    path: &str,
    configured: Option<&str>,
) -> Result<Option<Destination>, Fault> {
    let exporter = format!("OTEL_{kind}_EXPORTER");
    match variables.get(&exporter).as_deref() {
        None | Some("otlp") => {}
        // What Prometheus wants it fetches.
        Some("none") => return Ok(None),
        Some("prometheus") if kind == "METRICS" => return Ok(None),
        Some(_) => return Err(Fault { name: exporter, why: "expected otlp or none".to_owned() }),
    }
    let protocol = match variables.of(kind, "PROTOCOL") {
        None => Protocol::Http,
        Some((_, value)) if value == "http/protobuf" => Protocol::Http,
        Some((_, value)) if value == "grpc" => Protocol::Grpc,
        Some((name, _)) => return Err(Fault { name, why: "expected grpc or http/protobuf".to_owned() }),
    };
    let own = variables.get(&format!("OTEL_EXPORTER_OTLP_{kind}_ENDPOINT"));
    let common = || configured.map(str::to_owned).or_else(|| variables.get("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let url = match (own, protocol) {
        (Some(own), _) => own,
        (None, protocol) => match (common(), protocol) {
            (None, _) => return Ok(None),
            (Some(base), Protocol::Grpc) => base,
            (Some(base), Protocol::Http) => format!("{}{path}", base.trim_end_matches('/')),
        },
    };
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        let name = format!("OTEL_EXPORTER_OTLP_{kind}_ENDPOINT");
        return Err(Fault { name, why: "expected a URL that begins with http:// or https://".to_owned() });
    }
    let headers = match variables.of(kind, "HEADERS") {
        Some((name, text)) => pairs(&name, &text)?.into_iter().collect(),
        None => Vec::new(),
    };
    let timeout = match variables.of(kind, "TIMEOUT") {
        Some((name, _)) => variables.number(&name, 10_000)?,
        None => 10_000,
    };
    Ok(Some(Destination { url, protocol, headers, timeout: Duration::from_millis(timeout) }))
}

fn sampler(variables: &Variables<'_>) -> Result<Sampler, Fault> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let share = || match variables.get(ARGUMENT) {
        None => Ok(1.0),
        Some(text) => text
            .parse()
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| Fault { name: ARGUMENT.to_owned(), why: "expected a number from 0 to 1".to_owned() }),
    };
    Ok(match variables.get(NAME).as_deref() {
        None | Some("parentbased_always_on") => Sampler::share(1.0).parent_based(),
        Some("always_on") => Sampler::share(1.0),
        Some("always_off") => Sampler::share(0.0),
        Some("traceidratio") => Sampler::share(share()?),
        Some("parentbased_always_off") => Sampler::share(0.0).parent_based(),
        Some("parentbased_traceidratio") => Sampler::share(share()?).parent_based(),
        Some(_) => {
            let why = "expected always_on, always_off, traceidratio, or one of these after parentbased_".to_owned();
            return Err(Fault { name: NAME.to_owned(), why });
        }
    })
}

fn resource(variables: &Variables<'_>, service: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut resource = BTreeMap::from(
        [
            ("service.name", service.to_owned()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("service.instance.id", uuid::Uuid::now_v7().to_string()),
            ("telemetry.sdk.name", "service-gateway".to_owned()),
            ("telemetry.sdk.language", "rust".to_owned()),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("host.name", rustix::system::uname().nodename().to_string_lossy().into_owned()),
            ("process.pid", std::process::id().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if let Some(text) = variables.get("OTEL_RESOURCE_ATTRIBUTES") {
        resource.extend(pairs("OTEL_RESOURCE_ATTRIBUTES", &text)?);
    }
    if let Some(name) = variables.get("OTEL_SERVICE_NAME") {
        resource.insert("service.name".to_owned(), name);
    }
    Ok(resource)
}

/// `name=value,name=value`, percent-encoded. Never told in an error: a header may be a secret.
fn pairs(variable: &str, text: &str) -> Result<Vec<(String, String)>, Fault> {
    let wrong =
        || Fault { name: variable.to_owned(), why: "expected name=value,name=value (percent-encoded)".to_owned() };
    let decode = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(std::borrow::Cow::into_owned).ok();
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(wrong)?;
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) if !name.is_empty() => Ok((name, value)),
                _ => Err(wrong()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Settings>, Fault> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Settings::read(endpoint, "gateway", &find)
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert_eq!(read(None, &[]), Ok(None));
        assert_eq!(read(None, &[("OTEL_TRACES_SAMPLER", "nonsense"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(read(Some("http://c:4318"), &[("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
    }

    #[test]
    fn the_configuration_stands_for_the_common_endpoint_and_yields_to_a_special_one() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:2/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s, a = b"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ];
        let settings = read(Some("http://c:4318/"), &variables).unwrap().unwrap();
        let (traces, metrics) = (settings.traces.unwrap(), settings.metrics.unwrap());
        assert_eq!((traces.url.as_str(), metrics.url.as_str()), ("http://c:4318/v1/traces", "http://m:2/x"));
        assert_eq!(traces.timeout, Duration::from_millis(250));
        let headers = [("authorization", "Bearer s"), ("a", "b")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(metrics.headers, headers);
    }

    #[test]
    fn grpc_takes_the_endpoint_as_it_is() {
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_METRICS_EXPORTER", "none")];
        let settings = read(Some("http://c:4317"), &variables).unwrap().unwrap();
        assert_eq!(settings.metrics, None);
        let traces = settings.traces.unwrap();
        assert_eq!((traces.url.as_str(), traces.protocol), ("http://c:4317", Protocol::Grpc));
    }

    #[test]
    fn samplers_and_resources_are_those_of_the_specification() {
        let with = |variables: &[(&str, &str)]| read(Some("http://c"), variables).unwrap().unwrap();
        assert_eq!(with(&[]).sampler, Sampler::share(1.0).parent_based());
        let share = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(with(&share).sampler, Sampler::share(0.25));
        let variables = [
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=x%2Cy"),
            ("OTEL_SERVICE_NAME", "b"),
        ];
        let resource = with(&variables).resource;
        assert_eq!((resource["service.name"].as_str(), resource["deployment.environment.name"].as_str()), ("b", "x,y"));
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn what_cannot_be_done_is_told_without_secrets() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:4317"),
        ] {
            let fault = read(Some("http://c"), &[(name, value)]).unwrap_err();
            assert_eq!(fault.name, name);
            assert!(!fault.to_string().contains("secret"), "{fault}");
        }
    }
}
