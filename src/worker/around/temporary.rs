//! A program's files to the gateway's temporary files, where no storage service is named.

use super::{Failed, patiently, upload::OutputFile};
use gateway_outside::{Client, redact};
use serde_json::{Value, json};
use std::{fmt, future::Future, path::Path, pin::Pin};

/// The longest answer that is read: a URL.
const ANSWER: usize = 8 << 10;
/// The header that the workers' shared key is sent in.
const KEY: &str = "x-service-key";

/// Keeps files where clients can fetch them.
pub trait KeepFiles: fmt::Debug + Send + Sync {
    /// Keeps this file; `extension` (letters and digits) tells its format. Gives its URL, or what went wrong.
    fn keep<'a>(
        &'a self,
        file: &'a Path,
        extension: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;
}

/// The temporary files of a gateway elsewhere, over HTTP.
#[derive(Clone)]
pub struct GatewayFiles {
    client: Client,
    url: String,
    key: Option<String>,
}

impl GatewayFiles {
    /// Those of the gateway that clients reach at `public_url`, with the workers' `auth.shared_key` if it has one.
    pub fn new(client: Client, public_url: &str, key: Option<String>) -> Self {
        Self { client, url: format!("{}/temporary_file", public_url.trim_end_matches('/')), key }
    }
}

impl fmt::Debug for GatewayFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayFiles").field("url", &redact(&self.url)).finish_non_exhaustive()
    }
}

impl KeepFiles for GatewayFiles {
    fn keep<'a>(
        &'a self,
        file: &'a Path,
        extension: Option<&'a str>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let header = self.key.as_deref().map(|key| (KEY, key));
            let name = extension.map_or_else(|| "file".to_owned(), |extension| format!("file.{extension}"));
            let reply = patiently(|| self.client.post_file(&self.url, file, &name, header, ANSWER)).await;
            let reply = reply.map_err(|fault| fault.to_string())?;
            match (reply.status, String::from_utf8(reply.body)) {
                (201, Ok(url)) => Ok(url.trim().to_owned()),
                (401 | 403, _) => Err(format!(
                    "{} refused it: give this worker the gateway's auth.shared_key, and make \"upload\" one of the \
                     verbs that it opens",
                    redact(&self.url)
                )),
                (status, _) => Err(format!("{} answered {status}", redact(&self.url))),
            }
        })
    }
}

/// Hands one file in; gives what the result says of it.
///
/// # Errors
/// `UploadError`.
pub(super) async fn keep(files: &dyn KeepFiles, file: &OutputFile) -> Result<Value, Failed> {
    let extension = file.name.rsplit_once('.').map(|(_, extension)| extension);
    let plain = |text: &&str| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let kept = files.keep(&file.path, extension.filter(plain)).await;
    let url = kept.map_err(|why| Failed::upload(format!("the file {:?} was not stored: {why}", file.name)))?;
    Ok(json!({ "name": file.name, "url": url }))
}
