//! Asks a gateway.

use serde_json::Value;
use std::time::Duration;

/// An answer that takes longer is none.
const DEADLINE: Duration = Duration::from_secs(30);
/// No answer of a gateway is larger; results are bounded by their workers.
const LARGEST: usize = 64 << 20;

/// Why there is no answer.
pub(in crate::cli) struct Failed {
    why: String,
    /// It may be another time: the gateway is away or busy, or a worker of another version has the task (code 204).
    pub(in crate::cli) passing: bool,
}

impl Failed {
    fn new(why: String, passing: bool) -> Self {
        Self { why, passing }
    }
}

impl From<Failed> for String {
    fn from(failed: Failed) -> Self {
        failed.why
    }
}

/// One gateway, asked over HTTP.
pub(in crate::cli) struct Http {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Http {
    pub(in crate::cli) fn new(base: &str, token: Option<String>) -> Result<Self, String> {
        let client = gateway_outside::plain_client(DEADLINE).map_err(|error| error.to_string())?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned(), token })
    }

    /// Submits a form to a service and gives the task's uuid.
    pub(in crate::cli) async fn submit(&self, service: &str, form: &[(String, String)]) -> Result<String, String> {
        let answer = self.post(&format!("{}/annotate", segment(service)), form).await?;
        answer["uuid"].as_str().map(str::to_owned).ok_or_else(|| format!("no uuid in the answer: {answer}"))
    }

    pub(in crate::cli) async fn get(&self, path: &str) -> Result<Value, String> {
        Ok(self.look(path).await?)
    }

    /// As [`Http::get`], for whoever would ask again.
    pub(in crate::cli) async fn look(&self, path: &str) -> Result<Value, Failed> {
        self.ask(self.client.get(self.url(path))).await
    }

    pub(in crate::cli) async fn post(&self, path: &str, form: &[(String, String)]) -> Result<Value, String> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        Ok(self.ask(request.body(body)).await?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, Failed> {
        let request = request.header("accept", "application/json");
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let unreachable = |error: reqwest::Error| Failed::new(format!("{}: {}", self.base, reason(&error)), true);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(Failed::new(format!("the answer is larger than {LARGEST} bytes"), false));
            }
        }
        let no_json = |_| Failed::new(format!("{status}, and no JSON: is it a gateway?"), status.is_server_error());
        let answer: Value = serde_json::from_slice(&body).map_err(no_json)?;
        if status.is_success() {
            return Ok(answer);
        }
        let said = answer["vesta"]["message"].as_str().unwrap_or("no reason given");
        let code = &answer["vesta"]["code"];
        let passing = status.is_server_error() || code == gateway_contract::code::VERSION_MISMATCH;
        Err(Failed::new(format!("{status}, code {code}: {said}"), passing))
    }
}

/// The innermost reason: the outer ones only say that a request failed.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A text as one segment of a path or one value of a query.
pub(in crate::cli) fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
