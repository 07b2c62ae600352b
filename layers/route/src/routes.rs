//! From a path to a target.

use gateway_contract::{Page, Place, Service, Target, Verb};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// First path segments that no service can be routed at: they are, or may become, the gateway's own.
///
/// (`simple_workflow` is not among them: the workflow service is routed there.)
pub const RESERVED: &[&str] = &[
    "platform",
    "service",
    "info",
    "stats",
    "needs",
    "doc",
    "releasenotes",
    "support",
    "source",
    "tryme",
    "licence",
    "provenance",
    "factsheet",
    "temporary_file",
    "temporary_upload_path",
    "livez",
    "readyz",
    "healthz",
    "metrics",
    "static",
    "tasks",
    "openapi.json",
    "ogc",
    "400",
    "401",
    "403",
    "404",
    "405",
    "408",
    "413",
    "429",
    "500",
    "502",
    "503",
    "504",
];

/// The statuses that have an error page, for a proxy's `error_page`: `/503` and so on. They are among [`RESERVED`].
const ERROR_PAGES: [StatusCode; 12] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// What a service routed `.` answers at the root; beside one, no other service can be routed at these.
const ROOT_VERBS: [&str; 4] = ["annotate", "process", "status", "cancel"];

/// Why services cannot be routed as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two services have one route.
    #[error("services {first:?} and {second:?} have the same route {route:?}: give one of them another")]
    Duplicate {
        /// The route.
        route: Box<str>,
        /// The name of the service that had it first.
        first: Box<str>,
        /// The name of the other.
        second: Box<str>,
    },
    /// The route is the gateway's own.
    #[error("service {service:?} cannot be routed at {route:?}: the gateway keeps that path for itself")]
    Reserved {
        /// The service's name.
        service: Box<str>,
        /// Its route.
        route: Box<str>,
    },
    /// The route is a verb of the service routed `.`.
    #[error(
        "service {service:?} cannot be routed at {route:?} beside {root:?}, which is routed \".\" and answers there"
    )]
    Shadowed {
        /// The service's name.
        service: Box<str>,
        /// Its route.
        route: Box<str>,
        /// The name of the service routed `.`.
        root: Box<str>,
    },
    /// The route is not one path segment.
    #[error("service {service:?} cannot be routed at {route:?}: a route is one path segment, not empty, or \".\"")]
    NotASegment {
        /// The service's name.
        service: Box<str>,
        /// Its route.
        route: Box<str>,
    },
}

/// Where every service is.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// By first path segment.
    named: HashMap<Box<str>, Arc<Service>>,
    /// The one routed `.`.
    root: Option<Arc<Service>>,
}

impl Routes {
    /// Routes `services` by their [`Service::route`]s: each one path segment (as it reads percent-decoded), or `.`.
    ///
    /// # Errors
    /// The first route that is no segment, reserved (see [`RESERVED`]), taken, or that the service routed `.` shadows.
    pub fn new(services: impl IntoIterator<Item = Arc<Service>>) -> Result<Self, RouteError> {
        let mut routes = Self::default();
        for service in services {
            routes.add(service)?;
        }
        if let Some(root) = &routes.root
            && let Some(service) = ROOT_VERBS.iter().find_map(|verb| routes.named.get(*verb))
        {
            return Err(RouteError::Shadowed {
                service: service.name.clone(),
                route: service.route.clone(),
                root: root.name.clone(),
            });
        }
        Ok(routes)
    }

    fn add(&mut self, service: Arc<Service>) -> Result<(), RouteError> {
        let duplicate = |first: &Service, second: &Service| RouteError::Duplicate {
            route: second.route.clone(),
            first: first.name.clone(),
            second: second.name.clone(),
        };
        match &*service.route {
            "." => match &self.root {
                Some(first) => return Err(duplicate(first, &service)),
                None => self.root = Some(service),
            },
            route if route.is_empty() || route == ".." || route.contains('/') => {
                return Err(RouteError::NotASegment { service: service.name.clone(), route: route.into() });
            }
            route if RESERVED.contains(&route) => {
                return Err(RouteError::Reserved { service: service.name.clone(), route: route.into() });
            }
            route => match self.named.entry(route.into()) {
                Entry::Occupied(first) => return Err(duplicate(first.get(), &service)),
                Entry::Vacant(free) => {
                    free.insert(service);
                }
            },
        }
        Ok(())
    }

    /// What `path` asks for; `None`: it is not ours. `alone` says whether the gateway owns the whole server.
    ///
    /// `method` tells apart only what is done with a temporary file; whether a verb answers it is not judged here.
    pub(crate) fn find(&self, method: &Method, path: &str, alone: bool) -> Option<Target> {
        let path = path.strip_prefix('/')?;
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let first = decoded(first)?;
        if let Some(service) = self.named.get(&*first) {
            let ask = rest.map_or(Some(Ask::verb(Verb::Bare)), Ask::read)?;
            return Some(ask.of(Place::Service(service.clone())));
        }
        match (&*first, rest) {
            ("platform", Some(rest)) => {
                return canarie(&decoded(rest)?).map(|verb| Ask::verb(verb).of(Place::Platform));
            }
            ("temporary_upload_path", None) => return Some(Ask::verb(Verb::UploadPath).of(Place::Gateway)),
            ("temporary_file", name) => return Ask::file(method, name).map(|ask| ask.of(Place::Gateway)),
            ("livez", None) if alone => return Some(Ask::verb(Verb::Livez).of(Place::Gateway)),
            ("readyz" | "healthz", None) if alone => return Some(Ask::verb(Verb::Readyz).of(Place::Gateway)),
            ("metrics", None) if alone => return Some(Ask::verb(Verb::Metrics).of(Place::Gateway)),
            (status, None) if alone && let Some(verb) = error_page(status) => {
                return Some(Ask::verb(verb).of(Place::Gateway));
            }
            _ => {}
        }
        if let Some(ask) = Ask::read(path) {
            return self.at_root(ask, alone);
        }
        let known = |rest| Ask::read(rest).filter(|ask| ask.verb != Verb::Page(Page::Home));
        match rest.and_then(known) {
            Some(ask) if alone && !first.is_empty() && !RESERVED.contains(&&*first) => {
                Some(ask.of(Place::UnknownService))
            }
            _ => None,
        }
    }

    /// Something asked without a service.
    fn at_root(&self, ask: Ask, alone: bool) -> Option<Target> {
        let root = self.root.clone().map(Place::Service);
        let place = match ask.verb {
            Verb::Info | Verb::Needs => Place::Gateway,
            Verb::Stats | Verb::Page(_) if alone => root.unwrap_or(Place::Platform),
            Verb::Stats | Verb::Page(_) => return None,
            _ => root?,
        };
        Some(ask.of(place))
    }
}

/// What is asked, whoever is asked.
struct Ask {
    verb: Verb,
    document: Option<Box<str>>,
}

impl Ask {
    fn verb(verb: Verb) -> Self {
        Self { verb, document: None }
    }

    fn of(self, place: Place) -> Target {
        match &place {
            // (The original takes an id after it, and looks at none.)
            Place::Service(service) if self.verb == Verb::Process && service.is_workflow() => {
                Target { place, verb: Verb::Workflow, document: None }
            }
            _ => Target { place, verb: self.verb, document: self.document },
        }
    }

    /// Reads what follows the service's segment (and its slash).
    fn read(path: &str) -> Option<Self> {
        let mut segments = path.split('/');
        let (first, second) = (decoded(segments.next()?)?, segments.next());
        if segments.next().is_some() {
            return None;
        }
        let verb = match (&*first, second) {
            ("annotate", document) => return Self::submission(Verb::Annotate, document),
            ("process", document) => return Self::submission(Verb::Process, document),
            ("status", None) => Verb::Status,
            ("cancel", None) => Verb::Cancel,
            ("needs", None) => Verb::Needs,
            ("service", Some(page)) if !page.is_empty() => canarie(&decoded(page)?)?,
            (_, None) => canarie(&first)?,
            _ => return None,
        };
        Some(Self::verb(verb))
    }

    fn submission(verb: Verb, document: Option<&str>) -> Option<Self> {
        let Some(id) = document else { return Some(Self::verb(verb)) };
        let id = decoded(id)?;
        // Dot segments would climb in the storage service's path.
        let valid = !matches!(&*id, "" | "." | "..") && !id.contains('/');
        valid.then(|| Self { verb, document: Some(id.into()) })
    }
}

impl Ask {
    /// Of a temporary file: what follows the first segment and its slash.
    fn file(method: &Method, name: Option<&str>) -> Option<Self> {
        let Some(name) = name else { return Some(Self::verb(Verb::Upload)) };
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let verb = if method == Method::POST { Verb::Upload } else { Verb::Download };
        Some(Self { verb, document: Some(decoded(name)?.into()) })
    }
}

/// The error page of a status that has one.
fn error_page(status: &str) -> Option<Verb> {
    ERROR_PAGES.into_iter().find(|page| page.as_str() == status).map(Verb::ErrorPage)
}

/// What the CANARIE registry asks for, by its decoded segment; the empty one is the home page.
fn canarie(segment: &str) -> Option<Verb> {
    match segment {
        "" => Some(Verb::Page(Page::Home)),
        "info" => Some(Verb::Info),
        "stats" => Some(Verb::Stats),
        page => Page::from_segment(page).map(Verb::Page),
    }
}

/// A segment, percent-decoded; `None` if that is no UTF-8.
fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if segment.contains('%') { percent_decode_str(segment).decode_utf8().ok() } else { Some(Cow::Borrowed(segment)) }
}
