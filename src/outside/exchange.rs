//! Short exchanges: a question, and an answer that fits into memory.

use crate::{Client, policy::Fault, redact};
use futures_util::StreamExt;
use reqwest::{
    Method, RequestBuilder, Response,
    header::{ACCEPT, HeaderMap},
};
use thiserror::Error;
use url::Url;

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

    pub(crate) fn admitted(&self, url: &str) -> Result<(Url, String), ExchangeFault> {
        let shown = redact(url);
        match self.policy.fetched(url) {
            Ok(url) => Ok((url, shown)),
            Err(fault) => Err(ExchangeFault::Refused { url: shown, fault }),
        }
    }

    pub(crate) async fn exchange(
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
