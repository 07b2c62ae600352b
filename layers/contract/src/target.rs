//! What a request asks for, and where.

use http::{Method, Request, StatusCode};
use std::sync::Arc;

/// A service as layers see it: what routing and sending need, and nothing of what it is configured to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Small number for tables; the same service keeps it as long as the process lives.
    pub index: u16,
    /// The configuration table's name: stable, used in the store, in logs and as metric label.
    pub name: Box<str>,
    /// First path segment; `.` = none.
    pub route: Box<str>,
    /// `false`: may be submitted without a document.
    pub requires_document: bool,
}

impl Service {
    /// The name that only the workflow service has.
    pub const WORKFLOW: &str = "simple_workflow";

    /// Is it the one whose tasks are chains of other services' tasks?
    pub fn is_workflow(&self) -> bool {
        &*self.name == Self::WORKFLOW
    }
}

/// Which party a request speaks about.
#[derive(Debug, Clone)]
pub enum Place {
    /// A configured service.
    Service(Arc<Service>),
    /// A known verb under a service that is not configured (only where the gateway owns the whole server).
    UnknownService,
    /// The gateway itself: `/info`, `/stats`, probes; pages at `/` speak for the platform.
    Gateway,
    /// `/platform/…`: the CANARIE pages of the whole installation.
    Platform,
}

/// A CANARIE page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names of the CANARIE registry say it all
pub enum Page {
    Home,
    Doc,
    ReleaseNotes,
    Support,
    Source,
    TryMe,
    Licence,
    Provenance,
    Factsheet,
}

impl Page {
    /// All of them, in the order of the CANARIE registry.
    pub const ALL: [Page; 9] = [
        Page::Home,
        Page::Doc,
        Page::ReleaseNotes,
        Page::Support,
        Page::Source,
        Page::TryMe,
        Page::Licence,
        Page::Provenance,
        Page::Factsheet,
    ];

    /// The path segment (`home` has none: it is `/S/`) and configuration key.
    pub fn name(self) -> &'static str {
        match self {
            Page::Home => "home",
            Page::Doc => "doc",
            Page::ReleaseNotes => "releasenotes",
            Page::Support => "support",
            Page::Source => "source",
            Page::TryMe => "tryme",
            Page::Licence => "licence",
            Page::Provenance => "provenance",
            Page::Factsheet => "factsheet",
        }
    }

    /// The page of a path segment; `home` is not one.
    pub fn from_segment(segment: &str) -> Option<Page> {
        Page::ALL.into_iter().find(|page| *page != Page::Home && page.name() == segment)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Submit a document to be annotated.
    Annotate,
    /// Submit a document to be processed, with a JSON body.
    Process,
    /// What became of a task.
    Status,
    /// Cancel a task.
    Cancel,
    /// CANARIE information.
    Info,
    /// CANARIE statistics.
    Stats,
    /// A CANARIE page.
    Page(Page),
    /// `/S` without its slash: redirected to `/S/`.
    Bare,
    /// Is the process alive?
    Livez,
    /// Can it do its work? (also `/healthz`)
    Readyz,
    /// Prometheus text.
    Metrics,
    /// `/503` and its like: what a proxy shows when it has nothing else, with that status.
    ErrorPage(StatusCode),
    /// Where a temporary file may be uploaded: a URL that nobody guesses.
    UploadPath,
    /// Upload a temporary file.
    Upload,
    /// Fetch a temporary file.
    Download,
    /// How many workers are needed, and why.
    Needs,
    /// Submit a chain of services to the workflow service.
    Workflow,
}

impl Verb {
    /// How many different [`Verb::index`] there are.
    pub const COUNT: usize = 17;

    /// The name for configuration (`auth.public`), metric labels and logs.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Annotate => "annotate",
            Verb::Process => "process",
            Verb::Status => "status",
            Verb::Cancel => "cancel",
            Verb::Info => "info",
            Verb::Stats => "stats",
            Verb::Page(_) => "pages",
            Verb::Bare => "bare",
            Verb::Livez => "livez",
            Verb::Readyz => "readyz",
            Verb::Metrics => "metrics",
            Verb::ErrorPage(_) => "error_page",
            Verb::UploadPath => "upload_path",
            Verb::Upload => "upload",
            Verb::Download => "download",
            Verb::Needs => "needs",
            Verb::Workflow => "workflow",
        }
    }

    /// A small number for tables; all pages share one, and all error pages another.
    pub fn index(self) -> usize {
        match self {
            Verb::Annotate => 0,
            Verb::Process => 1,
            Verb::Status => 2,
            Verb::Cancel => 3,
            Verb::Info => 4,
            Verb::Stats => 5,
            Verb::Page(_) => 6,
            Verb::Bare => 7,
            Verb::Livez => 8,
            Verb::Readyz => 9,
            Verb::Metrics => 10,
            Verb::ErrorPage(_) => 11,
            Verb::UploadPath => 12,
            Verb::Upload => 13,
            Verb::Download => 14,
            Verb::Needs => 15,
            Verb::Workflow => 16,
        }
    }

    /// One verb for each index, for tables over all of them.
    pub fn all() -> [Verb; Verb::COUNT] {
        [
            Verb::Annotate,
            Verb::Process,
            Verb::Status,
            Verb::Cancel,
            Verb::Info,
            Verb::Stats,
            Verb::Page(Page::Home),
            Verb::Bare,
            Verb::Livez,
            Verb::Readyz,
            Verb::Metrics,
            Verb::ErrorPage(StatusCode::SERVICE_UNAVAILABLE),
            Verb::UploadPath,
            Verb::Upload,
            Verb::Download,
            Verb::Needs,
            Verb::Workflow,
        ]
    }

    /// Does it make a task: is it `annotate`, `process` or `workflow`?
    pub fn submits(self) -> bool {
        matches!(self, Verb::Annotate | Verb::Process | Verb::Workflow)
    }

    /// Is it about a temporary file: `upload_path`, `upload` or `download`?
    pub fn is_about_files(self) -> bool {
        matches!(self, Verb::UploadPath | Verb::Upload | Verb::Download)
    }

    /// The methods that its path answers, as an `Allow` header says them. (A temporary file's path is that of two verbs.)
    pub fn allow(self) -> &'static str {
        match self {
            Verb::Annotate | Verb::Process | Verb::Workflow | Verb::Upload => "POST, OPTIONS",
            Verb::Download => "GET, HEAD, POST, OPTIONS",
            Verb::Cancel => "GET, HEAD, POST, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Does it answer `method`? (`OPTIONS` is answered by `respond` for every verb.)
    pub fn allows(self, method: &Method) -> bool {
        match *method {
            Method::POST => self.submits() || matches!(self, Verb::Cancel | Verb::Upload),
            Method::DELETE => self == Verb::Cancel,
            Method::GET | Method::HEAD => !self.submits() && self != Verb::Upload,
            _ => false,
        }
    }
}

/// What a request asks for; a request without one is not ours.
#[derive(Debug, Clone)]
pub struct Target {
    /// Of whom.
    pub place: Place,
    /// What.
    pub verb: Verb,
    /// The id of a document in the storage service (`/S/annotate/ID`), or the name of a temporary file
    /// (`/temporary_file/NAME`): percent-decoded, not judged.
    pub document: Option<Box<str>>,
}

impl Target {
    /// The configured service it speaks about.
    pub fn service(&self) -> Option<&Arc<Service>> {
        match &self.place {
            Place::Service(service) => Some(service),
            _ => None,
        }
    }
}

/// The target that `route` left on this request.
pub fn target<B>(request: &Request<B>) -> Option<&Target> {
    request.extensions().get::<Target>()
}

/// How the client reaches us: scheme, host and mount prefix, without a slash at the end
/// (`https://example.org/gateway`). Stamped by the server from `server.public_url`, trusted proxy headers or `Host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(pub Arc<str>);

impl Base {
    /// The mount prefix alone: `/gateway`, or empty at the root.
    pub fn prefix(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        rest.find('/').map_or("", |at| &rest[at..])
    }
}
