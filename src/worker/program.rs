//! What is run, for what, and what comes of it.

use crate::{ProcessLimits, around, directory::RunDirectory, progress};
use gateway_contract::TraceContext;
use regex::Regex;
use serde_json::{Value, value::RawValue};
use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// How a service's program is run (`[services.X.worker]` in the configuration).
#[derive(Debug, Clone)]
pub struct Program {
    /// The program and its arguments, with placeholders. A program without a slash is looked for in `PATH`, one with
    /// a slash from our working directory on; arguments are given as they are.
    pub command: Vec<String>,
    /// How the program tells progress, beside `progress: N`: see the crate's documentation. Default: not at all.
    pub progress: Option<Regex>,
    /// How long a run may take, the download of its document included (default 1 h).
    pub timeout: Duration,
    /// The largest result, in bytes of standard output (default 1 MiB).
    pub max_result: usize,
    /// The longest line that is read as one, in bytes (default 64 KiB).
    pub max_line: usize,
    /// The largest document, in bytes (default 1 GiB).
    pub max_document: u64,
    /// Further variables of the program's environment (default: none).
    pub environment: Vec<(String, String)>,
    /// What each of its processes may use (default: as much as the worker).
    pub limits: ProcessLimits,
}

impl Program {
    /// The program and its arguments, everything else at its default.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            progress: None,
            timeout: Duration::from_secs(3600),
            max_result: 1 << 20,
            max_line: 64 << 10,
            max_document: 1 << 30,
            environment: Vec::new(),
            limits: ProcessLimits::default(),
        }
    }

    /// What is wrong with it, if anything: an empty command, or a progress expression without one or two groups.
    ///
    /// ```
    /// use gateway_worker::Program;
    /// assert_eq!(Program::new(["sha256sum", "{document}"]).fault(), None);
    /// assert!(Program::new([""; 0]).fault().is_some());
    /// ```
    pub fn fault(&self) -> Option<String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Some("the command is empty: give a program and its arguments".to_owned());
        }
        self.progress.as_ref().and_then(progress::fault)
    }

    /// Whether the command asks for the document; if it does not, none is fetched.
    pub fn wants_document(&self) -> bool {
        self.command.iter().any(|argument| argument.contains("{document}"))
    }

    /// How many bytes have to be free on the disk before a run is begun: for the largest document, and 1 GiB that stays
    /// free. `None`: it fetches none.
    pub fn least_space(&self) -> Option<u64> {
        const SPARE: u64 = 1 << 30;
        self.wants_document().then(|| self.max_document.saturating_add(SPARE))
    }

    /// The command with its placeholders replaced, in one pass: what is put in is not searched again.
    pub(crate) fn command_for(&self, job: &Job, directory: &RunDirectory) -> Vec<String> {
        let uuid = job.id.to_string();
        let places = [
            ("{document}", directory.document()),
            ("{params}", directory.params()),
            ("{output}", directory.output()),
            ("{uuid}", uuid.as_str()),
        ];
        self.command.iter().map(|argument| replace(argument, &places)).collect()
    }
}

fn replace(mut text: &str, places: &[(&str, &str)]) -> String {
    let mut replaced = String::with_capacity(text.len());
    while let Some(brace) = text.find('{') {
        let (before, rest) = text.split_at(brace);
        replaced.push_str(before);
        text = match places.iter().find_map(|(name, value)| Some((rest.strip_prefix(name)?, value))) {
            Some((after, value)) => {
                replaced.push_str(value);
                after
            }
            None => {
                replaced.push('{');
                &rest[1..]
            }
        };
    }
    replaced.push_str(text);
    replaced
}

/// A task, as the one who runs it sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The task.
    pub id: Uuid,
    /// The service's name, for logs.
    pub service: String,
    /// Which attempt this is, counted by whoever gives it out; id and attempt together name the run directory.
    pub attempt: u32,
    /// The task's argument, whole: what `{params}` holds.
    pub argument: Value,
    /// Where the document is.
    pub document_url: Option<String>,
    /// The version of the service: what its annotations name where they do not say so themselves.
    pub version: String,
    /// Does no further try follow its failure?
    pub last: bool,
    /// Its place in a trace: what is done for it is told there, and whomever it asks is told of it.
    pub trace: Option<TraceContext>,
}

impl Job {
    /// A task with this argument; its document is the argument's `service.document.url`. No version, no further try.
    pub fn new(id: Uuid, service: impl Into<String>, attempt: u32, argument: Value) -> Self {
        let document_url = around::text(&argument, "/service/document/url").map(str::to_owned);
        let (service, version) = (service.into(), String::new());
        Self { id, service, attempt, argument, document_url, version, last: true, trace: None }
    }

    /// The same of a service with this version.
    #[must_use]
    pub fn versioned(self, version: impl Into<String>) -> Self {
        Self { version: version.into(), ..self }
    }
}

/// Something happened while a task ran.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It was begun (first its document is fetched).
    Started {
        /// This machine's name.
        host: String,
        /// When.
        start_time: SystemTime,
    },
    /// It is so far: never less than before, at most five times a second.
    Progress {
        /// In per cent, 0 to 100.
        done: f64,
    },
    /// The program is done; its annotations or files are being handed in.
    Storing,
}

/// What became of a run.
#[derive(Debug)]
pub enum Ending {
    /// The program ended with exit status 0: its result, which `serde_json` can read as a [`Value`].
    Success(Box<RawValue>),
    /// It did not work.
    Failure {
        /// The class name of the exception that stands for it on the wire.
        class: Cow<'static, str>,
        /// What happened and, where we know, what would help.
        message: String,
    },
    /// The command cannot be started: no task of the service would fare better. Otherwise a failure like any other, of
    /// the class `SubprocessError`.
    Unstarted {
        /// What happened.
        message: String,
    },
    /// The task was cancelled; nothing of it runs any more.
    Cancelled,
    /// We were told to shut down, so the program was stopped: the task is to be given out again.
    Aborted,
    /// The guard died, or could not be made to stop: nothing of the run runs any more as far as can be known, and
    /// whether the task is given out again is for its configuration to say (`on_lost`).
    Lost {
        /// What happened.
        message: String,
    },
}

impl Ending {
    /// The class of [`Ending::Unstarted`], and of every failure of a program.
    pub const SUBPROCESS: &'static str = "SubprocessError";

    /// What it tells of the service's command: it can be started (`Some(true)`), it cannot (`Some(false)`), or nothing:
    /// the run ended before, for reasons of its own.
    pub fn starts(&self) -> Option<bool> {
        match self {
            Self::Success(_) | Self::Lost { .. } => Some(true),
            Self::Failure { class, .. } => (class == Self::SUBPROCESS).then_some(true),
            Self::Unstarted { .. } => Some(false),
            Self::Cancelled | Self::Aborted => None,
        }
    }

    /// One word for it, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::Failure { .. } => "failure",
            Self::Unstarted { .. } => "unstarted",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::Lost { .. } => "lost",
        }
    }

    /// What went wrong, if something did; for traces.
    pub fn fault(&self) -> Option<&str> {
        match self {
            Self::Success(_) => None,
            Self::Failure { message, .. } | Self::Unstarted { message } | Self::Lost { message } => Some(message),
            Self::Cancelled => Some("cancelled"),
            Self::Aborted => Some("the worker was stopped"),
        }
    }

    /// The program did not work, or there is none: code 642.
    pub(crate) fn subprocess(message: impl Into<String>) -> Self {
        Self::Failure { class: Self::SUBPROCESS.into(), message: message.into() }
    }

    /// Something on this machine did not work: code 107.
    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        Self::Failure { class: "OSError".into(), message: format!("{what}: {error}") }
    }

    /// The program took too long.
    pub(crate) fn timeout(limit: Duration) -> Self {
        let message = format!("the task took longer than its time limit of {limit:?} and was stopped");
        Self::Failure { class: "TimeLimitExceeded".into(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_anywhere_and_other_braces_stay() {
        let places = [("{document}", "/d {uuid}"), ("{uuid}", "U")];
        for (given, expected) in [
            ("{document}", "/d {uuid}"),
            ("--in={document}:{uuid}", "--in=/d {uuid}:U"),
            ("{{uuid}}", "{U}"),
            ("{\"a\": {}}", "{\"a\": {}}"),
            ("{uuid", "{uuid"),
            ("${HOME} {unknown} é{", "${HOME} {unknown} é{"),
            ("", ""),
        ] {
            assert_eq!(replace(given, &places), expected);
        }
    }

    #[test]
    fn faults_are_told() {
        let with = |expression| Program { progress: Some(Regex::new(expression).unwrap()), ..Program::new(["x"]) };
        assert_eq!(with(r"(\d+)%").fault(), None);
        assert_eq!(with(r"(\d+)/(\d+)").fault(), None);
        assert!(with(r"\d+").fault().unwrap().contains("one group"));
        assert!(with(r"(\d)(\d)(\d)").fault().unwrap().contains("3"));
        assert!(Program::new([""]).fault().is_some());
    }
}
