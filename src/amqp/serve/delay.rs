//! Tasks that wait: in queues whose messages expire back into the service's queue.
//!
//! One queue for each power of two seconds, so that each is in order of its messages' ends: RabbitMQ looks only at the
//! first. A longer wait takes several rounds. Nothing waits unacknowledged in a worker, where it would die with it, count
//! against its prefetch, and after half an hour make the broker close the channel (`consumer_timeout`).

use crate::link::DEADLINE;
use crate::settings::{Kind, QueueSpec};
use crate::wire;
use gateway_celery::Field;
use lapin::Connection;
use lapin::options::QueueDeclareOptions;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The longest round: 2^12 s, a bit more than an hour.
const LONGEST: u32 = 12;
/// A queue that is not used for its messages' time and so much longer is removed. It is used whenever we declare it,
/// which is before each message: so it is empty by then.
const UNUSED: Duration = Duration::from_secs(300);

type Slot = Option<Arc<Connection>>;

/// The callers' end.
pub(super) struct Delays(watch::Receiver<Slot>);

/// The supervised end: tells which connection there is.
pub(super) type Delaying = watch::Sender<Slot>;

pub(super) fn delays() -> (Delays, Delaying) {
    let (sender, receiver) = watch::channel(None);
    (Delays(receiver), sender)
}

impl Delays {
    /// Sees to it that there is a queue for that wait; gives its name.
    ///
    /// # Errors
    /// What the broker, or the connection, says.
    pub(super) async fn prepare(&self, queue: &QueueSpec, wait: Duration) -> Result<String, String> {
        let seconds = round(wait);
        let name = format!("{}.delayed.{seconds}", queue.name);
        let short = wire::short("the name of a queue for tasks that wait", &name)?;
        let arguments = wire::table(&arguments(queue, seconds))?;
        let connection = self.0.borrow().clone().ok_or("not connected to the broker")?;
        let declaring = async {
            let channel = connection.create_channel().await?;
            channel.queue_declare(short, QueueDeclareOptions::durable(), arguments).await?;
            // The answer is here: whether the farewell is heard does not matter.
            let _ = channel.close(200, "done".into()).await;
            Ok::<_, lapin::Error>(())
        };
        let declared = timeout(DEADLINE, declaring).await.map_err(|_| "no answer in time".to_owned());
        let declared = declared.and_then(|declared| declared.map_err(|error| error.to_string()));
        declared.map(|()| name.clone()).map_err(|why| format!("the queue {name} cannot be declared: {why}"))
    }
}

/// The largest power of two seconds that is not longer; at least one.
fn round(wait: Duration) -> u32 {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1);
    1 << seconds.ilog2().min(LONGEST)
}

fn arguments(queue: &QueueSpec, seconds: u32) -> Vec<(String, Field)> {
    // 2^12 s and five minutes are some 4.4 million milliseconds.
    let milliseconds = |seconds: u32| Field::Int(i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX));
    let expires = seconds + u32::try_from(UNUSED.as_secs()).unwrap_or(u32::MAX);
    let mut arguments = vec![
        ("x-message-ttl", milliseconds(seconds)),
        ("x-expires", milliseconds(expires)),
        ("x-dead-letter-exchange", Field::from("")),
        ("x-dead-letter-routing-key", Field::from(queue.name.as_str())),
    ];
    if queue.kind == Kind::Quorum {
        // As safe as the queue itself: it keeps a message until that one has it.
        arguments.extend([
            ("x-queue-type", Field::from("quorum")),
            ("x-dead-letter-strategy", Field::from("at-least-once")),
            ("x-overflow", Field::from("reject-publish")),
        ]);
    }
    arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_powers_of_two_and_never_too_long() {
        for (wait, seconds) in [(0, 1), (999, 1), (1000, 1), (1999, 1), (2000, 2), (63_999, 32), (86_400_000, 4096)] {
            assert_eq!(round(Duration::from_millis(wait)), seconds, "{wait}");
        }
        assert_eq!(round(Duration::MAX), 4096);
    }

    #[test]
    fn a_queue_is_removed_only_after_its_messages() {
        let queue = QueueSpec { name: "q".into(), kind: Kind::Quorum, arguments: Vec::new() };
        let arguments = arguments(&queue, 4096);
        let get = |name: &str| arguments.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert_eq!(get("x-message-ttl"), Some(Field::Int(4_096_000)));
        assert_eq!(get("x-expires"), Some(Field::Int(4_396_000)));
        assert_eq!(get("x-dead-letter-routing-key"), Some(Field::from("q")));
        assert_eq!(get("x-dead-letter-strategy"), Some(Field::from("at-least-once")));
    }
}
