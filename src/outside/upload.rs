//! What is handed in: JSON, and files of any size.
//!
//! However long that takes, it goes on as long as something moves; how long it may take in all is the caller's to say.

use crate::{Client, ExchangeFault, Reply};
use futures_util::{Stream, StreamExt};
use reqwest::{
    Body, RequestBuilder,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, BufReader},
    select,
    time::{Instant, sleep_until},
};

/// What is sent at once, in bytes.
const CHUNK: usize = 64 << 10;
/// The kernel may hold so many bytes that we have handed to it, and takes no more before a good part of them is sent …
const BUFFERED: u64 = 4 << 20;
/// … which on the slowest link takes its time, in bytes a second.
const SLOWEST: u64 = 64 << 10;

impl Client {
    /// Hands in JSON (`POST`). The answer's body is not read.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn post_json(&self, url: &str, json: impl Into<Vec<u8>>) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let json: Vec<u8> = json.into();
        let size = json.len() as u64;
        let pieces: Vec<_> = json.chunks(CHUNK).map(|piece| Ok(piece.to_vec())).collect();
        let request = self.slow.post(url).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/json");
        self.send(request, size, futures_util::stream::iter(pieces), &shown, None).await
    }

    /// Hands in a file as it is at this moment (`PUT`, `application/octet-stream`). The answer's body is not read.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn put_file(&self, url: &str, file: &Path) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let (size, chunks) = chunks(file).await?;
        let request = self.slow.put(url).header(CONTENT_TYPE, "application/octet-stream");
        self.send(request, size, chunks, &shown, None).await
    }

    /// Hands in a file as it is at this moment, as the only field of a form (`POST`, `multipart/form-data`), under a
    /// `name` of letters, digits and dots; with one further header. Of the answer at most `limit` bytes are taken.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn post_file(
        &self,
        url: &str,
        file: &Path,
        name: &str,
        header: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let (size, chunks) = chunks(file).await?;
        // Nobody can put it into a file beforehand.
        let boundary = format!("{:016x}{:016x}", random(), random());
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = size + (head.len() + tail.len()) as u64;
        let one = |text: String| futures_util::stream::once(async move { Ok(text.into_bytes()) });
        let body = one(head).chain(chunks).chain(one(tail));
        let mut request = self.slow.post(url);
        request = request.header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.send(request, length, body, &shown, Some(limit)).await
    }

    /// Sends a request with a body of this size, for as long as it moves.
    async fn send(
        &self,
        request: RequestBuilder,
        size: u64,
        body: impl Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static,
        shown: &str,
        limit: Option<usize>,
    ) -> Result<Reply, ExchangeFault> {
        let sending = Duration::from_secs(size.min(BUFFERED) / SLOWEST);
        let clock = Clock::new(self.limits.stall_timeout + sending);
        let moves = clock.clone();
        let body = Body::wrap_stream(body.inspect(move |_| moves.moved()));
        select! {
            reply = self.exchange(request.header(CONTENT_LENGTH, size).body(body), shown, limit) => reply,
            () = clock.stalled() => Err(ExchangeFault::TimedOut { url: shown.to_owned() }),
        }
    }
}

/// Tells when nothing has moved for too long.
#[derive(Clone)]
struct Clock {
    last: Arc<Mutex<Instant>>,
    patience: Duration,
}

impl Clock {
    fn new(patience: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(Instant::now())), patience }
    }

    fn moved(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn stalled(&self) {
        loop {
            let due = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + self.patience;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// A file's size, and its bytes: no more than that, should it still grow.
async fn chunks(file: &Path) -> std::io::Result<(u64, impl Stream<Item = std::io::Result<Vec<u8>>> + Send + 'static)> {
    let file = File::open(file).await?;
    let size = file.metadata().await?.len();
    let reader = BufReader::with_capacity(CHUNK, file.take(size));
    let chunks = futures_util::stream::try_unfold(reader, async |mut reader| {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = (&mut reader).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, reader)))
    });
    Ok((size, chunks))
}

/// The standard library's hash keys are random, and another for each.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
