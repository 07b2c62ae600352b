//! Dead letters: the broker gave up on a message, and its task's owner is told why.

use super::Shared;
use crate::broker::Receipt;
use gateway_amqp::{DeadLetter, Death};
use gateway_life::Fact;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Reads dead letters; each is acknowledged when the end of its task is written. What belongs to no task is acknowledged
/// too: kept, it would come back for ever.
pub(super) async fn letters(shared: Arc<Shared>, mut letters: mpsc::Receiver<DeadLetter>) {
    while let Some(letter) = letters.recv().await {
        let DeadLetter { task, attempt, death, found_in, receipt } = letter;
        let why = why(death.as_ref());
        let Some(id) = task else {
            tracing::warn!(queue = found_in, why, "a dead letter that names no task is dropped");
            receipt.ack();
            continue;
        };
        tracing::warn!(uuid = %id, queue = found_in, attempt, why, "the broker gave up on a task");
        let fact = Fact::Dead { attempt, waiting: waiting(death.as_ref()), why: why.into() };
        let receipt = Receipt::delivery(receipt, &shared.meters);
        if shared.mailbox.heard(id, fact, Some(receipt)).await.is_err() {
            return;
        }
    }
}

/// Did it die in its queue? Otherwise a worker had it.
fn waiting(death: Option<&Death>) -> bool {
    death.is_some_and(|death| matches!(death.reason.as_str(), "expired" | "maxlen"))
}

/// The cause, for the task's owner.
fn why(death: Option<&Death>) -> String {
    let Some(Death { reason, queue, count, first }) = death else {
        return "the broker gave up on the task, and does not say why".to_owned();
    };
    let printable = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let queue = printable(queue);
    let mut why = match reason.as_str() {
        "rejected" => format!("a worker rejected the task (queue {queue})"),
        "expired" => format!("the task waited in the queue {queue} for longer than the broker lets it"),
        "maxlen" => format!("the queue {queue} was full"),
        "delivery_limit" => format!("workers took the task from the queue {queue} too often without finishing it"),
        other => format!("the broker gave up on the task in the queue {queue}: {}", printable(other)),
    };
    if *count > 1 {
        why.push_str(&format!(", {count} times"));
    }
    let at = first.and_then(|seconds| jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    if let Some(at) = at {
        why.push_str(if *count > 1 { ", first at " } else { " at " });
        why.push_str(&at.to_string());
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn death(reason: &str, count: u64, first: Option<u64>) -> Death {
        Death { reason: reason.into(), queue: "work\n".into(), count, first }
    }

    #[test]
    fn the_cause_is_a_sentence() {
        let told = |reason: &str, count, first| why(Some(&death(reason, count, first)));
        assert_eq!(
            told("rejected", 1, Some(1_700_000_000)),
            "a worker rejected the task (queue work) at 2023-11-14T22:13:20Z"
        );
        assert_eq!(
            told("expired", 2, Some(0)),
            "the task waited in the queue work for longer than the broker lets it, 2 times, first at 1970-01-01T00:00:00Z"
        );
        assert_eq!(told("maxlen", 1, Some(u64::MAX)), "the queue work was full");
        assert!(told("delivery_limit", 1, None).contains("too often"));
        assert!(told("moved\u{1b}[2J", 1, None).ends_with("in the queue work: moved[2J"));
        assert!(why(None).contains("does not say why"));
    }

    #[test]
    fn what_died_in_its_queue_was_not_with_a_worker() {
        for (reason, expected) in [("expired", true), ("maxlen", true), ("rejected", false), ("delivery_limit", false)]
        {
            assert_eq!(waiting(Some(&death(reason, 1, None))), expected, "{reason}");
        }
        assert!(!waiting(None));
    }
}
