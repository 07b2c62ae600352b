//! What the span of a request says of it.

use gateway_contract::{Base, Place, Span, Target, TraceContext, Verb, span, target};
use http::{HeaderName, Method, Request, Version, header};
use tracing::field::Empty;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest text of a client's in a span, in characters.
const LONGEST: usize = 256;

/// The span of this request, at `place`: as its first (`root`), or below the caller's.
pub(crate) fn span<B>(request: &Request<B>, place: &TraceContext, root: bool) -> Span {
    let Some(target) = target(request) else { return Span::default() };
    let (method, route) = (method(request.method()), route(target));
    let base = request.extensions().get::<Base>().map(|Base(base)| &**base);
    let (scheme, host) = base.and_then(|base| base.split_once("://")).unwrap_or(("http", ""));
    let (address, port) = address(host.split('/').next().unwrap_or_default());
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(plain);
    span!(
        Some(place),
        "request",
        "server",
        otel.name = format!("{method} {route}"),
        root,
        http.request.method = method,
        http.route = route,
        url.path = plain(request.uri().path()),
        url.scheme = scheme,
        server.address = (!address.is_empty()).then_some(address),
        server.port = port,
        network.protocol.version = version(request.version()),
        user_agent.original = text(header::USER_AGENT),
        gateway.service = target.service().map(|service| &*service.name),
        gateway.verb = target.verb.name(),
        gateway.request_id = text(REQUEST_ID),
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

/// Anybody may invent a method.
fn method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::DELETE | Method::OPTIONS | Method::PATCH => {
            method.as_str()
        }
        _ => "_OTHER",
    }
}

/// The path's template: of the configuration's words and ours.
fn route(target: &Target) -> String {
    let last = match target.verb {
        Verb::Page(page) => page.name(),
        verb => verb.name(),
    };
    let document = if target.document.is_some() { "/{document}" } else { "" };
    match &target.place {
        Place::Service(service) if &*service.route != "." => format!("/{}/{last}{document}", service.route),
        Place::Service(_) | Place::Gateway => format!("/{last}{document}"),
        Place::UnknownService => format!("/{{service}}/{last}"),
        Place::Platform => format!("/platform/{last}"),
    }
}

fn address(host: &str) -> (&str, Option<u64>) {
    match host.rsplit_once(':') {
        Some((address, port)) if !port.ends_with(']') => (address, port.parse().ok()),
        _ => (host, None),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "0.9",
    }
}

/// A client's text, bounded and without what controls a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST).collect()
}
