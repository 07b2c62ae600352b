//! What the client is told: where the broker is, which queues there are, and its bounds.

use gateway_celery::Field;
use lapin::uri::{AMQPScheme, AMQPUri};
use std::fmt;
use std::time::Duration;

/// Largest AMQP frame we ask for, in bytes. lapin keeps two buffers of 32 frames a connection: 1 MiB with this, 8 MiB with
/// the broker's usual 128 KiB.
const FRAME_MAX: u32 = 16 * 1024;
/// Heartbeat we ask for, in seconds: a dead peer is noticed after twice that.
const HEARTBEAT: u16 = 20;

/// A broker's URL, checked. Shown, it has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(AMQPUri);

/// A text that is no broker's URL. (The text itself is not told: it may hold a password.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a broker's URL: write amqp://user:password@host:5672/vhost, or amqps://… for TLS")]
pub struct BadAddress;

impl Address {
    /// Reads `amqp://user:password@host:port/vhost` (or `amqps`). An empty virtual host counts as `/`; `frame_max` and
    /// `heartbeat` in the query are kept, else small ones are asked for.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        let mut uri: AMQPUri = url.parse().map_err(|_| BadAddress)?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        if uri.vhost.len() > 255 {
            return Err(BadAddress);
        }
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(Self(uri))
    }

    pub(crate) fn uri(&self) -> &AMQPUri {
        &self.0
    }

    /// The text with the password cut out, should an error ever quote it.
    pub(crate) fn scrub(&self, text: &str) -> String {
        match self.0.authority.userinfo.password.as_str() {
            // Short ones (`guest`, say) are words of their own, and no secrets.
            password if password.len() > 5 => text.replace(password, "***"),
            _ => text.to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.0.scheme {
            AMQPScheme::AMQP => "amqp",
            AMQPScheme::AMQPS => "amqps",
        };
        let authority = &self.0.authority;
        let vhost = self.0.vhost.replace('/', "%2f");
        write!(f, "{scheme}://{}:***@{}:{}/{vhost}", authority.userinfo.username, authority.host, authority.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a service's queue is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// On one node; declared without arguments, as stock Celery does.
    #[default]
    Classic,
    /// On several (`x-queue-type=quorum`).
    Quorum,
}

/// A service's queue, as its workers declare it. Always durable.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueSpec {
    /// Its name: 1 to 255 bytes.
    pub name: String,
    /// Classic or quorum.
    pub kind: Kind,
    /// Further arguments, exactly as the workers give them.
    pub arguments: Vec<(String, Field)>,
}

/// Everything a [`Client`](crate::Client) is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the broker is, and who we are.
    pub address: Address,
    /// What the broker's own tools show as the connections' name, followed by what each is for.
    pub name: String,
    /// How long a publication may stay without an answer until its outcome is told as unknown; while the broker blocks
    /// (a memory alarm, say) that time does not pass. Also how long
    /// [`Client::publish`](crate::Client::publish) waits for room.
    pub publish_timeout: Duration,
    /// The services' queues, declared at each connect.
    pub queues: Vec<QueueSpec>,
    /// The queue of results: durable, with a single active consumer, shared by all gateways of an installation.
    pub reply_queue: String,
    /// Queues of dead letters, each at most once: consumed, and declared (durable) where they do not exist.
    pub dead_letters: Vec<String>,
    /// How many deliveries may wait for their receipt: 1 and up.
    pub prefetch: u16,
    /// The largest body sent, in bytes; a larger one is refused before the broker would close the channel over it.
    pub max_message: usize,
}

impl Settings {
    /// Settings with the usual bounds: 5 s to publish, 512 deliveries at once, bodies up to 16 MiB (what RabbitMQ 4 takes).
    pub fn new(address: Address, name: impl Into<String>, reply_queue: impl Into<String>) -> Self {
        Self {
            address,
            name: name.into(),
            publish_timeout: Duration::from_secs(5),
            queues: Vec::new(),
            reply_queue: reply_queue.into(),
            dead_letters: Vec::new(),
            prefetch: 512,
            max_message: 16 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_an_address_holds_the_password() {
        let address = Address::parse("amqp://user:hunter22@broker:5673/main").expect("a URL");
        assert_eq!(address.to_string(), "amqp://user:***@broker:5673/main");
        let settings = Settings::new(address.clone(), "gateway", "replies");
        assert!(!format!("{settings:?}").contains("hunter22"));
        assert_eq!(address.scrub("refused for user:hunter22"), "refused for user:***");
        let bad = Address::parse("amqp://user:hunter22@bro ker:port").expect_err("no URL");
        assert!(!bad.to_string().contains("hunter22"));
    }

    #[test]
    fn the_default_virtual_host_may_be_left_out() {
        for url in ["amqp://h", "amqp://h/", "amqp://h/%2f", "amqp://h//"] {
            assert_eq!(Address::parse(url).expect("a URL").uri().vhost, "/", "{url}");
        }
        assert!(Address::parse("http://h").is_err());
        assert!(Address::parse("").is_err());
        let own = Address::parse("amqps://h/v?frame_max=8192&heartbeat=5").expect("a URL");
        assert_eq!((own.uri().query.frame_max, own.uri().query.heartbeat), (Some(8192), Some(5)));
    }
}
