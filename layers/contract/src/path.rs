//! The paths that lead to a party, as they may stand in a header or in a link.

use crate::{Base, Place, Service};
use http::{Request, header::HOST};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a path segment as it is (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What of a mount prefix cannot stand in a link. Browsers read a backslash as a slash, and two slashes at the start
/// of a path as another host's name.
const PREFIX: &AsciiSet = &CONTROLS.add(b' ').add(b'\\');

impl Base {
    /// Scheme and host: `https://example.org`.
    pub fn origin(&self) -> &str {
        self.0[..self.0.len() - self.prefix().len()].trim_end_matches('/')
    }

    /// The mount prefix as a link begins with it: `/gateway`, or empty at the root; visible ASCII, and never the start
    /// of another host's name.
    pub fn link(&self) -> String {
        match self.prefix().trim_matches('/') {
            "" => String::new(),
            prefix => format!("/{}", utf8_percent_encode(prefix, PREFIX)),
        }
    }
}

/// How the client reaches us, without a slash at the end: the [`Base`] that the server stamped; in a host that stamps
/// none, `http://` and the request's own `Host` (empty if it has none).
pub fn place<B>(request: &Request<B>) -> String {
    if let Some(base) = request.extensions().get::<Base>() {
        return base.0.trim_end_matches('/').to_owned();
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = authority.or_else(|| request.headers().get(HOST)?.to_str().ok());
    host.map_or_else(String::new, |host| format!("http://{host}"))
}

impl Service {
    /// Its path below the mount prefix, percent-encoded, with a slash at either end.
    pub fn path(&self) -> String {
        match &*self.route {
            "." => "/".into(),
            route => format!("/{}/", utf8_percent_encode(route, SEGMENT)),
        }
    }
}

impl Place {
    /// The path that leads to it, mount prefix included, with a slash at either end.
    pub fn path(&self, base: Option<&Base>) -> String {
        let mut path = base.map_or_else(String::new, Base::link);
        match self {
            Place::Service(service) => path.push_str(&service.path()),
            Place::Platform => path.push_str("/platform/"),
            Place::Gateway | Place::UnknownService => path.push('/'),
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn path(route: &str, base: Option<&str>) -> String {
        let service = Service { index: 0, name: "s".into(), route: route.into(), requires_document: true };
        let base = base.map(|base| Base(base.into()));
        Place::Service(Arc::new(service)).path(base.as_ref())
    }

    #[test]
    fn a_path_has_one_slash_between_its_parts() {
        assert_eq!(path("stub", None), "/stub/");
        assert_eq!(path("stub", Some("https://example.org")), "/stub/");
        assert_eq!(path("stub", Some("https://example.org/gate/way/")), "/gate/way/stub/");
        assert_eq!(path(".", Some("https://example.org/gw")), "/gw/");
        assert_eq!(path("un café/\r\n", None), "/un%20caf%C3%A9%2F%0D%0A/");
        assert_eq!(Place::Platform.path(Some(&Base("http://h/gw".into()))), "/gw/platform/");
        assert_eq!(Place::Gateway.path(None), "/");
    }

    #[test]
    fn an_origin_is_what_comes_before_the_prefix() {
        for base in ["https://h:1", "https://h:1/", "https://h:1/gate/way"] {
            assert_eq!(Base(base.into()).origin(), "https://h:1");
        }
    }

    #[test]
    fn a_prefix_never_becomes_a_host() {
        for base in ["http://h//evil.example", "http://h/\\evil.example", "http://h/\u{e9} "] {
            let path = path("stub", Some(base));
            assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'), "{path}");
            assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        }
    }
}
