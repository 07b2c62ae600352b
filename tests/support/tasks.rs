//! A task over HTTP: submit it, ask about it, follow it.

use super::{Answer, Gateway, PATIENCE, get, request, until};
use serde_json::Value;

/// Submits to a service without a token; gives the uuid. As a client does that means to have one task: a store that a
/// busy machine lets wait (for its disk, say) answers that nobody knows whether the task was accepted, and is asked
/// again.
#[track_caller]
pub(crate) fn submit(gateway: &Gateway, service: &str, form: &[(&str, &str)]) -> String {
    let key = uuid::Uuid::now_v7().to_string();
    let answer = until(PATIENCE, "the store has time", || {
        let url = format!("{}/{service}/annotate", gateway.url());
        let answer = request("POST", &url).header("Idempotency-Key", &key).form(form).send();
        Some(answer).filter(|answer| !has_to_ask_again(answer))
    });
    accepted(&answer)
}

/// Does the answer say that the store did not answer in time, or that it is still at it?
fn has_to_ask_again(answer: &Answer) -> bool {
    let slow = ["it may have been accepted", "the store cannot take it now"];
    answer.status == 409 || (answer.status == 503 && slow.iter().any(|words| answer.text().contains(words)))
}

/// The uuid of an accepted submission.
#[track_caller]
fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["uuid"].as_str().unwrap_or_else(|| panic!("no uuid: {}", answer.text())).to_owned()
}

/// The task's status with details.
#[track_caller]
pub(crate) fn status(gateway: &Gateway, service: &str, uuid: &str) -> Value {
    let answer = get(&format!("{}/{service}/status?uuid={uuid}&detail=1", gateway.url()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Cancels a task without a token; gives the answer.
#[track_caller]
pub(crate) fn cancel(gateway: &Gateway, service: &str, uuid: &str) -> Value {
    let answer = request("POST", &format!("{}/{service}/cancel?uuid={uuid}", gateway.url())).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Is that the status of a task that has ended?
pub(crate) fn is_end(status: &Value) -> bool {
    ["SUCCESS", "FAILURE", "REVOKED", "EXPIRED"].iter().any(|end| is_state(status, end))
}

/// Is that the status of a task in this state?
pub(crate) fn is_state(status: &Value, state: &str) -> bool {
    status["status"] == state
}

/// Follows a task to its end; gives its last status with details.
#[track_caller]
pub(crate) fn end(gateway: &Gateway, service: &str, uuid: &str) -> Value {
    until(PATIENCE, &format!("the end of {uuid}"), || Some(status(gateway, service, uuid)).filter(is_end))
}

/// Submits and follows to the end.
#[track_caller]
pub(crate) fn ends(gateway: &Gateway, service: &str, form: &[(&str, &str)]) -> Value {
    let uuid = submit(gateway, service, form);
    end(gateway, service, &uuid)
}
