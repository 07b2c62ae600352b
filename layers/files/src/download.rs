//! A file as an answer: whole, in part, or not again.

use crate::{
    Content, Found, Name, kind,
    range::{self, Asked},
};
use bytes::Bytes;
use gateway_contract::{Body, BoxError, Rejection, Reply, Side, code};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The last second that a header can tell: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// What tells whether a client has the same file.
struct Validators {
    etag: String,
    /// In whole seconds, as a header has it.
    modified: SystemTime,
}

/// The answer to a question for a file that is there.
pub(crate) fn answer<R>(
    name: &Name,
    found: Found,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Reply<R>, Rejection> {
    let since = found.modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST));
    let validators =
        Validators { etag: format!("\"{}\"", found.tag), modified: UNIX_EPOCH + Duration::from_secs(since) };
    if !validators.are_wanted_by(headers) {
        let detail = "the file is another than the one that was asked for (If-Match, If-Unmodified-Since)";
        return Err(Rejection::new(StatusCode::PRECONDITION_FAILED, code::NONE, Side::Client, detail));
    }
    let length = found.length;
    let mut reply = if validators.are_known_to(headers) {
        of_status(StatusCode::NOT_MODIFIED)
    } else {
        match validators.asked(method, headers, length) {
            Asked::Whole => streamed((found.read)(0..length), length),
            Asked::Part(range) => {
                let told = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                let mut reply = streamed((found.read)(range.clone()), range.end - range.start);
                *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
                put(&mut reply, header::CONTENT_RANGE, &told);
                reply
            }
            Asked::Beyond => {
                let mut reply = of_status(StatusCode::RANGE_NOT_SATISFIABLE);
                put(&mut reply, header::CONTENT_RANGE, &format!("bytes */{length}"));
                return Ok(reply);
            }
        }
    };
    put(&mut reply, header::ETAG, &validators.etag);
    put(&mut reply, header::LAST_MODIFIED, &httpdate::fmt_http_date(validators.modified));
    put(&mut reply, header::CACHE_CONTROL, "no-cache");
    if reply.status() != StatusCode::NOT_MODIFIED {
        describe(&mut reply, name);
    }
    Ok(reply)
}

/// What it is, and that a browser may not make more of it.
fn describe<R>(reply: &mut Reply<R>, name: &Name) {
    let (kind, harmless) = kind::of(name.extension());
    put(reply, header::CONTENT_TYPE, kind);
    put(reply, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(reply, header::ACCEPT_RANGES, "bytes");
    if !harmless {
        put(reply, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
        put(reply, header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox");
    }
}

impl Validators {
    /// Is it what the client will have at all? (RFC 9110, 13.1.1 and 13.1.4: tags are compared strongly, and only without
    /// one the time counts.)
    fn are_wanted_by(&self, headers: &HeaderMap) -> bool {
        let mut tags = headers.get_all(header::IF_MATCH).iter().peekable();
        if tags.peek().is_some() {
            let same = |list: &str| list.split(',').map(str::trim).any(|tag| tag == "*" || tag == self.etag);
            return tags.filter_map(|list| list.to_str().ok()).any(same);
        }
        time(headers, header::IF_UNMODIFIED_SINCE).is_none_or(|since| self.modified <= since)
    }

    /// Does the client have this very file? (RFC 9110, 13.2.2: the tag counts, and only without one the time.)
    fn are_known_to(&self, headers: &HeaderMap) -> bool {
        let mut tags = headers.get_all(header::IF_NONE_MATCH).iter().peekable();
        if tags.peek().is_some() {
            let weak = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == self.etag;
            let same = |list: &str| list.split(',').map(str::trim).any(|tag| tag == "*" || weak(tag));
            return tags.filter_map(|list| list.to_str().ok()).any(same);
        }
        time(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| self.modified <= since)
    }

    /// What of the file is asked for.
    fn asked(&self, method: &Method, headers: &HeaderMap, length: u64) -> Asked {
        let mut ranges = headers.get_all(header::RANGE).iter();
        let (Some(range), None) = (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) else {
            return Asked::Whole;
        };
        // RFC 9110, 14.2: it is defined for GET alone.
        if method == Method::GET && self.are_those_of(headers) { range::read(range, length) } else { Asked::Whole }
    }

    /// Does a condition on the range hold, if there is one? (RFC 9110, 13.1.5: weak tags never match.)
    fn are_those_of(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(header::IF_RANGE) else { return true };
        condition.as_bytes() == self.etag.as_bytes() || time(headers, header::IF_RANGE) == Some(self.modified)
    }
}

fn time(headers: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn of_status<R>(status: StatusCode) -> Reply<R> {
    let mut reply = Response::new(Body::Plain { bytes: None });
    *reply.status_mut() = status;
    reply
}

fn streamed<R>(content: Content, length: u64) -> Reply<R> {
    Response::new(Body::Stream { stream: OfLength { content, left: length }.boxed_unsync() })
}

/// All that is told here is ASCII: names, numbers and our own words. (A tag of a shelf that is not is left out.)
fn put<R>(reply: &mut Reply<R>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// A content of a known length.
struct OfLength {
    content: Content,
    left: u64,
}

impl http_body::Body for OfLength {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.content.as_mut().poll_next(cx)) {
            Some(Ok(piece)) if piece.len() as u64 <= self.left => {
                self.left -= piece.len() as u64;
                Ok(Frame::data(piece))
            }
            Some(Err(rejection)) => Err(rejection.into()),
            Some(Ok(_)) | None => Err("the file has another length than it had".into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
