//! Who may do what.

use crate::{
    fault::Fault,
    keys::{KeySet, Keys},
    shared::SharedKey,
    token::{self, Verifier},
};
use gateway_contract::{Identity, Target, Verb};
use http::HeaderMap;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The names that `auth.public` may hold. Some are verbs of parts that an installation may not have.
pub const VERBS: [&str; 12] = [
    "annotate",
    "process",
    "status",
    "cancel",
    "info",
    "stats",
    "pages",
    "needs",
    "upload_path",
    "upload",
    "download",
    "workflow",
];

/// The longest leeway that makes sense: one day.
const MAX_LEEWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a policy cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No algorithm is allowed: every token would be refused.
    #[error("at least one algorithm must be allowed, HS512 for example")]
    NoAlgorithm,
    /// An algorithm is allowed that no key can verify.
    #[error("there is no key for algorithm {0:?}")]
    NoKey(Algorithm),
    /// The shared key is empty: anybody could sign with it.
    #[error("the key is empty")]
    EmptyKey,
    /// No audience is set, and `aud` is always checked.
    #[error("the audience is empty")]
    NoAudience,
    /// The leeway is longer than a day.
    #[error("a leeway of more than one day would keep expired tokens alive")]
    Leeway,
    /// A public verb has no such name.
    #[error("{0:?} is not a verb: use {list}", list = VERBS.join(" "))]
    UnknownVerb(String),
}

/// Who may do what. `Debug` shows no keys.
pub struct Policy {
    /// `None`: every request is admitted.
    verifier: Option<Verifier>,
    /// By [`Verb::index`].
    public: [bool; Verb::COUNT],
    /// Admits to temporary files, instead of a token.
    shared: Option<SharedKey>,
}

impl Policy {
    /// Admits every request and looks at no token: for closed networks and demonstrations.
    pub fn open() -> Self {
        Self { verifier: None, public: [true; Verb::COUNT], shared: None }
    }

    /// Admits requests by signed tokens (JWT). Nothing is public, no algorithm allowed, the leeway 10 s, until the
    /// builder says otherwise.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder {
            secret: None,
            keys: KeySet::default(),
            published: None,
            algorithms: Vec::new(),
            audience: String::new(),
            issuer: None,
            leeway: Duration::from_secs(10),
            public: Vec::new(),
            shared: None,
        }
    }

    /// Is a request of this verb asked for anything?
    pub(crate) fn verifies(&self, verb: Verb) -> bool {
        self.verifier.is_some() && !self.public[verb.index()]
    }

    /// Who asks; `None` where no token is looked at.
    pub(crate) fn admit(
        &self,
        target: &Target,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Option<Identity>, Fault> {
        let Some(verifier) = self.verifier.as_ref().filter(|_| !self.public[target.verb.index()]) else {
            return Ok(None);
        };
        if target.verb.is_about_files()
            && let Some(shared) = &self.shared
            && shared.admits(headers, query)
        {
            return Ok(None);
        }
        let token = token::of(headers)?;
        // By a clock that stands before 1970 every token has expired.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_secs());
        let verified = verifier.verify(token, now)?;
        verified.identity_for(target.service().map(|service| &**service)).map(Some)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(verifier) = &self.verifier else { return f.write_str("Policy(open)") };
        let public: Vec<_> = Verb::all().into_iter().filter(|verb| self.public[verb.index()]).map(Verb::name).collect();
        f.debug_struct("Policy")
            .field("algorithms", &verifier.algorithms)
            .field("audience", &verifier.audience)
            .field("issuer", &verifier.issuer)
            .field("leeway", &verifier.leeway)
            .field("public", &public)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Policy`]; see [`Policy::builder`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Clone)]
pub struct PolicyBuilder {
    secret: Option<DecodingKey>,
    keys: KeySet,
    published: Option<Arc<dyn Keys>>,
    algorithms: Vec<Algorithm>,
    audience: String,
    issuer: Option<String>,
    leeway: Duration,
    public: Vec<String>,
    shared: Option<SharedKey>,
}

impl PolicyBuilder {
    /// The algorithms that tokens may be signed with, and no others.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// The shared key for HS256, HS384 and HS512: its bytes, not their base64.
    pub fn secret(mut self, bytes: &[u8]) -> Self {
        self.secret = Some(DecodingKey::from_secret(bytes));
        self
    }

    /// A public key for RS*, PS*, ES* or EdDSA, and its id (`kid`). A token without `kid` is verified if just one key
    /// fits its algorithm.
    pub fn key(mut self, kid: impl Into<String>, key: DecodingKey) -> Self {
        self.keys.add(kid.into(), key);
        self
    }

    /// The public keys that an issuer publishes, which change while the gateway runs. What was verified with another
    /// set is verified again. As long as there is no set, tokens that need one are answered 503.
    pub fn published(mut self, keys: Arc<dyn Keys>) -> Self {
        self.published = Some(keys);
        self
    }

    /// What `aud` must be, or hold.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }

    /// What `iss` must be; empty = not checked.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into()).filter(|issuer| !issuer.is_empty());
        self
    }

    /// How far clocks may be apart; whole seconds count.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The verbs that need no token, by the names of [`VERBS`].
    pub fn public<N: Into<String>>(mut self, verbs: impl IntoIterator<Item = N>) -> Self {
        self.public = verbs.into_iter().map(Into::into).collect();
        self
    }

    /// A key that admits to temporary files (`upload_path`, `upload`, `download`) instead of a token: in the header
    /// `X-Service-Key`, or as `service_key` in the query. Empty = none.
    pub fn shared_key(mut self, key: &str) -> Self {
        self.shared = SharedKey::new(key);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// The first fault; see [`PolicyError`].
    pub fn build(self) -> Result<Policy, PolicyError> {
        if self.algorithms.is_empty() {
            return Err(PolicyError::NoAlgorithm);
        }
        if self.secret.as_ref().is_some_and(|key| key.try_get_as_bytes().is_ok_and(<[u8]>::is_empty)) {
            return Err(PolicyError::EmptyKey);
        }
        let verifiable = |algorithm: &Algorithm| match algorithm.family() {
            AlgorithmFamily::Hmac => self.secret.is_some(),
            _ => self.published.is_some() || self.keys.fits(*algorithm),
        };
        if let Some(algorithm) = self.algorithms.iter().find(|algorithm| !verifiable(algorithm)) {
            return Err(PolicyError::NoKey(*algorithm));
        }
        if self.audience.is_empty() {
            return Err(PolicyError::NoAudience);
        }
        if self.leeway > MAX_LEEWAY {
            return Err(PolicyError::Leeway);
        }
        let public = public(&self.public)?;
        let mut verifier = Verifier::new(self.algorithms, self.audience, self.issuer, self.leeway.as_secs());
        verifier.secret = self.secret;
        verifier.keys = self.keys;
        verifier.published = self.published;
        Ok(Policy { verifier: Some(verifier), public, shared: self.shared })
    }
}

impl fmt::Debug for PolicyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyBuilder").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Which verbs need no token.
fn public(names: &[String]) -> Result<[bool; Verb::COUNT], PolicyError> {
    if let Some(unknown) = names.iter().find(|name| !VERBS.contains(&name.as_str())) {
        return Err(PolicyError::UnknownVerb(unknown.clone()));
    }
    let mut public = [false; Verb::COUNT];
    for verb in Verb::all() {
        let always = matches!(verb, Verb::Livez | Verb::Readyz | Verb::Metrics | Verb::Bare | Verb::ErrorPage(_));
        public[verb.index()] = always || names.iter().any(|name| name == verb.name());
    }
    Ok(public)
}
