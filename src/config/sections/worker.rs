//! `[services.X.worker]`

use super::hours;
use crate::{
    fields::{choice, text_field},
    reader::Text,
    schema::table,
    units::Size,
};
use regex::Regex;
use std::time::Duration;

choice! {
    /// `on_lost`: what becomes of a task whose worker died.
    pub enum OnLost {
        /// It is run again.
        Retry = "retry",
        /// It fails.
        Fail = "fail",
    }
}

/// A regular expression with one group (the percentage) or two (done, total). Equal when written the same.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The compiled expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Text for Pattern {
    const EXPECTS: &'static str = "a regular expression with one group (the percentage) or two (done, total)";

    fn parse(text: &str) -> Result<Self, String> {
        // The last line of the error is the reason; those before it draw the expression.
        let regex = Regex::new(text).map_err(|error| {
            let error = error.to_string();
            format!("expected {}: {}", Self::EXPECTS, error.lines().last().unwrap_or_default())
        })?;
        match regex.captures_len() - 1 {
            1 | 2 => Ok(Self(regex)),
            groups => Err(format!("expected {}, found {groups} groups", Self::EXPECTS)),
        }
    }

    fn print(&self) -> String {
        self.0.as_str().to_owned()
    }
}

text_field!(Pattern);

table! {
    /// `[services.X.worker]`: how our own worker runs the service.
    pub struct Worker {
        /// The program and its arguments; no shell. Needed, but for the service `simple_workflow`.
        pub command: Vec<String> = Vec::new(),
        /// How the program tells its progress beside lines `progress: N`; `None` = only so.
        pub progress: Option<Pattern> = None,
        /// How many tasks at once: 1 to 1024. Default 1.
        pub concurrency: u16 = 1,
        /// How long one run may take. Default 1 h.
        pub timeout: Duration = hours(1),
        /// How often a failure of the program is tried again: at most 100. Default 0.
        pub retries: u32 = 0,
        /// What becomes of a task whose worker or machine died. Default: retry.
        pub on_lost: OnLost = OnLost::Retry,
        /// How often it may be lost where it is run again: 1 to 1000. Default 10.
        pub losses: u32 = 10,
        /// The largest document that is fetched. Default 1 GiB.
        pub max_document: Size = Size::of(1 << 30),
        /// Memory that each process may have for itself; `None` = no limit. At least 1 MiB.
        pub memory: Option<Size> = None,
        /// Processor time that each process may use; `None` = no limit. At least 1 s.
        pub cpu_time: Option<Duration> = None,
        /// Files and sockets that each process may have open; `None` = no limit. 8 to 1048576.
        pub open_files: Option<u32> = None,
    }
}

/// The workflow service's name.
pub(crate) const WORKFLOW: &str = "simple_workflow";

impl Worker {
    /// The worker of the workflow service where no table says how it should be: chains take as long as all their steps, and
    /// cost next to nothing while they wait for them.
    pub(super) fn of_workflows() -> Self {
        Self { concurrency: 64, timeout: hours(24), ..Self::default() }
    }
}
