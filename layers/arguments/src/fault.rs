//! Why a submission could not be read.

use crate::fields::{MAX_FIELDS, MAX_NAME, MAX_PARTS};
use gateway_contract::{BoxError, Rejection, Side, code};
use http::StatusCode;

/// What is wrong with query or body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the body is larger than {limit} bytes: send large data to the storage service and give its URL")]
    TooLarge { limit: usize },
    #[error("the body could not be read to its end")]
    BrokenOff(#[source] BoxError),
    #[error("the body is not valid JSON ({0}): expected an object")]
    MalformedJson(serde_json::Error),
    #[error("the body is JSON, but {0}: expected an object")]
    NotAnObject(&'static str),
    #[error("the {0} holds bytes that are no UTF-8: percent-encode text as UTF-8")]
    NotUtf8(&'static str),
    #[error("the form is not valid multipart/form-data: {0}")]
    MalformedForm(String),
    #[error("a part of the form has no readable name")]
    Unnamed,
    #[error("field {0:?} of the form is a file: send it to the storage service and give its URL")]
    File(String),
    #[error("field {0:?} of the form is no UTF-8 text")]
    NotText(String),
    #[error("the name of a field is longer than {MAX_NAME} bytes")]
    LongName,
    #[error("the form has more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("query and form hold more than {MAX_FIELDS} fields")]
    TooManyFields,
}

impl Fault {
    /// A form that the parser refuses. Its reason may repeat what was sent, so it is cut.
    pub(crate) fn form(error: multer::Error) -> Self {
        Self::MalformedForm(error.to_string().chars().take(200).collect())
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        match fault {
            Fault::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, Side::Client, detail),
            // Whoever gives us the body may know better: too large for the server, too slow.
            Fault::BrokenOff(cause) => match cause.downcast::<Self>() {
                Ok(rejection) => *rejection,
                Err(cause) => Self::client(code::VALUE, detail).with_cause(cause),
            },
            _ => Self::client(code::VALUE, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_server_is_handed_on() {
        let slow = Rejection::new(StatusCode::REQUEST_TIMEOUT, code::NONE, Side::Client, "too slow");
        let refusal = Rejection::from(Fault::BrokenOff(slow.into())).into_refusal();
        assert_eq!((refusal.status, refusal.code), (StatusCode::REQUEST_TIMEOUT, code::NONE));
        let refusal = Rejection::from(Fault::BrokenOff("reset".into())).into_refusal();
        assert_eq!((refusal.status, refusal.code), (StatusCode::BAD_REQUEST, code::VALUE));
    }

    #[test]
    fn what_was_sent_is_not_repeated_at_length() {
        let error = multer::Error::DecodeHeaderName { name: "é".repeat(70_000), cause: "too long".into() };
        let refusal = Rejection::from(Fault::form(error)).into_refusal();
        assert_eq!(refusal.code, code::VALUE);
        assert!(refusal.detail.contains("header name") && refusal.detail.chars().count() < 300, "{}", refusal.detail);
    }
}
