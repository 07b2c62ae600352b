//! What the gateway is asked, and how patiently.

use super::chain::{Chain, Given};
use gateway_celery::code::TABLE;
use gateway_outside::{Client, ExchangeFault, Reply, redact};
use gateway_worker::Failure;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

/// The largest answer that is read: a step's result is in it.
const LARGEST: usize = 8 << 20;
/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(60);
/// How long a gateway may be away, or have no room, before the step fails.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Between two tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(5)];
/// The longest message that is taken over, in characters.
const LONGEST: usize = 4096;

/// The gateway, as the owner of one chain reaches it.
pub(super) struct Door {
    client: Client,
    base: Url,
    token: Option<HeaderValue>,
}

/// An answer that is no refusal.
pub(super) enum Answer {
    /// What was asked for.
    Good(Value),
    /// Code 204: the worker has another version than is expected. It goes on.
    OtherVersion,
}

/// What a task of the gateway's is.
pub(super) struct State {
    pub(super) status: String,
    pub(super) result: Value,
}

impl Door {
    pub(super) fn new(client: Client, chain: &Chain) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::new("ValueError", format!("{what} is not what a gateway sets"));
        let base = Url::parse(&chain.gateway).map_err(|_| wrong("sg_url"))?;
        if base.cannot_be_a_base() {
            return Err(wrong("sg_url"));
        }
        let token = match &chain.token {
            Some(token) => {
                let mut token = HeaderValue::from_str(token).map_err(|_| wrong("sg_token"))?;
                token.set_sensitive(true);
                Some(token)
            }
            None => None,
        };
        Ok(Self { client, base, token })
    }

    /// Submits a step; gives its task's uuid. With the same key it is the same task, however often it is said.
    ///
    /// # Errors
    /// Where trying again would help it may have been accepted all the same.
    pub(super) async fn submit(&self, service: &str, given: &Given, key: &str) -> Result<String, Trouble> {
        let mut path = vec![service, "process"];
        path.extend(given.stored.as_deref());
        let mut url = self.url(&path);
        if !given.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&given.query);
        }
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = HeaderValue::from_str(key).map_err(|error| trouble(false, "ValueError", error.to_string()))?;
        headers.insert(HeaderName::from_static("idempotency-key"), key);
        let body = Value::Object(given.body.clone()).to_string().into_bytes();
        match self.patiently(Method::POST, url, headers, body).await? {
            Answer::Good(Value::Object(answer)) => answer.get("uuid").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        }
        .ok_or_else(|| trouble(false, "RuntimeError", "the gateway's answer holds no uuid".to_owned()))
    }

    /// What became of a task; `None` if the gateway cannot say it now, and the task goes on.
    pub(super) async fn state(&self, service: &str, uuid: &str) -> Result<Option<State>, Failure> {
        let mut url = self.url(&[service, "status"]);
        url.query_pairs_mut().append_pair("uuid", uuid);
        let asked = self.patiently(Method::GET, url, self.headers(), Vec::new()).await;
        let Answer::Good(mut answer) = asked.map_err(|trouble| trouble.failure)? else { return Ok(None) };
        let status = answer["status"].as_str().unwrap_or_default().to_owned();
        Ok(Some(State { status, result: answer["result"].take() }))
    }

    /// Cancels a task.
    pub(super) async fn cancel(&self, service: &str, uuid: &str) -> Result<(), Failure> {
        let mut url = self.url(&[service, "cancel"]);
        url.query_pairs_mut().append_pair("uuid", uuid);
        let asked = self.patiently(Method::POST, url, self.headers(), Vec::new()).await;
        asked.map(drop).map_err(|trouble| trouble.failure)
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn headers(&self) -> HeaderMap {
        self.token.iter().map(|token| (AUTHORIZATION, token.clone())).collect()
    }

    /// Asks again, for a while, what may pass: no answer, no room, the same submission under way.
    async fn patiently(&self, method: Method, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, Trouble> {
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSES[0];
        loop {
            let exchange = self.client.ask(method.clone(), url.as_str(), headers.clone(), body.clone(), LARGEST);
            match judge(exchange, &url).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble { passes: true, failure }) if Instant::now() < until => {
                    tracing::debug!(url = redact(url.as_str()), why = failure.message, "asked again in a moment");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES[1]);
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
}

/// Why there is no answer, or none that is good.
pub(super) struct Trouble {
    pub(super) failure: Failure,
    /// Trying again may help.
    pub(super) passes: bool,
}

fn trouble(passes: bool, class: &str, why: String) -> Trouble {
    Trouble { failure: Failure::new(class, why), passes }
}

async fn judge(exchange: impl Future<Output = Result<Reply, ExchangeFault>>, url: &Url) -> Result<Answer, Trouble> {
    let shown = redact(url.as_str());
    let reply = match timeout(EXCHANGE, exchange).await {
        Err(_) => return Err(trouble(true, "IOError", format!("{shown} did not answer in time"))),
        Ok(Err(fault @ (ExchangeFault::TimedOut { .. } | ExchangeFault::Network { .. }))) => {
            return Err(trouble(true, "IOError", fault.to_string()));
        }
        Ok(Err(fault @ ExchangeFault::Refused { .. })) => {
            let hint = "steps go to the gateway as its clients reach it: set server.public_url to that, here too";
            return Err(trouble(false, "DocumentUrlNotValidException", format!("{fault} ({hint})")));
        }
        Ok(Err(fault)) => return Err(trouble(false, "RuntimeError", fault.to_string())),
        Ok(Ok(reply)) => reply,
    };
    let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    if reply.status == 200 {
        return Ok(Answer::Good(answer));
    }
    let code = answer.pointer("/vesta/code").and_then(Value::as_u64).unwrap_or_default();
    if code == 204 {
        return Ok(Answer::OtherVersion);
    }
    let message = answer.pointer("/vesta/message").and_then(Value::as_str).unwrap_or("no reason was given");
    let passes = matches!(reply.status, 409 | 429) || reply.status >= 500;
    let why = format!("the gateway answered {}: {}", reply.status, cut(message));
    Err(trouble(passes, class_of(code), why))
}

/// The class of exceptions that has this code, so that the chain fails with the code that its step failed with.
pub(super) fn class_of(code: u64) -> &'static str {
    TABLE.iter().find(|(_, of)| u64::from(*of) == code).map_or("Exception", |(class, _)| class)
}

/// A message that is not ours, at a bearable length.
pub(super) fn cut(message: &str) -> String {
    message.chars().take(LONGEST).collect()
}
