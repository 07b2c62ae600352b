//! Which URLs are admitted.

use crate::{address::is_public, redact};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};
use thiserror::Error;
use url::{Host, Url};

/// The longest URL that is admitted, in bytes.
pub const MAX_URL: usize = 8 * 1024;

/// Why a URL is not admitted: what was wrong and what would be right, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is not a valid document URL (code 207).
    #[error("{0}")]
    Invalid(String),
    /// It is valid, but leads where documents may not come from (code 211).
    #[error("{0}")]
    NotAllowed(String),
}

/// Where documents may come from (`[documents]` in the configuration).
///
/// By default: `http` and `https`, and no loopback, private, link-local or otherwise special address.
#[derive(Debug, Clone)]
pub struct Policy {
    schemes: Vec<String>,
    private_networks: bool,
    /// As [`host_key`] writes them.
    hosts: HashSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { schemes: vec!["http".into(), "https".into()], private_networks: false, hosts: HashSet::new() }
    }
}

impl Policy {
    /// Admits these schemes and no others; letters of either case.
    #[must_use]
    pub fn with_schemes<S: AsRef<str>>(mut self, schemes: impl IntoIterator<Item = S>) -> Self {
        self.schemes = schemes.into_iter().map(|scheme| scheme.as_ref().to_ascii_lowercase()).collect();
        self
    }

    /// Whether URLs may lead to loopback, private and link-local addresses (default: no).
    #[must_use]
    pub fn with_private_networks(mut self, admitted: bool) -> Self {
        self.private_networks = admitted;
        self
    }

    /// Admits `host` (a name or an address, no port) whatever its address is.
    ///
    /// # Errors
    /// [`Fault::Invalid`] if it is not a host.
    pub fn allow_host(mut self, host: &str) -> Result<Self, Fault> {
        let bare = host.trim();
        let parsed = match bare.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Host::Ipv6(address)),
            Err(_) => Host::parse(bare),
        };
        let parsed = parsed.map_err(|_| {
            Fault::Invalid(format!(
                "{:?} is not a host: give a name or an address, without scheme or port",
                redact(bare)
            ))
        })?;
        self.hosts.insert(host_key(&parsed));
        Ok(self)
    }

    /// Admits the host of a URL that we are configured with (`documents.get_url`, say) whatever its address is.
    /// Placeholders in its path and query do no harm; an empty text changes nothing.
    ///
    /// # Errors
    /// [`Fault::Invalid`] if it is not a URL with a host.
    pub fn always(mut self, url: &str) -> Result<Self, Fault> {
        if url.trim().is_empty() {
            return Ok(self);
        }
        let host = Url::parse(url).ok().and_then(|url| host_of(&url));
        let host =
            host.ok_or_else(|| Fault::Invalid(format!("{:?} is not a URL with a scheme and a host", redact(url))))?;
        self.hosts.insert(host_key(&host));
        Ok(self)
    }

    /// Judges a document URL by its text alone: nothing is resolved.
    ///
    /// It must have a scheme of the policy, a host and a path that is not empty, be at most [`MAX_URL`] long and hold
    /// no control characters. Gives it as the `url` crate writes it, which is how the worker and we both understand
    /// it: non-ASCII encoded, odd forms of addresses (`0x7f.1`) plain.
    ///
    /// # Errors
    /// [`Fault::Invalid`] or [`Fault::NotAllowed`].
    pub fn admit(&self, text: &str) -> Result<Url, Fault> {
        let text = text.trim_matches(' ');
        let invalid = |why: &str| {
            Fault::Invalid(format!(
                "{:?} is not a valid document URL: {why}; a URL looks like {}://host/path",
                redact(text),
                self.schemes.first().map_or("https", String::as_str)
            ))
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > MAX_URL {
            return Err(invalid("it is longer than 8 KiB"));
        }
        if text.chars().any(char::is_control) {
            return Err(invalid("it holds control characters"));
        }
        // The parser adds a missing path and forgives missing or superfluous slashes; other people's parsers do not.
        let Some((_, rest)) = text.split_once("://") else { return Err(invalid("it has no scheme")) };
        let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(invalid("it has no host"));
        }
        if !rest[authority.len()..].starts_with(['/', '\\']) {
            return Err(invalid("it has no path"));
        }
        let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
        self.judge(&url)?;
        Ok(url)
    }

    /// Judges a URL that is already parsed (a redirect's): its scheme and host.
    pub(crate) fn judge(&self, url: &Url) -> Result<(), Fault> {
        let shown = redact(url.as_str());
        if !self.schemes.iter().any(|scheme| scheme == url.scheme()) {
            let allowed = self.schemes.join(", ");
            return Err(Fault::Invalid(format!(
                "{shown:?}: the scheme {:?} is not admitted here; use one of: {allowed}",
                url.scheme()
            )));
        }
        let host = host_of(url).ok_or_else(|| Fault::Invalid(format!("{shown:?} has no valid host")))?;
        let admitted = match &host {
            Host::Domain(name) => !is_local_name(name),
            Host::Ipv4(address) => is_public((*address).into()),
            Host::Ipv6(address) => is_public((*address).into()),
        };
        if admitted || self.private_networks || self.hosts.contains(&host_key(&host)) {
            return Ok(());
        }
        Err(not_allowed(&host_key(&host)))
    }

    /// Whether we may connect to `address`, which `name` resolved to.
    pub(crate) fn admits_address(&self, name: &str, address: IpAddr) -> bool {
        self.private_networks || is_public(address) || self.hosts.contains(&name_key(name))
    }
}

/// The refusal of a host.
pub(crate) fn not_allowed(host: &str) -> Fault {
    Fault::NotAllowed(format!(
        "documents may not come from {host:?}: it is a loopback, private or link-local address; use a public one, or \
         ask the operator to add the host to documents.allow_hosts"
    ))
}

/// The host, addresses recognised for every scheme (the parser does so only for `http` and its kin).
fn host_of(url: &Url) -> Option<Host<String>> {
    match url.host()? {
        Host::Domain(name) => Host::parse(name).ok(),
        other => Some(other.to_owned()),
    }
}

fn host_key(host: &Host<String>) -> String {
    match host {
        Host::Domain(name) => name_key(name),
        other => other.to_string(),
    }
}

fn name_key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// `localhost` and everything below it is loopback by definition (RFC 6761).
fn is_local_name(name: &str) -> bool {
    let name = name_key(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn invalid(policy: &Policy, url: &str, why: &str) {
        match policy.admit(url) {
            Err(Fault::Invalid(message)) => assert!(message.contains(why), "{url}: {message}"),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn admits_what_the_original_admits() {
        let policy = Policy::default();
        for (given, kept) in [
            ("http://h/d", "http://h/d"),
            ("https://example.org/", "https://example.org/"),
            ("http://example.org:8080/a/b.wav?x=1#y", "http://example.org:8080/a/b.wav?x=1#y"),
            ("HTTP://Example.org/A", "http://example.org/A"),
            ("http://user:word@example.org/a", "http://user:word@example.org/a"),
            ("http://host/é", "http://host/%C3%A9"),
            ("http://bücher.example/a b", "http://xn--bcher-kva.example/a%20b"),
            ("http://name-that-does-not-resolve.example/x", "http://name-that-does-not-resolve.example/x"),
        ] {
            assert_eq!(policy.admit(given).map(String::from), Ok(kept.to_owned()));
        }
    }

    #[test]
    fn refuses_what_is_no_document_url() {
        let policy = Policy::default();
        for (url, why) in [
            ("", "empty"),
            ("notaurl", "no scheme"),
            ("é", "no scheme"),
            ("http:h/x", "no scheme"),
            ("http:///x", "no host"),
            ("http://", "no host"),
            ("http://host", "no path"),
            ("http://host?x=/1", "no path"),
            ("http://host#/", "no path"),
            ("http://host:port/", "invalid port"),
            ("http://a b/", "invalid"),
            ("http://host/\u{7}", "control"),
            ("http://host/\r\nX: y", "control"),
            ("ftp://host/a", "use one of: http, https"),
            ("file:///etc/passwd", "no host"),
        ] {
            invalid(&policy, url, why);
        }
        invalid(&policy, &format!("http://h/{}", "a".repeat(MAX_URL)), "8 KiB");
        invalid(&policy.with_schemes(["file"]), "file://localhost/etc/passwd", "no valid host");
    }

    #[test]
    fn refuses_the_inside_in_every_disguise() {
        let policy = Policy::default().with_schemes(["http", "s3"]);
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f.1",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "0",
            "localhost",
            "LOCALHOST.",
            "db.localhost",
            "10.0.0.1:8080",
            "192.168.0.1",
            "169.254.169.254",
            "[::1]",
            "[::]",
            "[fd00::1]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "[2002:7f00:1::]",
            "[64:ff9b::a00:1]",
            "user@127.0.0.1",
            "example.org@127.0.0.1",
            "１２７.0.0.1",
            "%31%32%37.0.0.1",
        ] {
            let url = format!("http://{host}/x");
            assert!(matches!(policy.admit(&url), Err(Fault::NotAllowed(_))), "{url}: {:?}", policy.admit(&url));
        }
        for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "%31%32%37.0.0.1"] {
            assert!(matches!(policy.admit(&format!("s3://{host}/x")), Err(Fault::NotAllowed(_))), "s3 {host}");
        }
        assert!(policy.admit("s3://bucket/key").is_ok());
    }

    #[test]
    fn admits_the_inside_where_the_operator_says_so() {
        let policy = Policy::default()
            .allow_host("Store.localhost")
            .and_then(|p| p.allow_host("10.0.0.5"))
            .and_then(|p| p.allow_host("::1"))
            .and_then(|p| p.allow_host("[fd00::7]"))
            .and_then(|p| p.always("http://localhost:5002/get/{storage_doc_id}"))
            .and_then(|p| p.always(""))
            .unwrap();
        for url in [
            "http://store.localhost/x",
            "http://10.0.0.5/x",
            "http://[::1]/x",
            "http://[fd00::7]:1/x",
            "http://localhost:9/x",
        ] {
            assert!(policy.admit(url).is_ok(), "{url}");
        }
        assert!(policy.admit("http://10.0.0.6/x").is_err());
        assert!(policy.admits_address("localhost", [127, 0, 0, 1].into()));
        assert!(!policy.admits_address("example.org", [127, 0, 0, 1].into()));
        assert!(Policy::default().with_private_networks(true).admit("http://127.0.0.1/x").is_ok());
        assert!(Policy::default().allow_host("host:80").is_err());
        assert!(Policy::default().always("get_url").is_err());
    }

    #[test]
    fn credentials_are_kept_but_never_told() {
        let policy = Policy::default();
        let secret = "http://ann:pa55word@";
        assert_eq!(policy.admit(&format!("{secret}example.org/a")).unwrap().password(), Some("pa55word"));
        for url in [format!("{secret}10.0.0.1/a"), format!("{secret}host"), secret.replace("http", "ftp") + "h/x"] {
            let message = policy.admit(&url).unwrap_err().to_string();
            assert!(!message.contains("pa55word"), "{message}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_admitted_is_a_url_with_host_and_path(text in "(http|https|ftp)?:?/{0,3}.{0,40}") {
            if let Ok(url) = Policy::default().admit(&text) {
                prop_assert!(url.has_host() && url.path().starts_with('/') && url.as_str().is_ascii());
                prop_assert!(Policy::default().admit(url.as_str()).is_ok(), "{} is not admitted twice", url);
            }
        }
    }
}
