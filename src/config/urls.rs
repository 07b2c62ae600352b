//! URLs of the configuration. Each may carry a password, so that none prints itself whole.

use crate::secret::HIDDEN;
use std::{fmt, path::PathBuf};
use url::Url;

/// `text` as a URL without password, query and fragment: `amqp://user:***@host:5672/vhost?***`.
/// What does not parse is hidden whole.
fn redact(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.to_owned() };
    if url.password().is_some() && url.set_password(Some(HIDDEN)).is_err() {
        return HIDDEN.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some(HIDDEN));
    }
    url.set_fragment(None);
    url.into()
}

/// A URL with a host and one of these schemes, or a reason that does not quote it.
fn parse_url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let expected = || schemes.iter().map(|scheme| format!("{scheme}://…")).collect::<Vec<_>>().join(" or ");
    let url = Url::parse(text).map_err(|error| {
        format!("expected a URL ({}): {error} (special characters in a password are written as %XX)", expected())
    })?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("expected a URL of another scheme ({})", expected()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("expected {} with a host", expected()));
    }
    Ok(url)
}

/// A URL that may carry a password. Prints redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    pub(crate) fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        parse_url(text, schemes).map(|_| Self(text.to_owned()))
    }

    /// The URL as it was written, password included: for the place that connects, never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL for logs: `amqp://user:***@host:5672/vhost`.
    pub fn redacted(&self) -> String {
        redact(&self.0)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// An `http://` or `https://` URL, as it was written (placeholders such as `{storage_doc_id}` included).
/// `Debug` shows it without password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// Reads an absolute `http` or `https` URL.
    ///
    /// # Errors
    /// What is wrong, in words that do not quote the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_url(text, &["http", "https"]).map(|_| Self(text.to_owned()))
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does it carry a user or a password?
    pub(crate) fn has_userinfo(&self) -> bool {
        Url::parse(&self.0).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
    }

    /// The same without slashes at its end.
    pub(crate) fn trimmed(&self) -> Self {
        Self(self.0.trim_end_matches('/').to_owned())
    }

    pub(crate) fn redacted(&self) -> String {
        redact(&self.0)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// `broker.url`: which broker carries the tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerUrl {
    /// No broker: tasks wait in the store and go to workers started by the same process.
    Embedded,
    /// RabbitMQ, `amqp://` or `amqps://`.
    Amqp(SecretUrl),
}

impl BrokerUrl {
    /// Reads `embedded`, `amqp://…` or `amqps://…`.
    ///
    /// # Errors
    /// What is wrong, in words that do not quote the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            _ => SecretUrl::parse(text, &["amqp", "amqps"])
                .map(Self::Amqp)
                .map_err(|reason| format!("{reason}; or `embedded`")),
        }
    }

    /// For logs: without the password.
    pub fn redacted(&self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Amqp(url) => url.redacted(),
        }
    }
}

/// `broker.result_backend`: how workers send their results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultBackend {
    /// To one reply queue of this installation.
    Rpc,
    /// To one queue per task (Celery up to 4).
    Amqp,
    /// To Redis.
    Redis(SecretUrl),
}

impl ResultBackend {
    /// Reads `rpc`, `amqp` or `redis://…` (`rediss://…` for TLS).
    ///
    /// # Errors
    /// What is wrong, in words that do not quote the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "rpc" => Ok(Self::Rpc),
            "amqp" => Ok(Self::Amqp),
            _ => SecretUrl::parse(text, &["redis", "rediss"])
                .map(Self::Redis)
                .map_err(|reason| format!("{reason}; or `rpc`, or `amqp`")),
        }
    }

    /// For logs: without the password.
    pub fn redacted(&self) -> String {
        match self {
            Self::Rpc => "rpc".to_owned(),
            Self::Amqp => "amqp".to_owned(),
            Self::Redis(url) => url.redacted(),
        }
    }
}

/// `store.url`: where tasks are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// An SQLite file; a relative path starts at the current directory.
    Sqlite(PathBuf),
    /// SQLite in memory: everything is forgotten at the end of the process.
    SqliteMemory,
    /// PostgreSQL.
    Postgres(SecretUrl),
}

impl StoreUrl {
    /// Reads `sqlite:FILE` (also `sqlite://FILE`), `sqlite::memory:` or `postgres://…` (also `postgresql://…`).
    ///
    /// # Errors
    /// What is wrong, in words that do not quote the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "expected `sqlite:FILE`, `sqlite::memory:` or `postgres://…`";
        let Some(file) = text.strip_prefix("sqlite:") else {
            return SecretUrl::parse(text, &["postgres", "postgresql"])
                .map(Self::Postgres)
                .map_err(|reason| format!("{reason}; or `sqlite:FILE`, or `sqlite::memory:`"));
        };
        match file.strip_prefix("//").unwrap_or(file) {
            ":memory:" => Ok(Self::SqliteMemory),
            "" => Err(format!("{FORMS}: the file's name is missing")),
            file if file.contains(['?', '\0']) => Err(format!("{FORMS}: a file's name without `?` and options")),
            file => Ok(Self::Sqlite(PathBuf::from(file))),
        }
    }

    /// For logs: without the password.
    pub fn redacted(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite:{}", file.display()),
            Self::SqliteMemory => "sqlite::memory:".to_owned(),
            Self::Postgres(url) => url.redacted(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_queries_are_not_printed() {
        let url = BrokerUrl::parse("amqp://me:canary@host:5672/v%2fh?auth=canary").unwrap();
        assert_eq!(url.redacted(), "amqp://me:***@host:5672/v%2fh?***");
        assert!(!format!("{url:?}").contains("canary"));
        let url = HttpUrl::parse("https://me:canary@host/x?token=canary").unwrap();
        assert!(!format!("{url:?}").contains("canary"));
    }

    #[test]
    fn a_reason_does_not_quote_the_url() {
        for text in ["amqp://me:canary@", "amqp://me:ca/nary@host", "canary://x", "canary", "amqp://me:canary@host:no"]
        {
            let reason = BrokerUrl::parse(text).unwrap_err();
            assert!(!reason.contains("me:"), "{reason}");
        }
    }

    #[test]
    fn stores() {
        assert_eq!(StoreUrl::parse("sqlite:gateway.db"), Ok(StoreUrl::Sqlite("gateway.db".into())));
        assert_eq!(StoreUrl::parse("sqlite:///var/g.db"), Ok(StoreUrl::Sqlite("/var/g.db".into())));
        assert_eq!(StoreUrl::parse("sqlite:/var/g.db"), Ok(StoreUrl::Sqlite("/var/g.db".into())));
        assert_eq!(StoreUrl::parse("sqlite::memory:"), Ok(StoreUrl::SqliteMemory));
        assert!(matches!(StoreUrl::parse("postgres://u:p@h/db"), Ok(StoreUrl::Postgres(_))));
        for text in ["sqlite:", "sqlite://", "mysql://h/db", "gateway.db", "sqlite:x?mode=ro", ""] {
            assert!(StoreUrl::parse(text).is_err(), "{text}");
        }
    }
}
