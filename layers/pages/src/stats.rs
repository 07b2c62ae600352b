//! `stats`: how many submissions were accepted.

use crate::{PagesError, error::RETRY_AFTER};
use gateway_contract::{Facts, Place, Readiness, Rejection, Reply, Stats, Step, View, data};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::json;

/// Of one service, or of all. CANARIE wants a 503 while broker or store cannot be reached; that nobody works is none.
pub(crate) fn answer<F: Facts, G, R: Send + 'static>(facts: &F, place: &Place) -> Step<G, Reply<R>> {
    if !is_ready(&facts.readiness()) {
        return Step::refuse(PagesError::NotReady);
    }
    let service = match place {
        Place::Service(service) => Some(&**service),
        Place::Gateway | Place::Platform | Place::UnknownService => None,
    };
    let stats = facts.stats(service);
    Step::errand(async move { Ok(show(&stats.await.map_err(unavailable)?)) })
}

/// Does everything essential work?
pub(crate) fn is_ready(readiness: &Readiness) -> bool {
    readiness.parts.iter().all(|part| part.fault.is_none() || !part.essential)
}

/// Whatever kept the store from counting, it is a 503.
fn unavailable(rejection: Rejection) -> Rejection {
    if rejection.refusal().status == StatusCode::SERVICE_UNAVAILABLE {
        return rejection;
    }
    Rejection::unavailable("statistics cannot be had now: the store does not answer", RETRY_AFTER).with_cause(rejection)
}

fn show<R>(stats: &Stats) -> Reply<R> {
    // A time beyond the calendar is none: then the count has no beginning that could be told.
    let since = Timestamp::from_millisecond(stats.since).ok().map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    data(json!({ "invocations": stats.invocations, "lastReset": since }).to_string(), View::Stats)
}
