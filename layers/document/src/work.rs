//! From arguments to work.

use gateway_contract::{Arguments, Locate, Rejection, Service, Work, code};
use serde_json::{Map, Value};

/// The argument that names the document.
const DOCUMENT: &str = "doc_url";
/// The argument that names the document whose annotations are handed in.
const ANNOTATIONS: &str = "ann_doc_id";
/// What only the gateway says.
const UPLOAD: &str = "upload_url";

/// What is wrong with what a submission names. ([`Locate`] has its own refusals.)
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{0:?} needs a document: give its URL as doc_url, or its id in the storage service as a last path segment")]
    NoDocument(Box<str>),
    #[error("{0:?} is not the id of a document")]
    NotAnId(String),
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::NoDocument(_) => code::MISSING_PARAMETER,
            Fault::NotAnId(_) => code::VALUE,
        };
        Self::client(code, fault.to_string())
    }
}

/// The work that `arguments` ask of `service`; `id` is the document's, if the path has one.
pub(crate) fn find(
    locate: &impl Locate,
    service: &Service,
    id: Option<&str>,
    arguments: Arguments,
) -> Result<Work, Rejection> {
    let stored = id.map(|id| locate.document(id)).transpose()?;
    if stored.is_none() && service.requires_document && arguments.field(DOCUMENT).is_none() {
        return Err(Fault::NoDocument(service.name.clone()).into());
    }
    let annotations_url = match arguments.field(ANNOTATIONS) {
        Some(id) => Some(locate.annotations(valid(ANNOTATIONS, id)?)?),
        None => None,
    };
    let mut misc = misc(locate, arguments)?;
    let document_url = stored.or(misc.document_url.take());
    if let Some(url) = locate.upload() {
        misc.map.insert(UPLOAD.into(), url.into());
    }
    Ok(Work { document_url, annotations_url, misc: misc.map, essence: None })
}

/// What else a submission says, and the document's URL as the caller gave it.
struct Misc {
    map: Map<String, Value>,
    document_url: Option<String>,
}

/// Everything but what the gateway adds.
fn misc(locate: &impl Locate, arguments: Arguments) -> Result<Misc, Rejection> {
    let Arguments { json: mut map, fields, .. } = arguments;
    let mut document_url = None;
    for (name, value) in &fields {
        if let (Some(kind), Some(id)) = (stored_kind(name), value.as_str()) {
            map.insert(format!("{kind}_url"), locate.document(valid(name, id)?)?.into());
        }
    }
    // The document first: of several faults, its own is the one to tell.
    if let Some(url) = fields.get(DOCUMENT).and_then(Value::as_str) {
        let url = locate.admit(DOCUMENT, url)?;
        map.insert(DOCUMENT.into(), url.clone().into());
        document_url = Some(url);
    }
    for (name, value) in fields {
        if name == DOCUMENT || name == UPLOAD || name.starts_with("storage_") {
            continue;
        }
        let value = match value {
            Value::String(url) if name.ends_with("_url") => locate.admit(&name, &url)?.into(),
            other => other,
        };
        map.insert(name, value);
    }
    // Whoever said it: the body, `storage_upload_id`.
    map.shift_remove(UPLOAD);
    Ok(Misc { map, document_url })
}

/// The type in `storage_<type>_id`: what stands between the first and the second underscore.
fn stored_kind(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("storage_")?;
    // The original takes `storage_id` for the type `id`.
    (rest == "id" || rest.ends_with("_id")).then(|| rest.split('_').next()).flatten()
}

/// An id that can be one: a URL made with an empty id or a dot segment would lead elsewhere.
fn valid<'a>(name: &str, id: &'a str) -> Result<&'a str, Fault> {
    if matches!(id, "" | "." | "..") { Err(Fault::NotAnId(format!("{name}={id}"))) } else { Ok(id) }
}
