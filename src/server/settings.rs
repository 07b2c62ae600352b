//! What can be set.

use ipnet::IpNet;
use std::{net::SocketAddr, time::Duration};

/// What can be set: section `[server]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. Port 0: the system chooses, see [`Server::local_addr`](crate::Server::local_addr).
    /// Default `127.0.0.1:5000`.
    pub listen: SocketAddr,
    /// How clients reach the gateway: `scheme://host[:port][/prefix]`. `None`: from each request. Default `None`.
    pub public_url: Option<String>,
    /// Peers whose `X-Forwarded-*`, `X-Scheme`, `X-Script-Name`, `Forwarded` and `X-Request-Id` are believed.
    /// Default: loopback.
    pub trusted_proxies: Vec<IpNet>,
    /// The most bytes that any request may carry: the largest of all limits that layers have for their own routes
    /// (an upload's, say). Beyond: 413. Default 2 MiB.
    pub max_body: u64,
    /// How long a head may take: from the connection to the first request, and from the first byte of any other.
    /// Default 10 s.
    pub header_timeout: Duration,
    /// How long a request may take, from its head to the head of its answer. A client that has not sent its body by
    /// then gets 408, everybody else 503. A body of more than 64 KiB, or of unknown length, may take longer while it comes
    /// at 16 KiB/s on the whole and without such a pause; its answer has that time from the last byte. Also how long a
    /// client may refuse to take any byte of an answer. Default 30 s.
    pub request_timeout: Duration,
    /// How long connections are still taken after the shutdown began. Default 0.
    pub drain_delay: Duration,
    /// How long requests under way may take after that. Default 30 s.
    pub shutdown_grace: Duration,
    /// Requests at once; beyond: 503 with `Retry-After` (probes and metrics are exempt). Four times as many
    /// connections are kept, and at least 256. Default 1024.
    pub max_concurrency: usize,
    /// Threads, each with a runtime of its own. 0: one a core. Default 0.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            public_url: None,
            trusted_proxies: vec![
                IpNet::from(std::net::IpAddr::from([127, 0, 0, 1])),
                IpNet::from(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
            ],
            max_body: 2 << 20,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            shutdown_grace: Duration::from_secs(30),
            max_concurrency: 1024,
            threads: 0,
        }
    }
}

impl Settings {
    /// Can a server be made of them, as far as they say themselves?
    ///
    /// # Errors
    /// What would be right for `public_url`.
    pub fn check(&self) -> Result<(), &'static str> {
        self.public_url.as_deref().map_or(Ok(()), |url| crate::origin::public(url).map(drop))
    }

    /// How many connections are kept.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_concurrency.saturating_mul(4).max(256)
    }

    /// How many threads there are.
    pub(crate) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}
