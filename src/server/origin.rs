//! Where a request came from and how its client reaches us.

use crate::{Settings, host, proxy, refusal::Refusal};
use gateway_contract::Base;
use http::{
    Request, Uri, Version, header,
    uri::{Parts, PathAndQuery},
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The client's address, stamped on every request: the peer's, or what a trusted proxy told
/// (the right-most hop of `X-Forwarded-For` or `Forwarded` that is not a trusted proxy itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub IpAddr);

/// The rules: the same for every request.
#[derive(Debug)]
pub(crate) struct Rules {
    public: Option<Base>,
    proxies: Vec<IpNet>,
    /// What counts as host for HTTP/1.0, which may leave it out.
    local: String,
}

impl Rules {
    /// The rules of `settings`, for a server that listens at `local`. The error says what is wrong with `public_url`.
    pub(crate) fn new(settings: &Settings, local: SocketAddr) -> Result<Self, &'static str> {
        let public = settings.public_url.as_deref().map(public).transpose()?;
        Ok(Self { public, proxies: settings.trusted_proxies.clone(), local: local.to_string() })
    }

    /// Is `peer` a trusted proxy?
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        proxy::trusts(&self.proxies, peer)
    }
}

/// The base that a `public_url` tells.
pub(crate) fn public(url: &str) -> Result<Base, &'static str> {
    let fault =
        "expected http or https://host[:port][/prefix]: a host in ASCII (xn--… for other letters), no % in the prefix";
    let (scheme, rest) = url.split_once("://").ok_or(fault)?;
    let scheme = host::scheme(scheme).ok_or(fault)?;
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let prefix = host::prefix(prefix).ok_or(fault)?;
    if !host::is_host(host) {
        return Err(fault);
    }
    Ok(Base(format!("{scheme}://{host}{prefix}").into()))
}

/// The origins of one connection's requests; remembers the last base, which the next request most often shares.
#[derive(Debug)]
pub(crate) struct Origins {
    peer: IpAddr,
    trusted: bool,
    last: Option<Base>,
}

impl Origins {
    /// Of a connection from `peer`.
    pub(crate) fn new(rules: &Rules, peer: IpAddr) -> Self {
        let peer = peer.to_canonical();
        Self { peer, trusted: rules.trusts(peer), last: None }
    }

    /// Is the peer a trusted proxy?
    pub(crate) fn trusted(&self) -> bool {
        self.trusted
    }

    /// Stamps [`Base`] and [`ClientAddr`], takes the mount prefix off the path, and takes away what an untrusted peer
    /// has no right to say. Refuses a request without a host that can be believed.
    pub(crate) fn stamp<B>(&mut self, rules: &Rules, request: &mut Request<B>) -> Result<(), Refusal> {
        let mut client = self.peer;
        let mut strip = None;
        let base = if self.trusted && proxy::any(request.headers()) {
            let told = proxy::read(request.headers(), self.peer, &rules.proxies);
            client = told.client;
            let asked = asked(rules, request)?;
            let host = told.host.as_deref().unwrap_or(asked);
            let scheme = told.scheme.unwrap_or("http");
            let base = match &rules.public {
                Some(base) => base.clone(),
                None => self.base(scheme, host, told.prefix.as_deref().unwrap_or_default()),
            };
            strip = told.prefix;
            base
        } else {
            let asked = asked(rules, request)?;
            match &rules.public {
                Some(base) => base.clone(),
                None => self.base("http", asked, ""),
            }
        };
        if !self.trusted {
            proxy::remove(request.headers_mut());
        }
        let prefix = strip.as_deref().unwrap_or_else(|| base.prefix());
        if !prefix.is_empty()
            && let Some(uri) = without_prefix(request.uri(), prefix)
        {
            *request.uri_mut() = uri;
        }
        request.extensions_mut().insert(base);
        request.extensions_mut().insert(ClientAddr(client));
        Ok(())
    }

    /// The base of these parts: the last one if it is the same.
    fn base(&mut self, scheme: &str, host: &str, prefix: &str) -> Base {
        let same = |last: &Base| {
            let rest = last.0.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
            rest.and_then(|rest| rest.strip_prefix(host)) == Some(prefix)
        };
        match &self.last {
            Some(last) if same(last) => last.clone(),
            _ => {
                let base = Base(format!("{scheme}://{host}{prefix}").into());
                self.last = Some(base.clone());
                base
            }
        }
    }
}

/// The host that the client asked for: of the target if it names one (RFC 9112, 3.2.2), else the one `Host`.
fn asked<'a, B>(rules: &'a Rules, request: &'a Request<B>) -> Result<&'a str, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() || (first.is_none() && request.version() == Version::HTTP_11) {
        return Err(Refusal::HOST);
    }
    let host = match (request.uri().authority(), first) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().map_err(|_| Refusal::HOST)?,
        (None, None) if request.version() < Version::HTTP_11 => &rules.local,
        (None, None) => return Err(Refusal::HOST),
    };
    if host::is_host(host) { Ok(host) } else { Err(Refusal::HOST) }
}

/// The same without `prefix`, if its path begins with it and the segment ends there.
fn without_prefix(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    let path = match rest.bytes().next() {
        None => PathAndQuery::from_static("/"),
        Some(b'/') => PathAndQuery::try_from(rest).ok()?,
        Some(b'?') => PathAndQuery::try_from(format!("/{rest}")).ok()?,
        Some(_) => return None,
    };
    let mut parts: Parts = uri.clone().into_parts();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(public_url: Option<&str>) -> Rules {
        let settings = Settings { public_url: public_url.map(Into::into), ..Settings::default() };
        Rules::new(&settings, settings.listen).unwrap()
    }

    /// Base, path and client of a request with these headers, from this peer.
    fn stamped(
        rules: &Rules,
        peer: &str,
        uri: &str,
        lines: &[(&str, &str)],
    ) -> Result<(String, String, String), Refusal> {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        let mut request = builder.body(()).unwrap();
        let mut origins = Origins::new(rules, peer.parse().unwrap());
        origins.stamp(rules, &mut request)?;
        if !origins.trusted() {
            assert!(!proxy::any(request.headers()), "an untrusted peer's forwarding headers went through");
        }
        let base = request.extensions().get::<Base>().unwrap().0.to_string();
        let client = request.extensions().get::<ClientAddr>().unwrap().0.to_string();
        Ok((base, request.uri().to_string(), client))
    }

    const FORWARDED: [(&str, &str); 5] = [
        ("host", "inside:5000"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "example.org"),
        ("x-script-name", "/gw"),
        ("x-forwarded-for", "203.0.113.9"),
    ];

    #[test]
    fn trusted_proxies_are_believed() {
        let told = stamped(&rules(None), "127.0.0.1", "/gw/info?x=1", &FORWARDED).unwrap();
        assert_eq!(told, ("https://example.org/gw".into(), "/info?x=1".into(), "203.0.113.9".into()));
        let told = stamped(&rules(None), "::ffff:127.0.0.1", "/info", &FORWARDED).unwrap();
        assert_eq!(told, ("https://example.org/gw".into(), "/info".into(), "203.0.113.9".into()));
    }

    #[test]
    fn others_are_not() {
        let told = stamped(&rules(None), "203.0.113.9", "/gw/info", &FORWARDED).unwrap();
        assert_eq!(told, ("http://inside:5000".into(), "/gw/info".into(), "203.0.113.9".into()));
    }

    #[test]
    fn without_a_forwarded_host_the_host_counts() {
        let told = stamped(&rules(None), "::1", "/", &[("host", "a:1"), ("x-scheme", "https")]).unwrap();
        assert_eq!(told.0, "https://a:1");
    }

    #[test]
    fn a_public_url_counts_always() {
        let rules = rules(Some("HTTPS://public.example/p/"));
        assert_eq!(stamped(&rules, "127.0.0.1", "/gw/x", &FORWARDED).unwrap().0, "https://public.example/p");
        let told = stamped(&rules, "203.0.113.9", "/p/x", &[("host", "a")]).unwrap();
        assert_eq!((told.0.as_str(), told.1.as_str()), ("https://public.example/p", "/x"));
        assert_eq!(stamped(&rules, "203.0.113.9", "/p/x", &[]), Err(Refusal::HOST));
    }

    #[test]
    fn a_prefix_is_removed_at_a_segment_boundary_and_once() {
        let headers = [("host", "a"), ("x-forwarded-prefix", "/gw/")];
        for (before, after) in [
            ("/gw", "/"),
            ("/gw/", "/"),
            ("/gw?a=b", "/?a=b"),
            ("/gw/gw/x", "/gw/x"),
            ("/gwx/y", "/gwx/y"),
            ("/x/gw", "/x/gw"),
            ("/x", "/x"),
        ] {
            assert_eq!(stamped(&rules(None), "127.0.0.1", before, &headers).unwrap().1, after, "{before}");
        }
    }

    #[test]
    fn a_host_is_needed_once_and_valid() {
        let from = |uri: &str, lines: &[(&str, &str)]| stamped(&rules(None), "203.0.113.9", uri, lines);
        assert_eq!(from("/", &[]), Err(Refusal::HOST));
        assert_eq!(from("/", &[("host", "a"), ("host", "a")]), Err(Refusal::HOST));
        assert_eq!(from("/", &[("host", "a/b")]), Err(Refusal::HOST));
        assert_eq!(from("/", &[("host", "")]), Err(Refusal::HOST));
        assert_eq!(from("http://target:8/x", &[("host", "other")]).unwrap().0, "http://target:8");
    }

    #[test]
    fn a_base_is_made_once() {
        let rules = rules(None);
        let mut origins = Origins::new(&rules, IpAddr::from([203, 0, 113, 9]));
        let mut base = |host: &str| {
            let mut request = Request::builder().uri("/").header("host", host).body(()).unwrap();
            origins.stamp(&rules, &mut request).unwrap();
            request.extensions().get::<Base>().unwrap().0.clone()
        };
        let first = base("a");
        assert!(std::sync::Arc::ptr_eq(&first, &base("a")));
        assert_eq!(&*base("ab"), "http://ab");
        assert_eq!(&*base("a"), "http://a");
    }

    #[test]
    fn a_wrong_public_url_is_told() {
        for url in ["example.org", "ftp://a", "http://", "http://a b", "http://a/../b", "http://a/?q"] {
            let settings = Settings { public_url: Some(url.into()), ..Settings::default() };
            assert!(Rules::new(&settings, settings.listen).is_err(), "{url}");
        }
    }
}
