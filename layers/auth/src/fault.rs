//! Why a token does not admit.

use gateway_contract::{Rejection, Side, code};
use http::StatusCode;

/// When a client may ask again, if there are no keys yet: in seconds.
const RETRY_AFTER: u32 = 2;

/// What is wrong with a token. Texts are for the client: they name what is wrong and hold nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a token is needed: send it as \"Authorization: Bearer <JWT>\"")]
    Missing,
    #[error("one token is enough: the request has several Authorization headers")]
    Several,
    #[error("the Authorization header is larger than {} bytes", crate::token::MAX_HEADER)]
    TooLarge,
    #[error("the Authorization header is not a JWT, nor Bearer and a JWT")]
    NotAToken,
    #[error("the token's header has \"crit\": no extension is understood here")]
    Critical,
    #[error("the token's algorithm (alg) is none of those that are allowed here (auth.algorithms)")]
    Algorithm,
    #[error("the token's key (\"kid\") is not known here")]
    UnknownKey,
    #[error("the issuer's public keys could not be fetched yet, so no token can be verified; try again")]
    NoKeys,
    #[error("the token's signature is not valid")]
    Signature,
    #[error(
        "a claim of the token is missing or has the wrong type: exp (a number) and aud (text or a list of texts) are \
         required{}; sub is text, nbf and iat are numbers, services is a list of texts",
        if *issuer { ", so is iss (text)" } else { "" }
    )]
    Claims { issuer: bool },
    #[error("the token is for another audience (aud): it must name that of this gateway (auth.audience)")]
    Audience,
    #[error("the token is of another issuer (iss)")]
    Issuer,
    #[error("the token has expired (exp): ask for a new one")]
    Expired,
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    #[error("the token is valid, but not for this service (services)")]
    NotForService,
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let status = match fault {
            Fault::NoKeys => return Self::unavailable(fault.to_string(), RETRY_AFTER),
            Fault::NotForService => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, code::TOKEN, Side::Client, fault.to_string())
    }
}
