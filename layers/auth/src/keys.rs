//! Public keys: which of them may verify a token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, sync::Arc};

/// The most keys that are read of a set: more is a mistake, and each is compared with every token.
const MOST: usize = 100;
/// The least modulus of an RSA key, in bytes (RFC 7518, 3.3), and the most that is worth the work.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// Where the public keys of an issuer come from: somebody else fetches them, the gate only looks.
pub trait Keys: Send + Sync + 'static {
    /// The newest set, without waiting; `None` if none could be fetched yet.
    fn current(&self) -> Option<Arc<KeySet>>;
    /// A token names a key that is not in the set: it may be worth looking for a newer one. Called as often as
    /// somebody sends such a token.
    fn missed(&self);
}

/// The public keys of an issuer. `Debug` shows their ids only.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

#[derive(Clone)]
struct PublicKey {
    id: Option<String>,
    /// What it may verify, and nothing else.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why a text is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON object with a list `keys`.
    #[error("it is no JSON Web Key Set: expected an object with a list \"keys\"")]
    NotASet,
    /// It has more keys than are read.
    #[error("it has more than {MOST} keys")]
    TooMany,
    /// No key in it verifies signatures with an algorithm that is known here.
    #[error("it has no key that could verify a signature: expected RSA (2048 bits or more), P-256, P-384 or Ed25519")]
    NoKey,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517). A key of another kind, for another use, or that cannot be read is left
    /// out, as the RFC asks; a symmetric key is never taken from a set.
    ///
    /// # Errors
    /// No set, too many keys, or none that can be used.
    pub fn from_jwks(json: &[u8]) -> Result<Self, KeySetError> {
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::NotASet)?;
        if set.keys.len() > MOST {
            return Err(KeySetError::TooMany);
        }
        let read = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = read.filter_map(Jwk::public_key).collect();
        if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(Self { keys }) }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Is there no key?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One more key, for all algorithms of its family.
    pub(crate) fn add(&mut self, id: String, key: DecodingKey) {
        let all = [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ];
        let algorithms = all.into_iter().filter(|algorithm| algorithm.family() == key.family()).collect();
        self.keys.push(PublicKey { id: Some(id), algorithms, key });
    }

    /// Can any key verify that algorithm?
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    /// The one key that may have signed a token with that algorithm and `kid`. Without a `kid` there must be no choice.
    pub(crate) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&DecodingKey> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id));
        fitting.next().filter(|_| fitting.next().is_none()).map(|key| &key.key)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id.as_deref().unwrap_or("(no kid)"))).finish()
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What of a key concerns us (RFC 7517, 7518, 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    fn public_key(self) -> Option<PublicKey> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|name| name == "verify"));
        if !for_signatures {
            return None;
        }
        let (x, y, curve) = (self.x.as_deref(), self.y.as_deref(), self.crv.as_deref());
        let (mut algorithms, key) = match (self.kty.as_str(), curve) {
            ("RSA", _) => (vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512], self.rsa()?),
            ("EC", Some("P-256")) => (vec![Algorithm::ES256], elliptic(x?, y?, 32)?),
            ("EC", Some("P-384")) => (vec![Algorithm::ES384], elliptic(x?, y?, 48)?),
            ("OKP", Some("Ed25519")) => {
                bytes(x?, 32)?;
                (vec![Algorithm::EdDSA], DecodingKey::from_ed_components(x?).ok()?)
            }
            _ => return None,
        };
        if let Some(only) = &self.alg {
            // RFC 9864 calls it Ed25519 where RFC 8037 says EdDSA.
            let only: Algorithm = if only == "Ed25519" { Algorithm::EdDSA } else { only.parse().ok()? };
            algorithms.retain(|algorithm| *algorithm == only);
        }
        debug_assert!(key.family() != AlgorithmFamily::Hmac, "no branch above makes a shared key");
        (!algorithms.is_empty()).then_some(PublicKey { id: self.kid, algorithms, key })
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (n, e) = (self.n.as_deref()?, self.e.as_deref()?);
        let modulus = URL_SAFE_NO_PAD.decode(n).ok()?;
        let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
        if !MODULUS.contains(&significant) {
            return None;
        }
        DecodingKey::from_rsa_components(n, e).ok()
    }
}

fn elliptic(x: &str, y: &str, length: usize) -> Option<DecodingKey> {
    bytes(x, length)?;
    bytes(y, length)?;
    DecodingKey::from_ec_components(x, y).ok()
}

fn bytes(text: &str, length: usize) -> Option<()> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == length).map(drop)
}
