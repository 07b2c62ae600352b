//! Tokens of our own, for testing.

use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a token is to say.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    aud: String,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<Vec<String>>,
}

impl Grant {
    /// For everybody (no `sub`), for every service, issued now.
    pub fn new(audience: impl Into<String>, expires: SystemTime) -> Self {
        let (iat, exp) = (seconds(SystemTime::now()), seconds(expires));
        Self { sub: None, aud: audience.into(), iat, exp, iss: None, services: None }
    }

    /// For this subject (`sub`).
    #[must_use]
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.sub = Some(subject.into());
        self
    }

    /// Of this issuer (`iss`).
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.iss = Some(issuer.into());
        self
    }

    /// For these services only, by the names of their configuration tables (`services`).
    #[must_use]
    pub fn with_services<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.services = Some(names.into_iter().map(Into::into).collect());
        self
    }
}

/// Whole seconds since 1970; 0 for what is before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why a token could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The algorithm needs a private key, which a gateway does not have.
    #[error("tokens are signed with HS256, HS384 or HS512 only, not {0:?}: ask the issuer for one")]
    Algorithm(Algorithm),
    /// The shared key is empty.
    #[error("the key is empty")]
    EmptyKey,
    /// The signer failed.
    #[error("the token could not be signed")]
    Failed(#[source] jsonwebtoken::errors::Error),
}

/// A JWT that says `grant`, signed with the bytes of a shared key.
///
/// # Errors
/// An algorithm other than HS256, HS384, HS512; an empty key; a failure of the signer.
pub fn sign(grant: &Grant, key: &[u8], algorithm: Algorithm) -> Result<String, SignError> {
    if algorithm.family() != AlgorithmFamily::Hmac {
        return Err(SignError::Algorithm(algorithm));
    }
    if key.is_empty() {
        return Err(SignError::EmptyKey);
    }
    jsonwebtoken::encode(&Header::new(algorithm), grant, &EncodingKey::from_secret(key)).map_err(SignError::Failed)
}
