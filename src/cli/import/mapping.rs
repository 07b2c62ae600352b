//! From the original's names to ours.

use super::python::{Module, Value};
use toml::{Table, Value as Toml};

/// What became of a module.
pub(super) struct Mapping {
    pub(super) toml: Table,
    /// What was not carried, and why.
    pub(super) left: Vec<String>,
}

/// How a value is carried.
#[derive(Clone, Copy)]
enum As {
    Text,
    Number,
    Seconds,
    Tags,
    /// `True` becomes `false`.
    Not,
    Page,
}

/// The original's name, our key path, how.
type Rule = (&'static str, &'static str, As);

const TOP: &[Rule] = &[
    ("CELERY_PROJ_NAME", "broker.app", As::Text),
    ("AMQP_TIMEOUT", "broker.publish_timeout", As::Seconds),
    ("GET_STORAGE_DOC_REQ_URL", "documents.get_url", As::Text),
    ("POST_STORAGE_DOC_REQ_URL", "documents.upload_url", As::Text),
    ("POST_ANNOTATIONS_REQ_URL", "annotations.post_url", As::Text),
    ("RUBBER_BACKORDER_THRESHOLD", "scaling.backlog_threshold", As::Number),
    ("RUBBER_MAX_VM_QTY", "scaling.max_workers", As::Number),
    ("RUBBER_EVAL_INTERVAL", "scaling.interval", As::Seconds),
    ("RUBBER_MIN_IDLE_WORKERS", "scaling.min_idle_workers", As::Number),
];
const JWT: &[Rule] = &[("JWT_SIGNATURE_KEY", "auth.key", As::Text), ("JWT_AUDIENCE", "auth.audience", As::Text)];
const SERVICE: &[Rule] = &[
    ("route_keyword", "route", As::Text),
    ("celery_task_name", "task", As::Text),
    ("celery_queue_name", "queue", As::Text),
    ("version", "version", As::Text),
    ("noparams", "requires_document", As::Not),
    ("name", "about.name", As::Text),
    ("synopsis", "about.synopsis", As::Text),
    ("institution", "about.institution", As::Text),
    ("releaseTime", "about.release_time", As::Text),
    ("supportEmail", "about.support_email", As::Text),
    ("category", "about.category", As::Text),
    ("researchSubject", "about.research_subject", As::Text),
    ("tags", "about.tags", As::Tags),
    ("home", "pages.home", As::Page),
    ("doc", "pages.doc", As::Page),
    ("releasenotes", "pages.releasenotes", As::Page),
    ("support", "pages.support", As::Page),
    ("source", "pages.source", As::Page),
    ("tryme", "pages.tryme", As::Page),
    ("licence", "pages.licence", As::Page),
    ("provenance", "pages.provenance", As::Page),
    ("factsheet", "pages.factsheet", As::Page),
];
const SCALING: &[Rule] = &[("spawn_ratio", "scaling.spawn_ratio", As::Number)];

/// What has no place here, and what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("MY_SERVER_NAME", "clients' own Host header counts; set server.public_url if that is not how they reach us"),
    ("MONGO_URI", "the gateway keeps its own store, see [store]"),
    ("OPS_CONFIG", "machines are started by the tool that runs your workers"),
];

/// Turns what a module assigns into our configuration.
pub(super) fn map(module: &Module) -> Mapping {
    let mut mapping = Mapping { toml: Table::new(), left: Vec::new() };
    for (name, value) in &module.names {
        match (name.as_str(), value) {
            ("CELERY", Value::Dict(items)) => mapping.celery(items),
            ("SECURITY", Value::Dict(items)) => mapping.security(items),
            ("WORKER_SERVICES", Value::Dict(services)) => mapping.services(services),
            (name, value) => {
                if !mapping.ruled(TOP, "", name, name, value) {
                    let known = ELSEWHERE.iter().find(|(known, _)| *known == name);
                    mapping
                        .leave(name, known.map_or("no setting of the original is known by this name", |(_, why)| why));
                }
            }
        }
    }
    mapping
}

impl Mapping {
    fn leave(&mut self, what: &str, why: &str) {
        self.left.push(format!("{what}: {why}"));
    }

    fn set(&mut self, path: &str, value: Toml) {
        let mut table = &mut self.toml;
        let mut steps: Vec<&str> = path.split('\u{1f}').flat_map(|part| split(part)).collect();
        let Some(last) = steps.pop() else { return };
        for step in steps {
            let inner = table.entry(step).or_insert_with(|| Toml::Table(Table::new()));
            // Paths of rules never end where another begins, so what is there is a table.
            let Toml::Table(inner) = inner else { return };
            table = inner;
        }
        table.insert(last.to_owned(), value);
    }

    /// Carries `value` if a rule names it; says so.
    fn ruled(&mut self, rules: &[Rule], under: &str, name: &str, shown: &str, value: &Value) -> bool {
        let Some((_, path, how)) = rules.iter().find(|(known, ..)| *known == name) else { return false };
        match carried(*how, value) {
            Ok(value) => self.set(&format!("{under}{path}"), value),
            Err(why) => self.leave(shown, &why),
        }
        true
    }

    fn celery(&mut self, items: &[(String, Value)]) {
        for (name, value) in items {
            let shown = format!("CELERY[{name:?}]");
            match (name.as_str(), value) {
                ("BROKER_URL", Value::Text(url)) => self.set("broker.url", with_vhost(url).into()),
                ("CELERY_RESULT_BACKEND", Value::Text(backend)) => match backend.split(':').next() {
                    Some("amqp") => self.set("broker.result_backend", "amqp".into()),
                    Some("rpc") => self.set("broker.result_backend", "rpc".into()),
                    Some("redis") => self.set("broker.result_backend", backend.as_str().into()),
                    _ => self.leave(&shown, "only amqp, rpc and redis are known here"),
                },
                ("CELERY_TASK_RESULT_EXPIRES", value) => match carried(As::Seconds, value) {
                    Ok(expires) => {
                        self.set("broker.result_expires", expires.clone());
                        self.set("store.keep_results", expires);
                    }
                    Err(why) => self.leave(&shown, &why),
                },
                ("CELERY_TASK_SERIALIZER" | "CELERY_RESULT_SERIALIZER", Value::Text(text)) if text == "json" => {}
                ("CELERY_ACCEPT_CONTENT", Value::List(list)) if list == &[Value::Text("json".into())] => {}
                _ => self.leave(&shown, "a setting of the workers: the gateway sends and takes JSON"),
            }
        }
    }

    fn security(&mut self, items: &[(String, Value)]) {
        for (name, value) in items {
            match (name.as_str(), value) {
                ("BYPASS_SECURITY", Value::Bool(true)) => self.set("auth.mode", "none".into()),
                ("BYPASS_SECURITY", _) => {}
                ("AUTHORISATION_KEY", Value::Text(key)) => self.set("auth.shared_key", key.as_str().into()),
                ("JWT", Value::Dict(jwt)) => {
                    for (name, value) in jwt {
                        let shown = format!("SECURITY[\"JWT\"][{name:?}]");
                        if name == "JWT_ALGORITHM" {
                            match value {
                                Value::Text(name) => {
                                    self.set("auth.algorithms", Toml::Array(vec![name.as_str().into()]))
                                }
                                _ => self.leave(&shown, "not a text"),
                            }
                        } else if !self.ruled(JWT, "", name, &shown, value) {
                            self.leave(&shown, "whoever signs a token says how long it is valid");
                        }
                    }
                }
                _ => self.leave(&format!("SECURITY[{name:?}]"), "not known here"),
            }
        }
    }

    fn services(&mut self, services: &[(String, Value)]) {
        for (service, value) in services {
            let Value::Dict(items) = value else {
                self.leave(&format!("WORKER_SERVICES[{service:?}]"), "not a dict");
                continue;
            };
            // The service's name may hold dots: a separator of its own keeps it one step.
            let under = format!("services\u{1f}'{service}'\u{1f}");
            for (name, value) in items {
                let shown = format!("WORKER_SERVICES[{service:?}][{name:?}]");
                match (name.as_str(), value) {
                    ("rubber_params", Value::Dict(parameters)) => {
                        for (name, value) in parameters {
                            if !self.ruled(SCALING, &under, name, &shown, value) {
                                self.leave(&format!("{shown}[{name:?}]"), "not known here");
                            }
                        }
                    }
                    ("os_args", _) => self.leave(&shown, "machines are started by the tool that runs your workers"),
                    _ if self.ruled(SERVICE, &under, name, &shown, value) => {}
                    _ => self.leave(&shown, "not known here"),
                }
            }
        }
    }
}

/// The steps of one part of a path; a quoted part is one step.
fn split(part: &str) -> Vec<&str> {
    match part.strip_prefix('\'').and_then(|part| part.strip_suffix('\'')) {
        Some(name) => vec![name],
        None => part.split('.').filter(|step| !step.is_empty()).collect(),
    }
}

fn carried(how: As, value: &Value) -> Result<Toml, String> {
    let number = |number: f64| if number.fract() == 0.0 { Toml::Integer(number as i64) } else { Toml::Float(number) };
    match (how, value) {
        (As::Text, Value::Text(text)) => Ok(text.as_str().into()),
        (As::Number, Value::Number(value)) => Ok(number(*value)),
        (As::Seconds, Value::Number(seconds)) if *seconds > 0.0 => {
            Ok(shorter(Toml::String(format!("{}ms", (seconds * 1000.0).round()))))
        }
        (As::Tags, Value::Text(tags)) => {
            Ok(tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(Toml::from).collect::<Vec<_>>().into())
        }
        (As::Not, Value::Bool(flag)) => Ok(Toml::Boolean(!flag)),
        (As::Page, Value::Text(page)) if is_page(page) => Ok(page.as_str().into()),
        (As::Page, Value::Text(_)) => {
            Err("not a URL and not \"TEXT,STATUS\": give a file of HTML as \"file:PATH\"".to_owned())
        }
        _ => Err("a value of an unexpected type".to_owned()),
    }
}

/// Whole seconds are written as seconds.
fn shorter(duration: Toml) -> Toml {
    match duration.as_str().and_then(|text| text.strip_suffix("000ms")) {
        Some(seconds) if !seconds.is_empty() => Toml::String(format!("{seconds}s")),
        _ => duration,
    }
}

fn is_page(text: &str) -> bool {
    let answer = text.rsplit_once(',').and_then(|(_, status)| status.trim().parse::<u16>().ok());
    text.starts_with("http://")
        || text.starts_with("https://")
        || answer.is_some_and(|status| (200..600).contains(&status))
}

/// `amqp://host//` is Celery's way to write the virtual host `/`.
fn with_vhost(url: &str) -> String {
    match url.strip_suffix("//") {
        Some(rest) if !rest.ends_with(':') => format!("{rest}/%2f"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::python::read;

    #[test]
    fn every_known_name_is_carried_and_the_rest_is_told() {
        let module = read(
            "CELERY = {'BROKER_URL': 'amqp://h//', 'CELERY_RESULT_BACKEND': 'rpc://', 'CELERY_TASK_RESULT_EXPIRES': 1.5}\n\
             SECURITY = {'JWT': {'JWT_SIGNATURE_KEY': 'QUJD', 'JWT_DURATION': 600}, 'BYPASS_SECURITY': True}\n\
             WORKER_SERVICES = {'a.b': {'noparams': True, 'tags': 'x, y,', 'support': 'gone,410', 'tryme': 'me.html'}}\n\
             OTHER = 1\n",
        );
        let Mapping { toml, left } = map(&module);
        let text = toml::to_string(&toml).unwrap();
        for line in [
            "url = \"amqp://h/%2f\"",
            "result_backend = \"rpc\"",
            "result_expires = \"1500ms\"",
            "mode = \"none\"",
            "[services.\"a.b\"]",
            "requires_document = false",
            "tags = [\"x\", \"y\"]",
            "support = \"gone,410\"",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let told = |start: &str| left.iter().any(|line| line.starts_with(start));
        assert!(
            told("OTHER: ")
                && told("SECURITY[\"JWT\"][\"JWT_DURATION\"]: ")
                && told("WORKER_SERVICES[\"a.b\"][\"tryme\"]: ")
        );
        assert_eq!(left.len(), 3);
    }
}
