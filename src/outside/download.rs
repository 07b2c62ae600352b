//! A document from its URL into a file.

use crate::{Client, policy::Fault, redact};
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use std::{path::Path, time::Duration};
use thiserror::Error;
use tokio::{fs::OpenOptions, io::AsyncWriteExt, time::Instant};
use url::Url;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The file's size.
    pub bytes: u64,
    /// `Content-Type`, as the server says it.
    pub content_type: Option<String>,
    /// The last segment of the URL's path (after redirects), decoded, with nothing but letters, digits and `._-`.
    pub file_name: Option<String>,
}

/// Why a document did not come. Messages show URLs as [`redact`] does.
#[derive(Debug, Error)]
pub enum DownloadFault {
    /// The policy refuses the URL, an address of its host, or a redirect of its server.
    #[error("{url} cannot be fetched: {fault}")]
    Refused {
        /// What was to be fetched.
        url: String,
        /// Why not.
        fault: Fault,
    },
    /// The server answered, but not with the document.
    #[error("{url} cannot be fetched: the server answered {status}")]
    Status {
        /// What was to be fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The document is larger than it may be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was to be fetched.
        url: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The deadline passed.
    #[error("{url} did not come before its deadline")]
    Deadline {
        /// What was to be fetched.
        url: String,
    },
    /// No connection, a broken one, or one that stalled.
    #[error("{url} cannot be fetched: {cause}")]
    Network {
        /// What was to be fetched.
        url: String,
        /// What the network said.
        cause: String,
    },
    /// The file could not be written.
    #[error("the document cannot be kept: {0}")]
    File(#[from] std::io::Error),
}

impl DownloadFault {
    /// Whether trying again may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Status { status: 500..=599, .. })
    }
}

impl Client {
    /// Fetches `url` into the file `to`, which is made or emptied first.
    ///
    /// At most `max_bytes`; everything, retries included, before `deadline`. `on_progress` hears the bytes so far and,
    /// if the server tells it, the whole; it starts again from 0 when a download is tried again. After a fault the
    /// file holds whatever had come.
    ///
    /// # Errors
    /// [`DownloadFault`].
    pub async fn download(
        &self,
        url: &str,
        to: &Path,
        max_bytes: u64,
        deadline: Instant,
        mut on_progress: impl FnMut(u64, Option<u64>) + Send,
    ) -> Result<Downloaded, DownloadFault> {
        let shown = redact(url);
        let refused = |fault| DownloadFault::Refused { url: shown.clone(), fault };
        let admitted = self.policy.fetched(url).map_err(refused)?;
        let tries = self.with_retries(admitted, &shown, to, max_bytes, &mut on_progress);
        match tokio::time::timeout_at(deadline, tries).await {
            Ok(result) => result,
            Err(_) => Err(DownloadFault::Deadline { url: shown.clone() }),
        }
    }

    async fn with_retries(
        &self,
        url: Url,
        shown: &str,
        to: &Path,
        max_bytes: u64,
        on_progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<Downloaded, DownloadFault> {
        let mut failed = 0;
        loop {
            match self.once(url.clone(), shown, to, max_bytes, on_progress).await {
                Err(fault) if fault.may_pass() && failed < self.limits.retries => {
                    let wait = back_off(self.limits.back_off, failed);
                    failed += 1;
                    tracing::info!(%fault, failed, ?wait, "a download is tried again");
                    tokio::time::sleep(wait).await;
                }
                result => return result,
            }
        }
    }

    async fn once(
        &self,
        url: Url,
        shown: &str,
        to: &Path,
        max_bytes: u64,
        on_progress: &mut (impl FnMut(u64, Option<u64>) + Send),
    ) -> Result<Downloaded, DownloadFault> {
        let too_large = || DownloadFault::TooLarge { url: shown.to_owned(), limit: max_bytes };
        let answer =
            self.http.get(url).headers(self.trace.clone()).send().await.map_err(|error| network(shown, error))?;
        if !answer.status().is_success() {
            return Err(DownloadFault::Status { url: shown.to_owned(), status: answer.status().as_u16() });
        }
        let total = answer.content_length();
        if total.is_some_and(|total| total > max_bytes) {
            return Err(too_large());
        }
        let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let file_name = file_name(answer.url());
        // A document may be private; where it is put, others may look.
        let mut open = OpenOptions::new();
        let mut file = open.write(true).create(true).truncate(true).mode(0o600).open(to).await?;
        let mut bytes = 0;
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| network(shown, error))?;
            bytes += chunk.len() as u64;
            if bytes > max_bytes {
                return Err(too_large());
            }
            file.write_all(&chunk).await?;
            on_progress(bytes, total);
        }
        file.flush().await?;
        Ok(Downloaded { bytes, content_type, file_name })
    }
}

/// The wait after `failed` failures before the one that calls for it: doubled each time, at most a minute.
fn back_off(first: Duration, failed: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failed)).min(Duration::from_secs(60))
}

/// A fault from reqwest, without the URL (it may hold credentials), told by its innermost cause; our own refusals,
/// which travel through it from resolver and redirects, are taken out again.
fn network(shown: &str, error: reqwest::Error) -> DownloadFault {
    let url = shown.to_owned();
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
        if let Some(fault) = innermost.downcast_ref::<Fault>() {
            return DownloadFault::Refused { url, fault: fault.clone() };
        }
    }
    let cause = match (timed_out, error.is_connect()) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => "the server stopped sending".to_owned(),
        (false, true) => format!("no connection: {innermost}"),
        (false, false) => innermost.to_string(),
    };
    DownloadFault::Network { url, cause }
}

/// The last segment of the path, with nothing in it that means something to a file system or a shell.
fn file_name(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    let clean: String = decoded.chars().filter(|c| c.is_alphanumeric() || "._-".contains(*c)).take(100).collect();
    (!clean.trim_matches('.').is_empty()).then(|| clean.trim_start_matches('.').to_owned())
}

/// The extension of the document at `url`, without the dot: programs tell formats by it. `None` unless it is one to
/// ten ASCII letters and digits.
///
/// ```
/// use gateway_outside::extension;
/// assert_eq!(extension("http://example.org/a/talk.wav?x=y.z"), Some("wav".to_owned()));
/// assert_eq!(extension("http://example.org/talk"), None);
/// ```
pub fn extension(url: &str) -> Option<String> {
    let name = file_name(&Url::parse(url).ok()?)?;
    let (_, extension) = name.rsplit_once('.')?;
    let fits = (1..=10).contains(&extension.len()) && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| extension.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_harmless() {
        for (url, name) in [
            ("http://h/a/b.wav", Some("b.wav")),
            ("http://h/a/b%20c.tar.gz?d", Some("bc.tar.gz")),
            ("http://h/..%2F..%2Fetc%2Fpasswd", Some("etcpasswd")),
            ("http://h/%2e%2e%2e", None),
            ("http://h/.profile", Some("profile")),
            ("http://h/", None),
        ] {
            assert_eq!(file_name(&Url::parse(url).unwrap()).as_deref(), name, "{url}");
        }
        assert_eq!(extension("http://h/x.a%2Fb"), Some("ab".into()));
        assert_eq!(extension("http://h/x.extensiontoolong"), None);
        assert_eq!(extension("http://h/x.é"), None);
        assert_eq!(extension("http://h/x."), None);
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_we_connect() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://localhost:{}/x", listener.local_addr().unwrap().port())).unwrap();
        let client = Client::new(crate::Policy::default(), crate::Limits::default()).unwrap();
        let nowhere = Path::new("/nonexistent/document");
        match client.once(url, "shown", nowhere, 1, &mut |_, _| ()).await {
            Err(DownloadFault::Refused { fault: Fault::NotAllowed(why), .. }) => assert!(why.contains("localhost")),
            other => panic!("{other:?}"),
        }
        listener.into_std().unwrap().accept().expect_err("nobody may have connected");
    }

    #[test]
    fn waits_longer_each_time_and_not_for_ever() {
        let first = Duration::from_millis(500);
        assert_eq!([0, 1, 2].map(|n| back_off(first, n).as_millis()), [500, 1000, 2000]);
        assert_eq!(back_off(first, u32::MAX), Duration::from_secs(60));
    }
}
