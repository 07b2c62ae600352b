//! What a host, a scheme and a mount prefix look like.

use std::net::Ipv6Addr;

/// Longest host name (RFC 1035) and longest mount prefix that are taken.
const LONGEST: usize = 255;

/// Is it `host` or `host:port`, the host a name, an IPv4 address or an IPv6 address in brackets?
/// Percent-encoding and user information are not hosts to us.
pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return address.parse::<Ipv6Addr>().is_ok(),
            Some((address, port)) => {
                if address.parse::<Ipv6Addr>().is_err() {
                    return false;
                }
                match port.strip_prefix(':') {
                    Some(port) => return is_port(port),
                    None => return false,
                }
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=LONGEST).contains(&host.len()) && host.bytes().all(plain) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// `http` or `https`, in lower case; `None` for anything else.
pub(crate) fn scheme(text: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// A mount prefix without its last slash: `/a/b`, or empty for `/`. `None` if it is not one: it begins with a slash,
/// holds only unreserved characters and slashes, and no empty segment, `.` or `..`.
pub(crate) fn prefix(text: &str) -> Option<&str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let Some(path) = text.strip_prefix('/') else { return text.is_empty().then_some(text) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    (text.len() <= LONGEST && path.split('/').all(segment)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["a", "example.org", "a_b.example:80", "127.0.0.1:5000", "[::1]", "[2001:db8::1]:443", "x:65535"] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(256);
        for host in [
            "", ":80", "a b", "a/b", "a:", "a:x", "a:65536", "a:+1", "::1", "[::1", "[::1]x", "[x]:1", "u@h", "h%20",
            "a\"b", "é", &long,
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn prefixes() {
        for (text, expected) in [("/gw", "/gw"), ("/a/b-c/", "/a/b-c"), ("/", ""), ("", "")] {
            assert_eq!(prefix(text), Some(expected), "{text:?}");
        }
        let long = format!("/{}", "a".repeat(255));
        for text in ["gw", "//gw", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "/a%2f", "/a\"", "//", &long] {
            assert_eq!(prefix(text), None, "{text:?}");
        }
    }

    #[test]
    fn schemes() {
        assert_eq!(scheme("HTTPS"), Some("https"));
        assert_eq!(scheme("http"), Some("http"));
        assert_eq!(scheme("ftp"), None);
        assert_eq!(scheme(""), None);
    }
}
