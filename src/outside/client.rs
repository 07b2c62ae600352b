//! The one HTTP client.

use crate::{Policy, policy::Fault, resolve::JudgingResolver};
use reqwest::{
    header::{HeaderMap, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tracing::warn;

/// How patient the client is.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For name, connection and TLS together (default 10 s).
    pub connect_timeout: Duration,
    /// Without a single byte from the other side, or while something is handed in, to it (default 30 s).
    pub stall_timeout: Duration,
    /// How often what may pass (no connection, a time-out, a 5xx answer) is tried again (default 3).
    pub retries: u32,
    /// Wait before the first retry; doubled for each further one (default 500 ms).
    pub back_off: Duration,
    /// Redirects that are followed (default 5).
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            retries: 3,
            back_off: Duration::from_millis(500),
            redirects: 5,
        }
    }
}

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientFault {
    /// The TLS provider does not support the protocol versions we ask for.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// Fetches, and hands in, what the policy admits. Cheap to clone; clones share their connections.
///
/// It keeps no cookies, sends no `Referer`, uses no proxy (through one, the addresses could not be judged), unpacks
/// nothing, and trusts the certificates that the system trusts.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// Follows no redirect: what is handed in must arrive where it was sent, or not at all.
    pub(crate) strict: reqwest::Client,
    /// As `strict`, for bodies that take their time: see `upload`, which has a clock of its own.
    pub(crate) slow: reqwest::Client,
    pub(crate) policy: Arc<Policy>,
    pub(crate) limits: Limits,
    /// What every request carries besides: its place in a trace.
    pub(crate) trace: HeaderMap,
}

impl Client {
    /// A client that goes where `policy` lets it, as patient as `limits` say. Reads the system's certificates.
    ///
    /// # Errors
    /// [`ClientFault`] if TLS cannot be set up. A system without certificates is only warned about: plain `http`
    /// needs none.
    pub fn new(policy: Policy, limits: Limits) -> Result<Self, ClientFault> {
        let policy = Arc::new(policy);
        let tls = tls()?;
        let build = |redirects, patience: Option<Duration>| {
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(JudgingResolver { policy: policy.clone() })
                .redirect(redirects)
                .no_proxy()
                .referer(false)
                .retry(reqwest::retry::never()) // retrying is ours: see `download`
                .connect_timeout(limits.connect_timeout)
                .user_agent(AGENT);
            match patience {
                Some(patience) => client.read_timeout(patience).build(),
                None => client.build(),
            }
        };
        let http = build(redirects(policy.clone(), limits.redirects), Some(limits.stall_timeout))?;
        let strict = build(redirect::Policy::none(), Some(limits.stall_timeout))?;
        // Its read timeout would count while we send, too.
        let slow = build(redirect::Policy::none(), None)?;
        Ok(Self { http, strict, slow, policy, limits, trace: HeaderMap::new() })
    }

    /// The same client; its requests carry these headers `traceparent` and `tracestate` (W3C Trace Context). What no
    /// header can hold is left out.
    #[must_use]
    pub fn within(&self, traceparent: &str, tracestate: Option<&str>) -> Self {
        let mut trace = HeaderMap::new();
        for (name, value) in [("traceparent", Some(traceparent)), ("tracestate", tracestate)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                trace.insert(name, value);
            }
        }
        Self { trace, ..self.clone() }
    }
}

/// A client without a policy, for URLs that an operator gives: the command line's own. Every request ends within
/// `deadline`. It follows no redirects, because a token would go with it.
///
/// # Errors
/// [`ClientFault`] if TLS cannot be set up.
pub fn plain_client(deadline: Duration) -> Result<reqwest::Client, ClientFault> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(redirect::Policy::none())
        .timeout(deadline)
        .user_agent(AGENT)
        .build()?;
    Ok(client)
}

const AGENT: &str = concat!("service-gateway/", env!("CARGO_PKG_VERSION"));

/// The provider is named rather than taken from the process, so that a host with another default one does not change
/// ours, and a process without one does not panic.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _unreadable) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        warn!(errors = ?found.errors, "no trusted certificates were found: https URLs cannot be fetched");
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Each hop is judged like a URL of its own: a public server must not lead us inside.
fn redirects(policy: Arc<Policy>, most: usize) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        // `previous` holds the first URL too.
        if attempt.previous().len() > most {
            return attempt.error(Fault::NotAllowed(format!("it was redirected more than {most} times")));
        }
        match policy.judge(attempt.url()).and_then(|()| fetchable(attempt.url())) {
            Ok(()) => attempt.follow(),
            Err(fault) => attempt.error(fault),
        }
    })
}

/// The policy may admit schemes for other people's workers that we cannot fetch ourselves.
pub(crate) fn fetchable(url: &url::Url) -> Result<(), Fault> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(Fault::Invalid(format!("the scheme {other:?} cannot be fetched here: use http or https"))),
    }
}
