//! The name of a request: `x-request-id`.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::{Builder, Uuid};

/// The header that carries it, in requests and in answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a proxy.
const LONGEST: usize = 64;

/// Makes ids (UUIDv7 without dashes). They are names, not secrets: random bits come from the system once, at the
/// start, and are then stirred; a system call for each request would cost more than the rest of its id.
#[derive(Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    /// A source of its own sequence.
    pub(crate) fn new() -> Self {
        let seed = Uuid::now_v7().as_u128();
        Self((seed ^ (seed >> 64)) as u64)
    }

    /// A new id.
    pub(crate) fn next(&mut self) -> HeaderValue {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.stir().to_ne_bytes());
        random[8..].copy_from_slice(&self.stir().to_ne_bytes()[..2]);
        let id = Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(u64::MAX), &random).into_uuid();
        let mut text = Uuid::encode_buffer();
        HeaderValue::from_str(id.simple().encode_lower(&mut text)).expect("hexadecimal digits are a header value")
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): a counter with a constant step, its bits mixed; period 2^64.
    fn stir(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The id that a trusted proxy gave, if it is one of ours to keep: 1 to 64 of `A-Z a-z 0-9 . _ -`.
pub(crate) fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(&X_REQUEST_ID)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(plain)).then(|| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_7_and_differ() {
        let (mut one, mut other) = (Ids::new(), Ids::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for ids in [&mut one, &mut other] {
                let id = ids.next();
                let uuid = Uuid::parse_str(id.to_str().unwrap()).unwrap();
                assert_eq!((uuid.get_version_num(), id.len()), (7, 32));
                assert!(seen.insert(uuid));
            }
        }
    }

    #[test]
    fn only_plain_short_ids_are_taken() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            given(&headers).is_some()
        };
        assert!(with(b"a") && with(b"0.A_z-9") && with(&[b'x'; 64]));
        assert!(!with(b"") && !with(&[b'x'; 65]) && !with(b"a b") && !with(b"a\"b") && !with(b"\xff"));
    }
}
