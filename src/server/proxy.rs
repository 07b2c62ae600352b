//! What trusted proxies say about a request, and what of it is believed.
//!
//! Every proxy appends what it saw, so the truth is on the right of these lists. From the right, hops that are
//! trusted proxies themselves are passed over; the first that is not is the client, and scheme and host are those
//! told by the proxy that saw it. What stands further left came from the client and is not believed.

use crate::host;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The headers that are believed from trusted proxies alone, and taken away from everybody else's requests.
const FORWARDING: [HeaderName; 9] = [
    header::FORWARDED,
    HeaderName::from_static("x-script-name"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-scheme"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// More hops than any real chain has; what lies beyond is not looked at.
const MOST_HOPS: usize = 32;

/// What was forwarded. Values that are not what they should be are not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// The right-most hop that is not a trusted proxy; the peer if none is told.
    pub(crate) client: IpAddr,
    /// `http` or `https`.
    pub(crate) scheme: Option<&'static str>,
    /// `host[:port]`.
    pub(crate) host: Option<String>,
    /// The mount prefix: empty or `/…` without a slash at the end.
    pub(crate) prefix: Option<String>,
}

/// Is `address` one of a trusted proxy?
pub(crate) fn trusts(proxies: &[IpNet], address: IpAddr) -> bool {
    proxies.iter().any(|net| net.contains(&address))
}

/// Takes the forwarding headers away: nobody below may believe them.
pub(crate) fn remove(headers: &mut HeaderMap) {
    let suspect = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-") || name == "forwarded"
    };
    // Asking nine times costs more than looking once, and most requests carry none of them.
    if headers.keys().any(suspect) {
        for name in &FORWARDING {
            headers.remove(name);
        }
    }
}

/// Does it carry any forwarding header?
pub(crate) fn any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let text = name.as_str();
        (text.starts_with("x-") || text == "forwarded") && FORWARDING.contains(name)
    })
}

/// Reads what a trusted `peer` forwarded. Where both exist, `X-…` counts before `Forwarded`.
pub(crate) fn read(headers: &HeaderMap, peer: IpAddr, proxies: &[IpNet]) -> Forwarded {
    let elements = elements(headers);
    let hops: Vec<&str> = list(headers, "x-forwarded-for");
    let (client, passed) = if hops.is_empty() {
        walk(elements.iter().map(|element| element.client.as_deref().unwrap_or("unknown")), peer, proxies)
    } else {
        walk(hops.into_iter(), peer, proxies)
    };
    let told = nearest(&elements, passed);
    let scheme = ["x-forwarded-proto", "x-scheme"]
        .into_iter()
        .find_map(|name| host::scheme(nearest(&list(headers, name), passed)?))
        .or_else(|| host::scheme(told?.proto.as_deref()?));
    let host = nearest(&list(headers, "x-forwarded-host"), passed)
        .copied()
        .filter(|text| host::is_host(text))
        .or_else(|| told?.host.as_deref().filter(|text| host::is_host(text)))
        .map(str::to_owned);
    let prefix = ["x-script-name", "x-forwarded-prefix"]
        .into_iter()
        .find_map(|name| host::prefix(headers.get(name)?.to_str().ok()?))
        .map(str::to_owned);
    Forwarded { client, scheme, host, prefix }
}

/// From the right: the first hop that is not trusted, and how many trusted ones were passed. A hop that is no
/// address (`unknown`, a hidden name) ends the walk: what is behind it cannot be judged.
fn walk<'a>(hops: impl Iterator<Item = &'a str>, peer: IpAddr, proxies: &[IpNet]) -> (IpAddr, usize) {
    let (mut client, mut passed) = (peer, 0);
    for hop in hops {
        let Some(ip) = address(hop) else { break };
        client = ip;
        if !trusts(proxies, ip) {
            break;
        }
        passed += 1;
    }
    (client, passed)
}

/// The entry of the proxy that saw the client; the left-most if the list is shorter (one that overwrites).
/// `list` runs from the right.
fn nearest<T>(list: &[T], passed: usize) -> Option<&T> {
    list.get(passed).or(list.last())
}

/// The items of all lines of a list header, from the right.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| text(line).rsplit(',')).map(str::trim).take(MOST_HOPS).collect()
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// An address, with or without port and brackets; an IPv4 address in IPv6 clothes is an IPv4 address.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let ip = bare.parse::<IpAddr>().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))?;
    Some(ip.to_canonical())
}

/// One element of `Forwarded` (RFC 7239).
#[derive(Debug, Default)]
struct Element {
    client: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

/// The elements of all `Forwarded` lines, from the right.
fn elements(headers: &HeaderMap) -> Vec<Element> {
    let mut all = Vec::new();
    for line in headers.get_all(header::FORWARDED) {
        for element in split(text(line), ',') {
            let mut found = Element::default();
            for (name, value) in split(element, ';').into_iter().filter_map(|pair| pair.split_once('=')) {
                let slot = match name.trim().to_ascii_lowercase().as_str() {
                    "for" => &mut found.client,
                    "proto" => &mut found.proto,
                    "host" => &mut found.host,
                    _ => continue,
                };
                *slot = Some(unquote(value.trim()));
            }
            all.push(found);
        }
    }
    all.reverse();
    all.truncate(MOST_HOPS);
    all
}

/// Splits outside of quoted strings.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let at_separator = character == separator && !quoted;
        if escaped {
            escaped = false;
        } else if character == '"' {
            quoted = !quoted;
        } else if character == '\\' && quoted {
            escaped = true;
        }
        at_separator
    })
    .collect()
}

/// The text of a token or a quoted string.
fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    inside
        .chars()
        .filter(|character| {
            escaped = *character == '\\' && !escaped;
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).fold(
            HeaderMap::new(),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
    }

    fn seen(lines: &[(&'static str, &str)]) -> (String, Option<&'static str>, Option<String>, Option<String>) {
        let proxies = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let found = read(&headers(lines), IpAddr::from([10, 0, 0, 1]), &proxies);
        (found.client.to_string(), found.scheme, found.host, found.prefix)
    }

    #[test]
    fn nothing_told_is_the_peer() {
        assert_eq!(seen(&[]), ("10.0.0.1".into(), None, None, None));
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_hop() {
        for (value, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            ("6.6.6.6, 10.0.0.3,10.0.0.2", "6.6.6.6"),
            ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(seen(&[("x-forwarded-for", value)]).0, client, "{value:?}");
        }
        assert_eq!(seen(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2, 10.0.0.9")]).0, "2.2.2.2");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_proxy_that_saw_the_client() {
        let chain = ("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2");
        let told = seen(&[chain, ("x-forwarded-proto", "ftp, HTTPS, http"), ("x-forwarded-host", "evil, good:1, in")]);
        assert_eq!((told.1, told.2.as_deref()), (Some("https"), Some("good:1")));
        let told = seen(&[chain, ("x-forwarded-proto", "https"), ("x-forwarded-host", "good")]);
        assert_eq!((told.1, told.2.as_deref()), (Some("https"), Some("good")));
        assert_eq!(seen(&[("x-scheme", "https")]).1, Some("https"));
        assert_eq!(seen(&[("x-scheme", "https"), ("x-forwarded-proto", "http")]).1, Some("http"));
    }

    #[test]
    fn what_is_not_valid_is_not_there() {
        let told = seen(&[
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-host", "a b"),
            ("x-script-name", "//evil"),
            ("x-forwarded-prefix", "/fine/"),
        ]);
        assert_eq!(told, ("10.0.0.1".into(), None, None, Some("/fine".into())));
    }

    #[test]
    fn forwarded_speaks_where_the_others_are_silent() {
        let line = r#"for=6.6.6.6, For="[2001:db8::7]:4711";proto=https;host="ex.org:8443", for=10.0.0.2;proto=http"#;
        let told = seen(&[("forwarded", line)]);
        assert_eq!(told, ("2001:db8::7".into(), Some("https"), Some("ex.org:8443".into()), None));
        let told = seen(&[("forwarded", line), ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-host", "other")]);
        assert_eq!((told.0.as_str(), told.2.as_deref()), ("203.0.113.9", Some("other")));
        assert_eq!(seen(&[("forwarded", "for=_hidden;host=a")]).0, "10.0.0.1");
        assert_eq!(seen(&[("forwarded", r#"for="a,b\",c";host=h"#)]).2.as_deref(), Some("h"));
    }

    #[test]
    fn removing_leaves_the_rest() {
        let names: Vec<_> = FORWARDING.iter().map(|name| (name.clone(), HeaderValue::from_static("v"))).collect();
        let mut map: HeaderMap = names.into_iter().collect();
        assert!(any(&map));
        map.insert("x-service-key", HeaderValue::from_static("k"));
        map.append("x-forwarded-for", HeaderValue::from_static("w"));
        remove(&mut map);
        assert_eq!(map.len(), 1);
        assert!(!any(&map) && map.contains_key("x-service-key"));
    }
}
