//! The one file of a form.

use crate::{fault::Fault, name::is_extension, paced::Paced, shelf::Content};
use bytes::Bytes;
use futures_util::stream;
use gateway_contract::{BoxError, Rejection};
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body::Body;
use multer::{Field, Multipart};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How much a form may hold beside its file, in bytes: the heads of its parts and the fields that are no files.
pub const MAX_FORM: u64 = 64 * 1024;
/// How many parts a form may have.
pub const MAX_PARTS: usize = 64;

/// A multipart form in which a file is looked for.
pub(crate) struct Form {
    parts: Multipart<'static>,
    /// How many parts there were.
    seen: usize,
    /// Shared with the body below: what came out of the parser.
    used: Arc<AtomicU64>,
    /// What fields that are no files may still hold.
    room: u64,
    /// The largest file.
    limit: u64,
}

impl Form {
    /// The form of a request. A body of another kind holds no file.
    pub(crate) fn new<B>(headers: &HeaderMap, body: B, limit: u64) -> Result<Self, Fault>
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or(Fault::NoFile)?;
        let boundary = match multer::parse_boundary(kind) {
            Err(multer::Error::NoMultipart) => return Err(Fault::NoFile),
            boundary => boundary?,
        };
        let used = Arc::<AtomicU64>::default();
        let parts = Multipart::new(Paced::new(body, used.clone()), boundary);
        Ok(Self { parts, seen: 0, used, room: MAX_FORM, limit })
    }

    /// The extension of the first file's name, if it is one that we take over, and the file. It ends with an error
    /// unless all that follows it in the form is there, and is no further file.
    pub(crate) async fn file(mut self) -> Result<(Option<String>, Content), Fault> {
        let file = self.next_file().await?.ok_or(Fault::NoFile)?;
        let extension = extension(&file).map(str::to_owned);
        let file = FileOf { form: self, file: Some(file), length: 0 };
        let content = stream::try_unfold(file, async |mut file| {
            let piece = file.next().await?;
            Ok::<_, Rejection>(piece.map(|piece| (piece, file)))
        });
        Ok((extension, Box::pin(content)))
    }

    /// The next part, whatever it is.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Field<'static>>, Fault> {
        let part = self.parts.next_field().await?;
        self.seen += 1;
        if part.is_some() && self.seen > MAX_PARTS {
            return Err(Fault::ManyParts);
        }
        Ok(part)
    }

    /// What is counted when a piece comes out of the parser, and the most that a file may hold.
    pub(crate) fn measures(&self) -> (Arc<AtomicU64>, u64) {
        (self.used.clone(), self.limit)
    }

    /// The next part that is a file; others are read and dropped.
    async fn next_file(&mut self) -> Result<Option<Field<'static>>, Fault> {
        while let Some(mut part) = self.next_part().await? {
            if is_file(&part) {
                return Ok(Some(part));
            }
            while let Some(piece) = self.piece(&mut part).await? {
                self.room = self.room.checked_sub(piece.len() as u64).ok_or(Fault::LargeForm)?;
            }
        }
        Ok(None)
    }

    pub(crate) async fn piece(&self, part: &mut Field<'static>) -> Result<Option<Bytes>, Fault> {
        let piece = part.chunk().await?;
        self.used.fetch_add(piece.as_ref().map_or(0, |piece| piece.len() as u64), Relaxed);
        Ok(piece)
    }
}

/// A browser sends an empty file name where no file was chosen.
pub(crate) fn is_file(part: &Field<'_>) -> bool {
    part.file_name().is_some_and(|name| !name.is_empty())
}

/// The extension of a file's name, if it is one that we take over.
pub(crate) fn extension<'a>(file: &'a Field<'_>) -> Option<&'a str> {
    let (_, extension) = file.file_name()?.rsplit_once('.')?;
    is_extension(extension).then_some(extension)
}

/// The file of a form, while it is read.
struct FileOf {
    form: Form,
    /// `None` once it was read to its end.
    file: Option<Field<'static>>,
    length: u64,
}

impl FileOf {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(file) = &mut self.file else { return Ok(None) };
        if let Some(piece) = self.form.piece(file).await? {
            self.length += piece.len() as u64;
            if self.length > self.form.limit {
                return Err(Fault::TooLarge { limit: self.form.limit });
            }
            return Ok(Some(piece));
        }
        self.file = None;
        match self.form.next_file().await? {
            Some(_) => Err(Fault::SeveralFiles),
            None => Ok(None),
        }
    }
}
