//! Which answer is shown in which format.

use crate::accept::Accept;
use gateway_contract::{Place, Target, Verb, View};

/// A format that we can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Html,
    Xml,
}

/// The format of each kind of answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Formats {
    /// Of a task's status.
    task: Format,
    /// Of what is made to be looked at.
    page: Format,
    /// Of a refusal.
    error: Format,
}

impl Formats {
    /// What `accept` asks for, and what we show where it leaves that to us.
    pub(crate) fn of(accept: &Accept, target: Option<&Target>) -> Self {
        let Accept { json, html, xml } = *accept;
        let page = if json > html { Format::Json } else { Format::Html };
        let error = if target.is_some_and(is_looked_at) {
            page
        } else if html > json && html >= xml {
            Format::Html
        } else if xml > json {
            Format::Xml
        } else {
            Format::Json
        };
        // A task's status has no HTML: who prefers that (a browser names XML, too, and wants it less) gets JSON.
        let task = if xml > json && xml >= html { Format::Xml } else { Format::Json };
        Self { task, page, error }
    }

    /// The format for `view`.
    pub(crate) fn for_view(self, view: View) -> Format {
        match view {
            View::ProcessStatus => self.task,
            View::Info | View::Stats => self.page,
            // Scalers do not say what they read.
            View::Needs if self.error == Format::Html => Format::Html,
            View::Needs => Format::Json,
            View::Error => self.error,
            View::Submission | View::JsonOnly => Format::Json,
        }
    }

    /// Can the answer become a page of ours? (What is made to be looked at is refused in the format it is shown in.)
    pub(crate) fn may_be_html(self) -> bool {
        self.error == Format::Html
    }
}

/// Is it asked by people with browsers, so that HTML is the default? The list of services is not: it is always JSON.
fn is_looked_at(target: &Target) -> bool {
    match target.verb {
        Verb::Info => !matches!(target.place, Place::Gateway),
        Verb::Stats | Verb::Page(_) | Verb::Bare => true,
        Verb::Annotate | Verb::Process | Verb::Workflow | Verb::Status | Verb::Cancel | Verb::Needs => false,
        Verb::Livez | Verb::Readyz | Verb::Metrics | Verb::ErrorPage(_) => false,
        Verb::UploadPath | Verb::Upload | Verb::Download => false,
    }
}
