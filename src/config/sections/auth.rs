//! `[auth]`

use super::seconds;
use crate::{fields::choice, schema::table, secret::Secret, urls::HttpUrl};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use std::time::Duration;

choice! {
    /// `auth.mode`: is a token asked for?
    pub enum Mode {
        /// A JSON Web Token.
        Jwt = "jwt",
        /// Every request is admitted.
        None = "none",
    }
}

choice! {
    /// A signature algorithm of RFC 7518 or RFC 8037.
    #[allow(missing_docs)] // the names of the RFCs
    pub enum Algorithm {
        Hs256 = "HS256",
        Hs384 = "HS384",
        Hs512 = "HS512",
        Rs256 = "RS256",
        Rs384 = "RS384",
        Rs512 = "RS512",
        Es256 = "ES256",
        Es384 = "ES384",
        EdDsa = "EdDSA",
    }
}

impl Algorithm {
    /// The least length of its shared key in bytes (RFC 7518, 3.2: the hash's own length); `None` when it has a
    /// public key.
    pub const fn least_key(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

choice! {
    /// A verb that `auth.public` may open to requests without a token.
    #[allow(missing_docs)] // the routes of the same names
    pub enum PublicVerb {
        Annotate = "annotate",
        Process = "process",
        Status = "status",
        Cancel = "cancel",
        Info = "info",
        Stats = "stats",
        Pages = "pages",
        Needs = "needs",
        UploadPath = "upload_path",
        Upload = "upload",
        Download = "download",
        Workflow = "workflow",
    }
}

table! {
    /// `[auth]`: who is admitted.
    pub struct Auth {
        /// Is a token asked for? Default: jwt, which needs `key` or `jwks_url`.
        pub mode: Mode = Mode::Jwt,
        /// The algorithms accepted; at least one. Default HS512.
        pub algorithms: Vec<Algorithm> = vec![Algorithm::Hs512],
        /// The shared key of HS* algorithms in base64, see [`Auth::key_bytes`]. Default: none.
        pub key: Secret = Secret::default(),
        /// Where the public keys of the other algorithms are. Default: none.
        pub jwks_url: Option<HttpUrl> = None,
        /// The `aud` that a token must name. Default `service-gateway`.
        pub audience: String = "service-gateway".to_owned(),
        /// The `iss` that a token must name; empty = not checked.
        pub issuer: String = String::new(),
        /// How far clocks may differ. Default 10 s.
        pub leeway: Duration = seconds(10),
        /// The verbs that need no token. Default: status, info, stats, pages, needs, download.
        pub public: Vec<PublicVerb> = vec![
            PublicVerb::Status,
            PublicVerb::Info,
            PublicVerb::Stats,
            PublicVerb::Pages,
            PublicVerb::Needs,
            PublicVerb::Download,
        ],
        /// A simple key that workers share with the gateway, on the temporary-file routes only. Default: none.
        pub shared_key: Secret = Secret::default(),
    }
}

impl Auth {
    /// The bytes of `key`: base64 in the standard or the URL alphabet, padded or not, white space ignored
    /// (`openssl rand -base64 64` breaks its line). `None` when it is not base64; empty when no key is set.
    pub fn key_bytes(&self) -> Option<Vec<u8>> {
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text: String = self.key.expose().split_ascii_whitespace().collect();
        let alphabet = if text.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
        GeneralPurpose::new(&alphabet, config).decode(text).ok()
    }
}
