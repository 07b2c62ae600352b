//! A submission, on its way down.

use crate::{Service, TraceContext, Verb};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Who asks, as the token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`, if it has one.
    pub subject: Option<Arc<str>>,
}

/// What a submission brought, as read and not yet judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// The JSON object of a `process` body.
    pub json: Map<String, Value>,
    /// Query and form, in that order: the first value of each key counts, and the query wins. Values are strings.
    pub fields: Map<String, Value>,
    /// The files of a workflow's form, in their order.
    pub uploads: Vec<Upload>,
}

/// A file of a form, which is a temporary file by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The field that it came in.
    pub field: String,
    /// Where it is.
    pub url: String,
    /// SHA-256 of what is in it, in hexadecimal.
    pub digest: String,
}

impl Arguments {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }
}

/// What is to be done: the document found, every URL checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// Where the worker finds the document.
    pub document_url: Option<String>,
    /// Where the worker hands in annotations.
    pub annotations_url: Option<String>,
    /// Everything else the client said (`service.misc` on the wire).
    pub misc: Map<String, Value>,
    /// What an idempotency key stands for instead of all of this, where some of it is made anew for each request.
    pub essence: Option<Map<String, Value>>,
}

/// `Idempotency-Key` and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: Box<str>,
    /// SHA-256 over service, verb and work.
    pub fingerprint: [u8; 32],
}

/// What `dispatch` sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// To whom.
    pub service: Arc<Service>,
    /// `annotate`, `process` or `workflow`.
    pub verb: Verb,
    /// By whom.
    pub subject: Option<Arc<str>>,
    /// What.
    pub work: Work,
    /// Once, however often it is asked for.
    pub idempotency: Option<Idempotency>,
    /// Its place in a trace.
    pub trace: Option<TraceContext>,
}
