//! `[services.X]`

use super::{About, Pages, ServiceScaling, Worker};
use crate::{
    fields::choice,
    reader::{Reader, inline},
    schema::{Field, Shape, table},
};
use figment::value::{Num, Value};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, time::Duration};

choice! {
    /// `queue_type`: how the queue is declared.
    pub enum QueueType {
        /// A classic queue.
        Classic = "classic",
        /// A quorum queue (`x-queue-type = quorum`).
        Quorum = "quorum",
    }
}

choice! {
    /// `cancel_signal`: what a revoke sends to the process that does the task.
    #[allow(missing_docs)] // the names of POSIX
    pub enum Signal {
        Term = "SIGTERM",
        Int = "SIGINT",
        Kill = "SIGKILL",
        Quit = "SIGQUIT",
        Hup = "SIGHUP",
        Abrt = "SIGABRT",
        Alrm = "SIGALRM",
        Usr1 = "SIGUSR1",
        Usr2 = "SIGUSR2",
    }
}

/// The value of a queue argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// True or false.
    Flag(bool),
}

impl Field for Argument {
    const SHAPE: Shape = Shape::Value;

    /// From the environment it is read as TOML if it is TOML (`10`, `true`, `"10"`), else it is the text itself.
    fn read(value: &Value, path: &str, reader: &mut Reader<'_>) -> Option<Self> {
        reader.origin(value, path);
        let argument = match value {
            Value::String(_, text) if reader.raw(value) => {
                inline(text).map_or_else(|| Some(Self::Text(text.clone())), |typed| Self::typed(&typed))
            }
            _ => Self::typed(value),
        };
        if argument.is_none() {
            reader.fault(value, path, "expected a text, a whole number, true or false");
        }
        argument
    }

    fn show(&self) -> Json {
        match self {
            Self::Text(text) => json!(text),
            Self::Int(number) => json!(number),
            Self::Flag(flag) => json!(flag),
        }
    }
}

impl Argument {
    fn typed(value: &Value) -> Option<Self> {
        match value {
            Value::String(_, text) => Some(Self::Text(text.clone())),
            Value::Num(_, Num::F32(_) | Num::F64(_)) => None,
            Value::Num(_, number) => number.to_i128().and_then(|number| i64::try_from(number).ok()).map(Self::Int),
            Value::Bool(_, flag) => Some(Self::Flag(*flag)),
            _ => None,
        }
    }
}

table! {
    /// `[services.X]`: one service. An empty table is valid.
    pub struct Service {
        /// First path segment; `.` = none. Empty = the table's name, see [`Config::completed`](crate::Config::completed).
        pub route: String = String::new(),
        /// The task's name without `broker.app`. Empty = the table's name.
        pub task: String = String::new(),
        /// The queue. Empty = the table's name.
        pub queue: String = String::new(),
        /// The version its workers should have; empty = not checked.
        pub version: String = String::new(),
        /// `false`: may be submitted without a document. Default: true.
        pub requires_document: bool = true,
        /// How the queue is declared. Default: classic.
        pub queue_type: QueueType = QueueType::Classic,
        /// Further arguments of the declaration. Default: none.
        pub queue_arguments: BTreeMap<String, Argument> = BTreeMap::new(),
        /// A queue whose messages end their tasks; empty = none.
        pub dead_letter_queue: String = String::new(),
        /// At most so long in the queue; `None` = as long as it takes.
        pub wait_limit: Option<Duration> = None,
        /// At most so long running; `None` = as long as it takes.
        pub run_limit: Option<Duration> = None,
        /// What a cancel sends to the worker's process. Default: SIGTERM.
        pub cancel_signal: Signal = Signal::Term,
        /// What `/info` says about it.
        pub about: About = About::default(),
        /// Its CANARIE pages.
        pub pages: Pages = Pages::default(),
        /// Codes (100 to 65535) of its own exceptions, by class name without module.
        pub errors: BTreeMap<String, u16> = BTreeMap::new(),
        /// How our own worker runs it; `None` = it has other workers.
        pub worker: Option<Worker> = None,
        /// How many workers it is given.
        pub scaling: ServiceScaling = ServiceScaling::default(),
    }
}
