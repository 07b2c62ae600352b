//! The form of a workflow: fields, and files that are kept.

use crate::{
    Name, Shelf,
    fault::Fault,
    form::{Form, extension, is_file},
    shelf::Content,
    url,
};
use bytes::Bytes;
use futures_util::stream;
use gateway_contract::{Arguments, Rejection, Upload};
use multer::Field;
use serde_json::{Value, map::Entry};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// The longest name of a field, in bytes.
const MAX_FIELD: usize = 256;

/// Adds what the form holds to `arguments`; its files are on the shelf then. Fields of the query, which are there
/// already, win.
pub(crate) async fn read<F: Shelf>(
    mut form: Form,
    shelf: &F,
    place: &str,
    mut room: u64,
    mut arguments: Arguments,
) -> Result<Arguments, Rejection> {
    let max_form = room;
    while let Some(mut part) = form.next_part().await? {
        let field = part.name().ok_or(Fault::Unnamed)?.to_owned();
        if field.len() > MAX_FIELD {
            return Err(Fault::LongName.into());
        }
        if is_file(&part) {
            if arguments.uploads.iter().any(|upload| upload.field == field) {
                return Err(Fault::Twice(field).into());
            }
            let name = Name::unguessable(extension(&part));
            let (content, digest) = content(&form, part);
            shelf.put(name.clone(), content).await?;
            arguments.uploads.push(Upload { field, url: url(place, &name), digest: digest.hex() });
            continue;
        }
        let mut text = Vec::new();
        while let Some(piece) = form.piece(&mut part).await? {
            room = room.checked_sub(piece.len() as u64).ok_or(Fault::LargeFields { limit: max_form })?;
            text.extend_from_slice(&piece);
        }
        let text = String::from_utf8(text).map_err(|_| Fault::NotText(field.clone()))?;
        if let Entry::Vacant(free) = arguments.fields.entry(field) {
            free.insert(Value::String(text));
        }
    }
    Ok(arguments)
}

/// What is in a file, as far as it was read.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Sha256>>);

impl Seen {
    fn take(&self, piece: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).update(piece);
    }

    fn hex(&self) -> String {
        let digest = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize();
        digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// A file on its way to the shelf.
struct File {
    part: Field<'static>,
    used: Arc<AtomicU64>,
    length: u64,
    limit: u64,
    seen: Seen,
}

fn content(form: &Form, part: Field<'static>) -> (Content, Seen) {
    let (used, limit) = form.measures();
    let seen = Seen::default();
    let file = File { part, used, length: 0, limit, seen: seen.clone() };
    let content = stream::try_unfold(file, async |mut file| {
        let piece = file.next().await?;
        Ok::<_, Rejection>(piece.map(|piece| (piece, file)))
    });
    (Box::pin(content), seen)
}

impl File {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(piece) = self.part.chunk().await? else { return Ok(None) };
        self.used.fetch_add(piece.len() as u64, Relaxed);
        self.length += piece.len() as u64;
        if self.length > self.limit {
            return Err(Fault::TooLarge { limit: self.limit });
        }
        self.seen.take(&piece);
        Ok(Some(piece))
    }
}
