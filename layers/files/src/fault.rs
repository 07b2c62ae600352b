//! Why a file was not taken.

use crate::{
    form::{MAX_FORM, MAX_PARTS},
    name::{MAX_EXTENSION, NameError},
};
use gateway_contract::{BoxError, Rejection, Side, code};
use http::StatusCode;

/// What is wrong with an upload, or with the question where to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Name(NameError),
    #[error("extension: expected 1 to {MAX_EXTENSION} letters and digits, without a dot")]
    Extension,
    #[error("the request holds no file: send one as multipart/form-data, in a part with a file name")]
    NoFile,
    #[error("the form holds more than one file: send each in a request of its own")]
    SeveralFiles,
    #[error("the file is larger than {limit} bytes, the most that is taken here")]
    TooLarge { limit: u64 },
    #[error("the form holds more than {MAX_FORM} bytes beside its file")]
    LargeForm,
    #[error("the form has more than {MAX_PARTS} parts")]
    ManyParts,
    #[error("the form holds more than {limit} bytes beside its files")]
    LargeFields { limit: u64 },
    #[error("a part of the form has no readable name")]
    Unnamed,
    #[error("the name of a field is longer than 256 bytes")]
    LongName,
    #[error("field {0:?} holds two files: give each a field of its own")]
    Twice(String),
    #[error("field {0:?} of the form is no UTF-8 text")]
    NotText(String),
    #[error("the form is not valid multipart/form-data: {0}")]
    MalformedForm(String),
    #[error("the body could not be read to its end")]
    BrokenOff(#[source] BoxError),
}

impl From<multer::Error> for Fault {
    /// The parser's reason may repeat what was sent, so it is cut.
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(cause) => match cause.downcast::<Self>() {
                Ok(fault) => *fault,
                Err(cause) => Self::BrokenOff(cause),
            },
            error => Self::MalformedForm(error.to_string().chars().take(200).collect()),
        }
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        match fault {
            Fault::NoFile | Fault::SeveralFiles => Self::client(code::MISSING_PARAMETER, detail),
            Fault::TooLarge { .. } | Fault::LargeForm | Fault::LargeFields { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, code::TOO_LARGE, Side::Client, detail)
            }
            // Whoever gives us the body may know better: too large for the server, too slow.
            Fault::BrokenOff(cause) => match cause.downcast::<Self>() {
                Ok(rejection) => *rejection,
                Err(cause) => Self::client(code::VALUE, detail).with_cause(cause),
            },
            _ => Self::client(code::VALUE, detail),
        }
    }
}
