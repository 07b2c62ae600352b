//! Where files lie.

use bytes::Bytes;
use futures_util::Stream;
use gateway_contract::{BoxFuture, Rejection};
use std::{fmt, ops::Range, pin::Pin, time::SystemTime};

use crate::Name;

/// A file's bytes, on their way. An error ends it: what came before is not the whole file.
pub type Content = Pin<Box<dyn Stream<Item = Result<Bytes, Rejection>> + Send>>;

/// Keeps files by name, until they are too old or room is needed.
pub trait Shelf: Clone + Send + Sync + 'static {
    /// Keeps `content` as `name`, in place of what was there. Whoever asks for `name` meanwhile gets the old file or the
    /// new one, never a part. If `content` ends with an error, that is the error; then, and when the future is dropped,
    /// nothing is kept and the old file stays.
    fn put(&self, name: Name, content: Content) -> BoxFuture<Result<(), Rejection>>;
    /// The file of that name, if there is one.
    fn get(&self, name: Name) -> BoxFuture<Result<Option<Found>, Rejection>>;
}

/// A file that is there. It can be read as it is now even if it is replaced or removed meanwhile.
pub struct Found {
    /// Its length in bytes.
    pub length: u64,
    /// When it was put there.
    pub modified: SystemTime,
    /// Another for each content: letters, digits and `-` alone (it becomes the `ETag`).
    pub tag: String,
    /// Reads a range of it, which lies within `length`. Nothing is read before it is polled.
    pub read: Box<dyn FnOnce(Range<u64>) -> Content + Send>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("length", &self.length).field("tag", &self.tag).finish_non_exhaustive()
    }
}
