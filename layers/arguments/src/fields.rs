//! Fields of a query and of forms.

use crate::fault::Fault;
use bytes::Bytes;
use futures_util::stream;
use percent_encoding::percent_decode;
use serde_json::{Map, Value, map::Entry};
use std::{convert::Infallible, future::ready};

/// How many fields query and form may hold together.
pub const MAX_FIELDS: usize = 1000;
/// How many parts a multipart form may have.
pub const MAX_PARTS: usize = 256;
/// The longest name of a field, in bytes.
pub const MAX_NAME: usize = 256;

/// Fields, each with its first value.
#[derive(Default)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Repeated ones count too: each costs us a look.
    seen: usize,
}

impl Fields {
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    fn add(&mut self, name: &str, value: impl FnOnce() -> String) -> Result<(), Fault> {
        self.seen += 1;
        if self.seen > MAX_FIELDS {
            return Err(Fault::TooManyFields);
        }
        if name.len() > MAX_NAME {
            return Err(Fault::LongName);
        }
        if let Entry::Vacant(free) = self.map.entry(name) {
            free.insert(Value::String(value()));
        }
        Ok(())
    }

    /// Adds what a query or a urlencoded form holds; `what` names it in the refusal.
    pub(crate) fn urlencoded(&mut self, text: &[u8], what: &'static str) -> Result<(), Fault> {
        // The parser would put U+FFFD for bytes that are no UTF-8, and nobody would know. `&`, `=` and `+` are ASCII,
        // so the whole is UTF-8 exactly if each name and value is.
        percent_decode(text).decode_utf8().map_err(|_| Fault::NotUtf8(what))?;
        form_urlencoded::parse(text).try_for_each(|(name, value)| self.add(&name, || value.into_owned()))
    }

    /// Adds what a multipart form holds: text, and no files.
    pub(crate) async fn multipart(&mut self, body: Bytes, boundary: String) -> Result<(), Fault> {
        // The whole body is here already, within its limit, so the parser needs none of its own.
        let once = stream::once(ready(Ok::<_, Infallible>(body)));
        let mut form = multer::Multipart::new(once, boundary);
        let mut parts = 0;
        while let Some(part) = form.next_field().await.map_err(Fault::form)? {
            parts += 1;
            if parts > MAX_PARTS {
                return Err(Fault::TooManyParts);
            }
            let name = part.name().ok_or(Fault::Unnamed)?.to_owned();
            if name.len() > MAX_NAME {
                return Err(Fault::LongName);
            }
            if part.file_name().is_some() {
                return Err(Fault::File(name));
            }
            let value = part.bytes().await.map_err(Fault::form)?;
            let value = String::from_utf8(value.into()).map_err(|_| Fault::NotText(name.clone()))?;
            self.add(&name, || value)?;
        }
        Ok(())
    }
}
