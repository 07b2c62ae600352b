//! Issuers of tokens with private keys, made for each test.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

/// What stands before the PKCS#1 key in a PKCS#8 document of an RSA key of 2048 bits.
const PKCS8_HEAD: usize = 26;

/// A private key with its id.
pub struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A new key for that algorithm.
    pub fn new(id: &str, algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let key = match (algorithm.family(), algorithm) {
            (AlgorithmFamily::Rsa, _) => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                EncodingKey::from_rsa_der(&der.as_ref()[PKCS8_HEAD..])
            }
            (_, Algorithm::ES256) => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(pair.as_ref())
            }
            (_, Algorithm::ES384) => {
                let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
                EncodingKey::from_ec_der(pair.as_ref())
            }
            (AlgorithmFamily::Ed, _) => {
                EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).unwrap().as_ref())
            }
            other => panic!("no private key for {other:?}"),
        };
        Self { id: id.to_owned(), algorithm, key }
    }

    /// The public key as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with this key's id and algorithm.
    pub fn token(&self, claims: &Value) -> String {
        self.token_as(claims, Some(&self.id), self.algorithm)
    }

    /// A token that says another key's id, or another algorithm of the same family.
    pub fn token_as(&self, claims: &Value, kid: Option<&str>, algorithm: Algorithm) -> String {
        let head = Header { kid: kid.map(Into::into), ..Header::new(algorithm) };
        encode(&head, claims, &self.key).unwrap()
    }
}

/// A key set of these.
pub fn jwks(signers: &[&Signer]) -> Value {
    json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() })
}
