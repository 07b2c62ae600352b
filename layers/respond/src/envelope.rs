//! A refusal as data: the error envelope, and the headers that go with it.

use crate::asked::Asked;
use gateway_contract::{BoxError, Refusal, Reply, View, data};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use std::error::Error;

/// How deep a chain of causes is followed: far deeper than any real one.
const CAUSES_MAX: usize = 16;

/// The answer that tells a refusal.
pub(crate) fn render<R>(refusal: &Refusal, asked: &Asked) -> Reply<R> {
    let mut reply = data(envelope(refusal, asked).to_string(), View::Error);
    *reply.status_mut() = refusal.status;
    let headers = reply.headers_mut();
    if let Some(seconds) = refusal.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(allow) = refusal.allow.and_then(|methods| HeaderValue::from_str(methods).ok()) {
        headers.insert(header::ALLOW, allow);
    }
    if refusal.status == StatusCode::UNAUTHORIZED {
        // RFC 9110, 11.6.1: a 401 always names a challenge.
        let challenge = HeaderValue::from_static(r#"Bearer realm="service-gateway""#);
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// `description` and `vesta.message` say the same: clients of the original read the one or the other. Where there is no
/// more to say than the status does, the first is its name and the second is empty.
fn envelope(refusal: &Refusal, asked: &Asked) -> Value {
    let mut envelope = Map::new();
    envelope.insert("status".into(), refusal.status.as_u16().into());
    let description = match refusal.detail.as_str() {
        "" => refusal.status.canonical_reason().unwrap_or_default(),
        detail => detail,
    };
    envelope.insert("description".into(), description.into());
    envelope.insert("vesta".into(), json!({ "code": refusal.code, "message": refusal.detail }));
    if let Some(id) = asked.request_id() {
        envelope.insert("request_id".into(), id.into());
    }
    if asked.debug && refusal.cause.is_some() {
        let causes: Vec<String> = causes(refusal.cause.as_ref()).map(ToString::to_string).collect();
        envelope.insert("cause".into(), causes.into());
    }
    if asked.debug {
        envelope.insert("made_at".into(), refusal.made_at.to_string().into());
    }
    Value::Object(envelope)
}

/// The cause, its cause, and so on.
pub(crate) fn causes(cause: Option<&BoxError>) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first = cause.map(|cause| cause.as_ref() as &(dyn Error + 'static));
    std::iter::successors(first, |&cause| cause.source()).take(CAUSES_MAX)
}
