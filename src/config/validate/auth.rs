//! `[auth]`: every algorithm has its key.

use super::Check;
use crate::{Auth, HttpUrl, Mode, Server};
use url::{Host, Url};

pub(super) fn check(auth: &Auth, server: &Server, check: &mut Check<'_>) {
    if !check.sound("auth.mode") || !check.sound("auth.algorithms") {
        return;
    }
    match auth.mode {
        Mode::Jwt => jwt(auth, check),
        Mode::None if !server.listen.ip().is_loopback() => {
            check.warn("auth.mode", "none: everybody who reaches server.listen is admitted");
        }
        Mode::None => {}
    }
}

fn jwt(auth: &Auth, check: &mut Check<'_>) {
    if auth.algorithms.is_empty() {
        check.fault("auth.algorithms", "expected at least one algorithm, such as \"HS512\"");
        return;
    }
    let shared = auth.algorithms.iter().filter_map(|algorithm| algorithm.least_key()).max();
    let public = auth.algorithms.iter().find(|algorithm| algorithm.least_key().is_none());
    if auth.audience.is_empty() {
        check.fault("auth.audience", "expected the `aud` that tokens carry");
    }
    match (shared, auth.key.is_empty()) {
        (Some(_), true) if auth.jwks_url.is_some() && public.is_none() => check.fault(
            "auth.algorithms",
            "jwks_url publishes public keys, and only HS* algorithms are allowed: say which the issuer signs with, \
             such as [\"RS256\"]",
        ),
        (Some(_), true) => check.fault(
            "auth.key",
            "tokens are asked for and no key is set: set GATEWAY_AUTH__KEY (or key = \"file:PATH\") to a key in base64, \
             made for instance by `head -c 64 /dev/urandom | base64 -w 0`; or, where everybody may come in, \
             set auth.mode = \"none\"",
        ),
        (Some(least), false) => key(auth, least, check),
        (None, false) => check.warn("auth.key", "not used: no HS* algorithm is in auth.algorithms"),
        (None, true) => {}
    }
    match (public, &auth.jwks_url) {
        (Some(algorithm), None) => {
            let reason = format!("{} needs the public keys' URL", algorithm.as_str());
            check.fault("auth.jwks_url", reason);
        }
        (None, Some(_)) => check.warn("auth.jwks_url", "not used: only HS* algorithms are in auth.algorithms"),
        (Some(_), Some(url)) if !is_private(url) => {
            check.warn("auth.jwks_url", "the keys are fetched without TLS: whoever can change them on their way signs");
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Fetched with TLS, or from this machine?
fn is_private(url: &HttpUrl) -> bool {
    let Ok(url) = Url::parse(url.as_str()) else { return false };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || loopback
}

fn key(auth: &Auth, least: usize, check: &mut Check<'_>) {
    match auth.key_bytes() {
        None => check.fault("auth.key", "expected base64"),
        Some(bytes) if bytes.is_empty() => check.fault("auth.key", "expected base64 of at least one byte"),
        Some(bytes) if bytes.len() < least => check.warn(
            "auth.key",
            format!("{} bytes: RFC 7518 asks for at least {least} with the algorithms chosen", bytes.len()),
        ),
        Some(_) => {}
    }
}
