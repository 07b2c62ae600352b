//! Which URLs are admitted.

use crate::{address::is_public, client::fetchable, redact};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
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
    own: Vec<Own>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            schemes: vec!["http".into(), "https".into()],
            private_networks: false,
            hosts: HashSet::new(),
            own: Vec::new(),
        }
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

    /// Admits what our own server gives: it listens at `listen`, and paths that begin with `below` are meant. A URL with
    /// the host `localhost` counts as one of ours, too, if the server listens there.
    #[must_use]
    pub fn with_own(mut self, listen: SocketAddr, below: &str) -> Self {
        self.own.push(Own { listen, below: below.to_owned() });
        self
    }

    /// Judges a document URL by its text alone: nothing is resolved, so a name is always admitted here. (Whoever connects
    /// judges what it leads to.)
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
            Host::Domain(_) => true,
            Host::Ipv4(address) => is_public((*address).into()),
            Host::Ipv6(address) => is_public((*address).into()),
        };
        let ours = || self.own.iter().any(|own| own.is(url));
        if admitted || self.private_networks || self.hosts.contains(&host_key(&host)) || ours() {
            return Ok(());
        }
        Err(not_allowed(&host_key(&host)))
    }

    /// The URL to connect to for an admitted one, if we can fetch it: our own server's name becomes its address, which
    /// is admitted where the name's is not.
    pub(crate) fn fetched(&self, text: &str) -> Result<Url, Fault> {
        let mut url = self.admit(text)?;
        fetchable(&url)?;
        if url.domain() == Some("localhost")
            && let Some(own) = self.own.iter().find(|own| own.is(&url))
            && url.set_ip_host(own.loopback()).is_err()
        {
            return Err(Fault::Invalid(format!("{:?} cannot be our own", redact(text))));
        }
        Ok(url)
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

/// What our own server gives.
#[derive(Debug, Clone)]
struct Own {
    listen: SocketAddr,
    below: String,
}

impl Own {
    fn is(&self, url: &Url) -> bool {
        let here = match url.host() {
            Some(Host::Ipv4(address)) => self.listens_at(address.into()),
            Some(Host::Ipv6(address)) => self.listens_at(address.into()),
            Some(Host::Domain(name)) => name == "localhost" && self.listens_at(self.loopback()),
            None => false,
        };
        // What terminates TLS is somebody else.
        here && url.scheme() == "http"
            && url.port_or_known_default() == Some(self.listen.port())
            && url.path().starts_with(&self.below)
    }

    fn listens_at(&self, address: IpAddr) -> bool {
        let ip = self.listen.ip();
        // Only an address of this machine can be bound.
        ip == address || (ip.is_unspecified() && UdpSocket::bind((address, 0)).is_ok())
    }

    /// The loopback address that the server listens at, if it listens at one.
    fn loopback(&self) -> IpAddr {
        match self.listen.ip() {
            ip if ip.is_loopback() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        }
    }
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
        for host in ["127.0.0.1", "[::1]", "0x7f.1", "%31%32%37.0.0.1"] {
            assert!(matches!(policy.admit(&format!("s3://{host}/x")), Err(Fault::NotAllowed(_))), "s3 {host}");
        }
        assert!(policy.admit("s3://bucket/key").is_ok());
        for name in ["localhost", "LOCALHOST.", "db.localhost"] {
            assert!(policy.admit(&format!("http://{name}/x")).is_ok(), "{name} is not resolved here");
            assert!(!policy.admits_address(name, [127, 0, 0, 1].into()), "{name} is judged by who connects");
        }
    }

    #[test]
    fn what_our_own_server_gives_is_admitted_and_nothing_beside_it() {
        let policy = |listen: &str| Policy::default().with_own(listen.parse().unwrap(), "/files/");
        let given = policy("127.0.0.1:5000");
        for url in ["http://127.0.0.1:5000/files/a", "http://localhost:5000/files/a"] {
            assert_eq!(given.fetched(url).map(String::from), Ok("http://127.0.0.1:5000/files/a".to_owned()));
        }
        for url in [
            "http://127.0.0.1:5001/files/a",
            "http://127.0.0.1/files/a",
            "https://127.0.0.1:5000/files/a",
            "http://127.0.0.2:5000/files/a",
            "http://127.0.0.1:5000/admin",
            "http://127.0.0.1:5000/files/../admin",
            "http://127.0.0.1:5000/files/%2e%2e/admin",
        ] {
            assert!(matches!(given.admit(url), Err(Fault::NotAllowed(_))), "{url}");
        }
        let elsewhere = given.fetched("http://localhost:5001/files/a").map(String::from);
        assert_eq!(elsewhere, Ok("http://localhost:5001/files/a".to_owned()), "judged when it is resolved");
        let everywhere = policy("0.0.0.0:5000");
        assert!(everywhere.admit("http://127.0.0.1:5000/files/a").is_ok());
        assert!(everywhere.admit("http://10.255.255.254:5000/files/a").is_err(), "an address of another machine");
        let named = policy("[::1]:80").fetched("http://localhost/files/a").map(String::from);
        assert_eq!(named, Ok("http://[::1]/files/a".to_owned()));
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
