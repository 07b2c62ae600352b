//! The last step: an answer of ours in the format that its client prefers, and without its body if only the head was
//! asked for.

use crate::{asked::Asked, format::Format, html, xml};
use gateway_contract::{Body, BoxError, Reply, View};
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const XML: HeaderValue = HeaderValue::from_static("application/xml");

/// Shows the data of `reply` in the format that is asked for. Data that is not what its view promises, or that XML
/// cannot be made of, stays JSON.
pub(crate) fn show<R>(reply: &mut Reply<R>, asked: &Asked) {
    let Body::Data { json: Some(json), view } = reply.body() else { return };
    let view = *view;
    let (shown, media_type) = match asked.formats.for_view(view) {
        Format::Json => (None, None),
        Format::Xml => (told(xml::write(json, root(view)).map_err(Into::into), view), Some(XML)),
        Format::Html => {
            let page = html::page(json, view, reply.status(), reply.headers(), asked);
            (told(page.map(String::into_bytes), view), Some(HTML))
        }
    };
    let headers = reply.headers_mut();
    if matches!(view, View::Info | View::Stats | View::Needs) {
        // What else is negotiated is not stored anyway.
        headers.append(header::VARY, HeaderValue::from_static("accept"));
    }
    let (Some(shown), Some(media_type)) = (shown, media_type) else { return };
    if media_type == HTML {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(html::POLICY));
    }
    headers.insert(header::CONTENT_TYPE, media_type);
    *reply.body_mut() = Body::Plain { bytes: Some(shown.into()) };
}

/// The root element of an XML document.
fn root(view: View) -> &'static str {
    match view {
        View::Error => "error",
        _ => "process_status",
    }
}

/// What came out, or a line in the log.
fn told(shown: Result<Vec<u8>, BoxError>, view: View) -> Option<Vec<u8>> {
    shown.inspect_err(|error| tracing::debug!(?view, %error, "shown as JSON, for it cannot be shown as asked")).ok()
}

/// Leaves the head alone, with the length of the body that `GET` would get. Not every server does that for us (over
/// HTTP/2 hyper sends what it is given).
pub(crate) fn behead<R>(reply: &mut Reply<R>) {
    let length = match reply.body() {
        Body::Data { json: bytes, .. } | Body::Plain { bytes } => {
            Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
        }
        Body::Stream { stream } => stream.size_hint().exact(),
        Body::Inner { .. } => return,
    };
    // RFC 9110, 8.6: a 204 has no such header, and that of a 304 would be the file's.
    let tells = !matches!(reply.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length.filter(|_| tells) {
        reply.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    *reply.body_mut() = Body::Plain { bytes: None };
}
