//! URLs, hosts and names of the world outside: `server.public_url`, `[documents]`, `[annotations]`, `[platform]`.

use super::{Check, services};
use crate::{Config, HttpUrl, reader::quote};
use std::net::Ipv6Addr;
use url::{Host, Url};

pub(super) fn check(config: &Config, check: &mut Check<'_>) {
    let whole = |url: &HttpUrl| !url.as_str().contains(['?', '#']) && !url.has_userinfo();
    if !config.server.public_url.as_ref().is_none_or(whole) {
        let reason = "expected scheme, host and path only, such as https://example.org/gateway";
        check.fault("server.public_url", reason);
    }
    template("documents.get_url", config.documents.get_url.as_ref(), "{storage_doc_id}", check);
    template("annotations.post_url", config.annotations.post_url.as_ref(), "{ann_doc_id}", check);
    if config.documents.schemes.is_empty() {
        check.fault("documents.schemes", "expected at least one scheme, such as \"https\"");
    }
    for (index, scheme) in config.documents.schemes.iter().enumerate() {
        if !is_scheme(scheme) {
            let reason = format!("{}: expected a URL scheme such as \"https\", without `://`", quote(scheme));
            check.fault(&format!("documents.schemes[{index}]"), reason);
        }
    }
    for (index, host) in config.documents.allow_hosts.iter().enumerate() {
        if !is_host(host) {
            let reason = format!(
                "{}: expected a host such as \"files.example.org\" or \"10.0.0.7\", without scheme or port",
                quote(host)
            );
            check.fault(&format!("documents.allow_hosts[{index}]"), reason);
        }
    }
    services::about("platform.about", &config.platform.about, check);
}

/// A URL into which an id is put must say where.
fn template(key: &str, url: Option<&HttpUrl>, place: &str, check: &mut Check<'_>) {
    let Some(url) = url else { return };
    let Ok(parsed) = Url::parse(&url.as_str().replace(place, "id")) else {
        return check.fault(key, format!("expected a URL in which {place} stands in the path or the query"));
    };
    if !url.as_str().contains(place) {
        check.fault(key, format!("expected {place} where the document's id belongs"));
    } else if parsed.host_str() != Url::parse(url.as_str()).ok().as_ref().and_then(Url::host_str) {
        check.fault(key, format!("expected {place} in the path or the query, not in the host"));
    }
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A name, an IPv4 address, or an IPv6 address in brackets, as a URL's host is written.
fn is_host(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_err() && Host::parse(text).is_ok_and(|host| host.to_string() == text)
}
