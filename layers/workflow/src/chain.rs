//! A chain, as it was sent.

use crate::{Placeholder, fault::Fault};
use gateway_contract::{Arguments, Service, Upload};
use serde_json::{Map, Value};

/// The most steps of a chain.
pub const MAX_STEPS: usize = 100;
/// The keys of a step that name its document.
const DOCUMENT: [&str; 2] = ["url", "doc_url"];

/// A chain whose steps are objects.
pub(crate) struct Chain {
    object: Map<String, Value>,
}

impl Chain {
    /// Reads the field `json`.
    pub(crate) fn read(arguments: &Arguments) -> Result<Self, Fault> {
        let text = arguments.field("json").ok_or(Fault::NoJson)?;
        match serde_json::from_str(text).map_err(Fault::Malformed)? {
            Value::Object(object) => Ok(Self { object }),
            Value::Null => Err(Fault::NoJson),
            other => Err(Fault::NotAnObject(kind(&other))),
        }
    }

    /// Judges every step.
    pub(crate) fn judge(&self, workflow: &Service, services: Option<&[Box<str>]>) -> Result<(), Fault> {
        let steps = match self.object.get("services") {
            None | Some(Value::Null) => return Err(Fault::NoServices),
            Some(Value::Array(steps)) => steps,
            Some(other) => return Err(Fault::NotAList(kind(other))),
        };
        if steps.len() > MAX_STEPS {
            return Err(Fault::TooMany);
        }
        let mut mentioned = Vec::new();
        for (number, step) in (1..).zip(steps) {
            let Value::Object(step) = step else { return Err(Fault::NotAStep(number, kind(step))) };
            let name = match step.get("service_name") {
                None | Some(Value::Null) => return Err(Fault::NoName(number)),
                Some(Value::String(name)) => name,
                Some(other) => return Err(Fault::NotAName(number, kind(other))),
            };
            if **name == *workflow.route {
                return Err(Fault::Itself(number));
            }
            if services.is_some_and(|known| known.iter().all(|route| **route != **name)) {
                return Err(Fault::Unknown(number, name.clone()));
            }
            let here = mentions(number, step)?;
            for key in DOCUMENT {
                if let Some(Value::String(document)) = step.get(key)
                    && here.contains(&document.as_str())
                    && !mentioned.contains(&document.as_str())
                {
                    return Err(Fault::Nothing(number, document.clone()));
                }
            }
            mentioned.extend(here);
        }
        Ok(())
    }

    /// What tells it from another chain, however its files are called here.
    pub(crate) fn essence(&self, uploads: &[Upload]) -> Map<String, Value> {
        let files = uploads.iter().map(|upload| (upload.field.clone(), upload.digest.clone().into())).collect();
        Map::from_iter([("json".to_owned(), self.object.clone().into()), ("files".to_owned(), Value::Object(files))])
    }

    /// The object, each string that is the name of a file's field replaced by that file's URL.
    pub(crate) fn with_files(self, uploads: &[Upload]) -> Map<String, Value> {
        let mut object = self.object;
        object.values_mut().for_each(|value| name_files(value, uploads));
        object
    }
}

/// The place-holders that a step says.
fn mentions(number: usize, step: &Map<String, Value>) -> Result<Vec<&str>, Fault> {
    let (mut found, mut open) = (Vec::new(), Vec::from_iter(step.values()));
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            Value::String(text) => match Placeholder::read(text) {
                Some(Ok(_)) => found.push(text.as_str()),
                Some(Err(malformed)) => return Err(Fault::Placeholder(number, malformed)),
                None => {}
            },
            _ => {}
        }
    }
    Ok(found)
}

/// As deep as the value is, which the JSON parser has bounded (128).
fn name_files(value: &mut Value, uploads: &[Upload]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| name_files(item, uploads)),
        Value::Object(members) => members.values_mut().for_each(|member| name_files(member, uploads)),
        Value::String(text) => {
            if let Some(upload) = uploads.iter().find(|upload| upload.field == *text) {
                text.clone_from(&upload.url);
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
