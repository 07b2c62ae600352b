//! What the server refuses by itself, before any layer sees the request.

use bytes::Bytes;
use gateway_contract::code;
use http::{HeaderValue, Response, StatusCode, header};

/// A refusal with a fixed text; the envelope is that of the HTTP contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: u16,
    /// Plain text without anything that JSON escapes (a test holds every one to that).
    text: &'static str,
    retry_after: bool,
}

impl Refusal {
    const fn bad(text: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: code::NONE, text, retry_after: false }
    }

    const fn later(code: u16, text: &'static str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code, text, retry_after: true }
    }

    /// `Content-Length` beside `Transfer-Encoding`.
    pub(crate) const FRAMING: Self =
        Self::bad("a request has either Content-Length or Transfer-Encoding, not both (RFC 9112, 6.3)");
    /// HTTP/1.1 without `Host`, or with several, or with one that is no host.
    pub(crate) const HOST: Self = Self::bad("a request names its host once, as host or host:port (RFC 9112, 3.2)");
    /// `CONNECT`, or a target that is no path.
    pub(crate) const TARGET: Self = Self::bad("a request names a path that begins with a slash");
    /// A length above `max_body`.
    pub(crate) const TOO_LARGE: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: code::TOO_LARGE,
        text: "the body is larger than this server takes",
        retry_after: false,
    };
    /// Our answer is not there in time.
    pub(crate) const SLOW: Self = Self::later(
        code::UNAVAILABLE,
        "no answer in time. A submission may have been accepted: retry it with the same Idempotency-Key",
    );
    /// More than `max_concurrency` requests at once.
    pub(crate) const BUSY: Self = Self::later(code::TOO_MANY, "too many requests at once: retry in a second");
    /// More connections than are kept.
    pub(crate) const CROWDED: Self = Self::later(code::TOO_MANY, "too many connections: retry in a second");

    /// Seconds for `Retry-After`.
    const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

    /// The envelope. `id` holds nothing that JSON escapes: it was made or judged by `request_id`.
    pub(crate) fn json(&self, id: &HeaderValue) -> Bytes {
        let (status, code, text) = (self.status.as_u16(), self.code, self.text);
        let id = id.to_str().unwrap_or_default();
        format!(
            r#"{{"status":{status},"description":"{text}","vesta":{{"code":{code},"message":"{text}"}},"request_id":"{id}"}}"#
        )
        .into()
    }

    /// The whole answer, but for `x-request-id`.
    pub(crate) fn response(&self, id: &HeaderValue) -> Response<Bytes> {
        let mut response = Response::new(self.json(id));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry_after {
            headers.insert(header::RETRY_AFTER, Self::RETRY_AFTER);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn every_envelope_is_json_that_says_what_the_status_says() {
        let id = HeaderValue::from_static("a-1");
        use Refusal as R;
        for refusal in [R::FRAMING, R::HOST, R::TARGET, R::TOO_LARGE, R::SLOW, R::BUSY, R::CROWDED] {
            let response = refusal.response(&id);
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            let vesta = json!({"code": refusal.code, "message": refusal.text});
            let status = response.status().as_u16();
            assert_eq!(
                body,
                json!({"status": status, "description": refusal.text, "vesta": vesta, "request_id": "a-1"})
            );
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503);
        }
    }
}
