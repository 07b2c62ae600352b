//! The simple key that workers share with the gateway.

use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The header that may carry it.
const HEADER: &str = "x-service-key";
/// The query's field that may carry it.
const FIELD: &str = "service_key";

/// A key, kept as its SHA-256: digests have one length, so that comparing tells nothing, not even how long the key is.
#[derive(Clone)]
pub(crate) struct SharedKey([u8; 32]);

impl SharedKey {
    /// `None` if the key is empty: it would admit everybody.
    pub(crate) fn new(key: &str) -> Option<Self> {
        (!key.is_empty()).then(|| Self(Sha256::digest(key).into()))
    }

    /// Does the request carry the key? The header counts, and only without one the query's first field of that name.
    pub(crate) fn admits(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        if let Some(given) = headers.get(HEADER) {
            return self.is(given.as_bytes());
        }
        let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        fields.find(|(name, _)| name == FIELD).is_some_and(|(_, given)| self.is(given.as_bytes()))
    }

    fn is(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.0.ct_eq(&given).into()
    }
}
