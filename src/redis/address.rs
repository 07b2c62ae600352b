//! Where the server is.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use std::fmt;

/// A server's URL, checked. Shown, it has no password.
#[derive(Clone)]
pub struct Address(ConnectionInfo);

/// A text that is no server's URL. (The text itself is not told: it may hold a password.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis server's URL: write redis://user:password@host:6379/0, or rediss://… for TLS")]
pub struct BadAddress;

impl Address {
    /// Reads `redis://user:password@host:port/database` (or `rediss`).
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err(BadAddress);
        }
        let info = url.into_connection_info().map_err(|_| BadAddress)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Self(info.set_redis_settings(settings)))
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        self.0.clone()
    }

    /// The text with the password cut out, should an error ever quote it.
    pub(crate) fn scrub(&self, text: &str) -> String {
        match self.0.redis_settings().password() {
            Some(password) if password.len() > 5 => text.replace(password, "***"),
            _ => text.to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self.0.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host.as_str(), *port),
            ConnectionAddr::TcpTls { host, port, .. } => ("rediss", host.as_str(), *port),
            // Not made by `parse`.
            _ => ("redis", "?", 0),
        };
        let secret = if self.0.redis_settings().password().is_some() { ":***@" } else { "" };
        write!(f, "{scheme}://{secret}{host}:{port}/{}", self.0.redis_settings().db())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_an_address_holds_the_password() {
        let address = Address::parse("redis://user:hunter22@host:6380/3").expect("a URL");
        assert_eq!(format!("{address} {address:?}"), "redis://:***@host:6380/3 redis://:***@host:6380/3");
        assert_eq!(address.scrub("refused: hunter22"), "refused: ***");
        assert_eq!(Address::parse("rediss://host").expect("a URL").to_string(), "rediss://host:6379/0");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for url in
            ["", "redis", "http://host", "unix:///tmp/redis.sock", "redis://host/x", "redis+unix:///a", "redis://:p@"]
        {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
