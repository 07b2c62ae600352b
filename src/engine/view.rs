//! A task as its owner is shown it.

use crate::plan::Plan;
use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_contract::{History, Snapshot};
use gateway_life::{Raised, State, Task};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// How tasks are shown depends on their service's configuration: expected version, codes of exceptions.
#[derive(Debug)]
pub struct View {
    plan: Arc<ArcSwap<Plan>>,
}

#[derive(Serialize)]
struct ProcessStatus<'a> {
    uuid: uuid::Uuid,
    status: &'a str,
    result: Shown<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Raised { code: u16, message: &'a str },
    Value(Option<&'a RawValue>),
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    worker_id_version: Option<std::borrow::Cow<'a, str>>,
}

/// The text of this exception may hold credentials of the storage: it is never shown.
const SILENT_CLASS: &str = "SwiftException";

impl View {
    /// A view that follows the plan.
    pub fn new(plan: Arc<ArcSwap<Plan>>) -> Self {
        Self { plan }
    }

    /// The task as `status` answers; `None` if its service is not configured any more.
    pub fn snapshot(&self, task: &Task) -> Option<Snapshot> {
        let plan = self.plan.load();
        let service = plan.service(&task.service)?;
        let raised = task.state.is_raised().then(|| task.result.as_deref().map(Raised::from_json)).flatten();
        let result = match (&raised, &task.state) {
            (Some(raised), _) => Shown::Raised {
                code: gateway_celery::code_of(&raised.class, &service.config.errors),
                message: if &*raised.class == SILENT_CLASS { "the storage failed" } else { &raised.message },
            },
            (None, State::Pending | State::Received | State::Started | State::Expired) => Shown::Value(None),
            (None, _) => Shown::Value(task.result.as_deref().and_then(|json| serde_json::from_slice(json).ok())),
        };
        let status = ProcessStatus { uuid: task.id, status: task.state.name(), result };
        // Strings, numbers and JSON that was parsed before: it serialises.
        let json = Bytes::from(serde_json::to_vec(&status).expect("a status serialises"));
        let mismatch = (task.state == State::Progress)
            .then(|| mismatch(&service.name(), &service.config.version, task.result.as_deref()))
            .flatten();
        Some(Snapshot { service: service.layer.index, seq: task.seq, json, mismatch, history: history(task) })
    }
}

/// A worker that tells another version than the configured one.
fn mismatch(service: &str, expected: &str, result: Option<&[u8]>) -> Option<Box<str>> {
    if expected.is_empty() {
        return None;
    }
    let told = serde_json::from_slice::<Told<'_>>(result?).ok()?.worker_id_version?;
    (told != expected).then(|| {
        let told: String = told.chars().filter(|c| !c.is_control()).take(64).collect();
        format!(
            "a worker of version {told} runs this task, but version {expected} is configured: \
             update the workers or services.{service}.version"
        )
        .into()
    })
}

fn history(task: &Task) -> History {
    History {
        // A message that the broker delivered twice was sent once, and ran twice.
        attempts: task.attempts.max(task.runs),
        submitted: task.submitted,
        sent: task.sent,
        started: task.started,
        ended: task.ended,
        reason: task.note.clone(),
    }
}
