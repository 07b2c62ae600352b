//! What is wrong with a chain.

use crate::{MAX_STEPS, Malformed};
use gateway_contract::{Rejection, code};

/// What is wrong with it. Steps are counted from 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(
        "the form has no field \"json\": give {{\"services\": [{{\"service_name\": …, \"url\": …}}]}} in it, as text"
    )]
    NoJson,
    #[error("the field \"json\" is not valid JSON: {0}")]
    Malformed(serde_json::Error),
    #[error("the field \"json\" is JSON, but {0}: expected an object with a list \"services\"")]
    NotAnObject(&'static str),
    #[error("\"services\" is missing: give the list of steps")]
    NoServices,
    #[error("\"services\" is {0}: expected a list of steps")]
    NotAList(&'static str),
    #[error("\"services\" has more than {MAX_STEPS} steps")]
    TooMany,
    #[error("step {0} is {1}: expected an object with \"service_name\"")]
    NotAStep(usize, &'static str),
    #[error("step {0} has no \"service_name\"")]
    NoName(usize),
    #[error("step {0}: \"service_name\" is {1}: expected text")]
    NotAName(usize, &'static str),
    #[error("step {0} names the workflow service itself: a chain cannot be a step of a chain")]
    Itself(usize),
    #[error("step {0} names {1:?}, and there is no such service; /info lists them")]
    Unknown(usize, String),
    #[error("step {0}: {1}")]
    Placeholder(usize, Malformed),
    #[error("step {0}: its document {1:?} is a place-holder that no earlier step mentions, so nothing can be there")]
    Nothing(usize, String),
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::NoJson | Fault::NoServices | Fault::NoName(_) => code::MISSING_PARAMETER,
            Fault::Unknown(..) => code::UNKNOWN_SERVICE,
            _ => code::VALUE,
        };
        // What was sent is not repeated at length.
        Self::client(code, fault.to_string().chars().take(400).collect::<String>())
    }
}
