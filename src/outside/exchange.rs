//! Short exchanges: JSON asked for, JSON handed in, a file handed in.

use crate::{Client, policy::Fault, redact};
use futures_util::{Stream, StreamExt};
use reqwest::{
    Body, Method, RequestBuilder, Response,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap},
};
use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
};
use thiserror::Error;
use tokio::{
    fs::File,
    io::{AsyncReadExt, BufReader},
};
use url::Url;

/// What is read of a file at once, in bytes.
const CHUNK: usize = 64 << 10;

/// What a server answered. Any status is an answer; no redirect was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body, as far as it was asked for.
    pub body: Vec<u8>,
}

/// Why there is no answer. Messages show URLs as [`redact`] does.
#[derive(Debug, Error)]
pub enum ExchangeFault {
    /// The policy refuses the URL, or an address of its host.
    #[error("{url} cannot be used: {fault}")]
    Refused {
        /// What was to be used.
        url: String,
        /// Why not.
        fault: Fault,
    },
    /// No connection in time, or the server stopped speaking: trying again may help.
    #[error("{url} did not answer in time")]
    TimedOut {
        /// Who.
        url: String,
    },
    /// The answer is larger than it may be.
    #[error("{url} answered with more than {limit} bytes")]
    TooLarge {
        /// Who.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// No connection, or a broken one.
    #[error("{url} cannot be reached: {cause}")]
    Network {
        /// Who.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// The file that was to be handed in cannot be read.
    #[error("the file cannot be read: {0}")]
    File(#[from] std::io::Error),
}

impl Client {
    /// Asks for JSON (`GET`). Of the answer at most `limit` bytes are taken; a longer one is a fault.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn get_json(&self, url: &str, limit: usize) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        self.exchange(self.strict.get(url).header(ACCEPT, "application/json"), &shown, Some(limit)).await
    }

    /// Hands in JSON (`POST`). The answer's body is not read.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn post_json(&self, url: &str, json: impl Into<Vec<u8>>) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let request = self.strict.post(url).header(ACCEPT, "application/json");
        self.exchange(request.header(CONTENT_TYPE, "application/json").body(json.into()), &shown, None).await
    }

    /// Hands in a file as it is at this moment (`PUT`, `application/octet-stream`). The answer's body is not read.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn put_file(&self, url: &str, file: &Path) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let (size, chunks) = chunks(file).await?;
        let request = self.strict.put(url).header(CONTENT_TYPE, "application/octet-stream");
        self.exchange(request.header(CONTENT_LENGTH, size).body(Body::wrap_stream(chunks)), &shown, None).await
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
        let body = Body::wrap_stream(one(head).chain(chunks).chain(one(tail)));
        let mut request = self.strict.post(url).header(CONTENT_LENGTH, length).body(body);
        request = request.header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.exchange(request, &shown, Some(limit)).await
    }

    /// Sends a request with headers of the caller's, and asks for JSON. Of the answer at most `limit` bytes are taken; a
    /// longer one is a fault.
    ///
    /// # Errors
    /// [`ExchangeFault`].
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Reply, ExchangeFault> {
        let (url, shown) = self.admitted(url)?;
        let request = self.strict.request(method, url).header(ACCEPT, "application/json").headers(headers);
        self.exchange(request.body(body), &shown, Some(limit)).await
    }

    fn admitted(&self, url: &str) -> Result<(Url, String), ExchangeFault> {
        let shown = redact(url);
        match self.policy.fetched(url) {
            Ok(url) => Ok((url, shown)),
            Err(fault) => Err(ExchangeFault::Refused { url: shown, fault }),
        }
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
        shown: &str,
        limit: Option<usize>,
    ) -> Result<Reply, ExchangeFault> {
        let answer = request.headers(self.trace.clone()).send().await.map_err(|error| fault(shown, error))?;
        let status = answer.status().as_u16();
        let body = match limit {
            Some(limit) => read(answer, shown, limit).await?,
            None => Vec::new(),
        };
        Ok(Reply { status, body })
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

async fn read(answer: Response, shown: &str, limit: usize) -> Result<Vec<u8>, ExchangeFault> {
    let mut body = Vec::new();
    let mut chunks = answer.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| fault(shown, error))?;
        if body.len() + chunk.len() > limit {
            return Err(ExchangeFault::TooLarge { url: shown.to_owned(), limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A fault from reqwest, without the URL; our own refusals, which come through it from the resolver, are taken out.
fn fault(shown: &str, error: reqwest::Error) -> ExchangeFault {
    let url = shown.to_owned();
    if error.is_timeout() {
        return ExchangeFault::TimedOut { url };
    }
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
        if let Some(fault) = innermost.downcast_ref::<Fault>() {
            return ExchangeFault::Refused { url, fault: fault.clone() };
        }
    }
    ExchangeFault::Network { url, cause: innermost.to_string() }
}
