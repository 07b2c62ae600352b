//! A file on its way out.

use super::{Directory, Fault, blocking};
use bytes::Bytes;
use futures_util::stream;
use gateway_files::{Content, Found, Name};
use std::{
    fs::{self, File, Metadata},
    io::ErrorKind,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    sync::Arc,
};

/// How many bytes are read at once.
const PIECE: u64 = 128 * 1024;

impl Directory {
    /// The file of that name. Once open it can be read to its end, whatever becomes of its name.
    pub(super) fn open(&self, name: &Name) -> Result<Option<Found>, Fault> {
        let path = self.whole(name);
        // A link, a pipe: what is no file is none of ours, and not even opened.
        let opened =
            fs::symlink_metadata(&path).and_then(|facts| facts.is_file().then(|| File::open(&path)).transpose());
        let file = match opened {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let facts = file.metadata()?;
        let modified = facts.modified()?;
        if self.is_too_old(modified) {
            return Ok(None);
        }
        let file = Arc::new(file);
        let read = Box::new(move |range| content(file, range));
        Ok(Some(Found { length: facts.len(), modified, tag: tag(&facts), read }))
    }
}

/// Another for each content: each was put there as a file of its own, at a time of its own.
fn tag(facts: &Metadata) -> String {
    format!("{:x}-{:x}-{:x}-{:x}", facts.mtime(), facts.mtime_nsec(), facts.len(), facts.ino())
}

fn content(file: Arc<File>, range: Range<u64>) -> Content {
    Box::pin(stream::try_unfold((file, range), async |(file, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let (own, from) = (file.clone(), range.clone());
        let piece = blocking(move || piece(&own, from)).await?;
        let next = range.start + piece.len() as u64..range.end;
        Ok(Some((piece, (file, next))))
    }))
}

/// The first bytes of a range, which is not empty: some at least.
fn piece(file: &File, range: Range<u64>) -> Result<Bytes, Fault> {
    // Not above PIECE.
    let length = (range.end - range.start).min(PIECE) as usize;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}
