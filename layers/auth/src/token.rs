//! From an `Authorization` header to who asks.

use crate::{
    fault::Fault,
    keys::{KeySet, Keys},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway_contract::{Identity, Service};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, errors::ErrorKind};
use quick_cache::sync::Cache;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The longest `Authorization` header that is looked at, in bytes.
pub(crate) const MAX_HEADER: usize = 8 * 1024;
/// How many verified tokens are remembered.
const REMEMBERED: usize = 4096;

/// The token of a request, bare or after `Bearer`.
pub(crate) fn of(headers: &HeaderMap) -> Result<&[u8], Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Fault::Missing)?.as_bytes();
    if values.next().is_some() {
        return Err(Fault::Several);
    }
    if value.len() > MAX_HEADER {
        return Err(Fault::TooLarge);
    }
    let value = value.trim_ascii();
    let token = match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") && rest.first().is_none_or(|b| *b == b' ') => {
            rest.trim_ascii()
        }
        _ => value,
    };
    if token.is_empty() { Err(Fault::Missing) } else { Ok(token) }
}

/// What a token says, once its signature and claims are verified.
#[derive(Debug)]
pub(crate) struct Verified {
    identity: Identity,
    /// The services it is good for, by name; `None` = all.
    services: Option<Vec<String>>,
    /// Seconds since 1970.
    expires: u64,
    /// Whose key it was, if the issuer publishes its keys: with another set, it is verified again.
    set: Option<Arc<KeySet>>,
}

impl Verified {
    /// Was it verified with what the issuer publishes now?
    fn is_of(&self, published: Option<&Arc<KeySet>>) -> bool {
        match (&self.set, published) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (None, None) => true,
            _ => false,
        }
    }

    /// Who asks, if the token is good for `service`.
    pub(crate) fn identity_for(&self, service: Option<&Service>) -> Result<Identity, Fault> {
        match (&self.services, service) {
            (Some(names), Some(service)) if !names.iter().any(|name| **name == *service.name) => {
                Err(Fault::NotForService)
            }
            _ => Ok(self.identity.clone()),
        }
    }
}

/// Verifies tokens, and remembers which it has verified.
pub(crate) struct Verifier {
    pub(crate) secret: Option<DecodingKey>,
    /// Public keys that were given.
    pub(crate) keys: KeySet,
    /// Public keys that the issuer publishes.
    pub(crate) published: Option<Arc<dyn Keys>>,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) audience: String,
    pub(crate) issuer: Option<String>,
    /// Seconds.
    pub(crate) leeway: u64,
    remembered: Cache<[u8; 32], Arc<Verified>>,
}

impl Verifier {
    pub(crate) fn new(algorithms: Vec<Algorithm>, audience: String, issuer: Option<String>, leeway: u64) -> Self {
        let remembered = Cache::new(REMEMBERED);
        Self {
            secret: None,
            keys: KeySet::default(),
            published: None,
            algorithms,
            audience,
            issuer,
            leeway,
            remembered,
        }
    }

    /// Verifies `token` at `now` (seconds since 1970).
    pub(crate) fn verify(&self, token: &[u8], now: u64) -> Result<Arc<Verified>, Fault> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let published = self.published.as_ref().and_then(|keys| keys.current());
        if let Some(known) = self.remembered.get(&digest).filter(|known| known.is_of(published.as_ref())) {
            if self.expired(known.expires, now) {
                self.remembered.remove(&digest);
                return Err(Fault::Expired);
            }
            return Ok(known);
        }
        let verified = Arc::new(self.read(token, now, published)?);
        self.remembered.insert(digest, verified.clone());
        Ok(verified)
    }

    fn expired(&self, expires: u64, now: u64) -> bool {
        expires.saturating_add(self.leeway) < now
    }

    fn read(&self, token: &[u8], now: u64, published: Option<Arc<KeySet>>) -> Result<Verified, Fault> {
        let (algorithm, key) = self.key(token, published.as_deref())?;
        // One algorithm: the library wants all the allowed ones to be of the key's family. It skips a claim that has
        // the wrong type; `Claims` does not. Times are judged below, by one clock with what is remembered.
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[&self.audience]);
        rules.set_required_spec_claims(&["exp", "aud"]);
        if let Some(issuer) = &self.issuer {
            rules.set_issuer(&[issuer]);
            rules.set_required_spec_claims(&["exp", "aud", "iss"]);
        }
        rules.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<Claims>(token, key, &rules).map_err(|error| self.fault(error.kind()))?.claims;

        let expires = seconds(claims.exp);
        if self.expired(expires, now) {
            return Err(Fault::Expired);
        }
        if claims.nbf.is_some_and(|nbf| seconds(nbf) > now.saturating_add(self.leeway)) {
            return Err(Fault::NotYet);
        }
        let identity = Identity { subject: claims.sub.map(Into::into) };
        Ok(Verified { identity, services: claims.services, expires, set: published })
    }

    /// The algorithm that the token asks for, if it is allowed, and the one key that may have signed it.
    fn key<'a>(&'a self, token: &[u8], published: Option<&'a KeySet>) -> Result<(Algorithm, &'a DecodingKey), Fault> {
        let head = Head::of(token)?;
        let algorithm = head.alg.parse().map_err(|_| Fault::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(Fault::Algorithm);
        }
        if algorithm.family() == AlgorithmFamily::Hmac {
            // Never a public one: its bytes are known to everybody.
            return self.secret.as_ref().map(|key| (algorithm, key)).ok_or(Fault::UnknownKey);
        }
        let id = head.kid.as_deref();
        let given = self.keys.find(algorithm, id);
        if let Some(key) = given.or_else(|| published.and_then(|keys| keys.find(algorithm, id))) {
            return Ok((algorithm, key));
        }
        let Some(issuer) = &self.published else { return Err(Fault::UnknownKey) };
        issuer.missed();
        Err(if published.is_some() { Fault::UnknownKey } else { Fault::NoKeys })
    }

    fn fault(&self, kind: &ErrorKind) -> Fault {
        match kind {
            ErrorKind::InvalidToken | ErrorKind::Base64(_) | ErrorKind::Utf8(_) => Fault::NotAToken,
            ErrorKind::InvalidAudience => Fault::Audience,
            ErrorKind::InvalidIssuer => Fault::Issuer,
            ErrorKind::InvalidAlgorithm => Fault::Algorithm,
            ErrorKind::Json(_) | ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
                Fault::Claims { issuer: self.issuer.is_some() }
            }
            // A key that does not fit the algorithm verifies nothing.
            _ => Fault::Signature,
        }
    }
}

impl Head {
    fn of(token: &[u8]) -> Result<Self, Fault> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Fault::NotAToken);
        };
        let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| Fault::NotAToken)?;
        let head: Self = serde_json::from_slice(&head).map_err(|_| Fault::NotAToken)?;
        if head.crit.is_some() { Err(Fault::Critical) } else { Ok(head) }
    }
}

/// Seconds since 1970 of a `NumericDate`; a float-to-integer cast saturates, and negative numbers are long past.
fn seconds(date: f64) -> u64 {
    date as u64
}

/// What of a token's header concerns us.
#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// The claims, strictly typed: an optional claim may be left out, but not be of another type, nor null.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(rename = "aud")]
    _aud: OneOrMany,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present", rename = "iat")]
    _iat: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "iss")]
    _iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    services: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(#[allow(dead_code)] String), // read for its type; the library judges the value
    Many(#[allow(dead_code)] Vec<String>),
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grant, sign};
    use std::time::{Duration, UNIX_EPOCH};

    fn verifier() -> Verifier {
        let mut verifier = Verifier::new(vec![Algorithm::HS512], "docs".into(), None, 10);
        verifier.secret = Some(DecodingKey::from_secret(&[7; 64]));
        verifier
    }

    fn token(expires: u64) -> Vec<u8> {
        let grant = Grant::new("docs", UNIX_EPOCH + Duration::from_secs(expires));
        sign(&grant, &[7; 64], Algorithm::HS512).expect("a token").into_bytes()
    }

    #[test]
    fn a_remembered_token_is_not_honoured_past_its_expiry_and_leeway() {
        let verifier = verifier();
        let token = token(1000);
        let first = verifier.verify(&token, 500).expect("valid");
        let second = verifier.verify(&token, 1010).expect("valid within the leeway");
        assert!(Arc::ptr_eq(&first, &second), "remembered");
        assert_eq!(verifier.verify(&token, 1011).err(), Some(Fault::Expired));
        assert_eq!(verifier.remembered.len(), 0);
        assert_eq!(verifier.verify(&token, 1011).err(), Some(Fault::Expired), "and not when it is read again");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_holds_no_bad_token() {
        let verifier = verifier();
        for expires in 0..3 * REMEMBERED as u64 {
            verifier.verify(&token(10_000 + expires), 500).expect("valid");
        }
        assert!(verifier.remembered.len() <= REMEMBERED);

        let strict = self::verifier();
        let mut forged = token(1000);
        *forged.last_mut().expect("a signature") ^= 1;
        assert!(strict.verify(&forged, 500).is_err());
        assert_eq!(strict.remembered.len(), 0);
    }

    #[test]
    fn dates_out_of_range_saturate() {
        assert_eq!((seconds(-1.0), seconds(1e300), seconds(5.9)), (0, u64::MAX, 5));
        assert!(!verifier().expired(u64::MAX, 5));
    }
}
