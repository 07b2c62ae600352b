//! Dead letters: messages on which the broker gave up, and why.

use crate::consumer::Receipt;
use crate::link::DEADLINE;
use crate::state::Board;
use crate::{topology, wire};
use bytes::Bytes;
use futures_util::future;
use futures_util::stream::StreamExt;
use gateway_celery::id_in;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

/// Dead letters of one queue that may wait for their receipt: they carry whole messages.
pub(crate) const PREFETCH: u16 = 32;
/// The header with the number of the attempt, on every copy of a task's message but the first.
pub(crate) const ATTEMPT: &str = "gateway_attempt";
/// A queue that cannot be consumed is tried again so much later.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest body in which an id is looked for, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// The longest text taken from a header, in bytes: AMQP's for names.
const MAX_TEXT: usize = 255;

/// A message that was dead-lettered.
#[derive(Debug)]
pub struct DeadLetter {
    /// The task's id, from whatever the message still tells of it; `None` if it is no task's.
    pub task: Option<Uuid>,
    /// Which attempt to send the task this copy was, from 1.
    pub attempt: u32,
    /// What happened to it; `None` if the broker does not say.
    pub death: Option<Death>,
    /// The queue in which it was found.
    pub found_in: String,
    /// To be given back once it is dealt with, as a [`Delivery`](crate::Delivery)'s.
    pub receipt: Receipt,
}

/// The last thing that happened to a dead letter, as RabbitMQ tells it in `x-death`
/// (<https://www.rabbitmq.com/docs/dlx>). Its texts are at most 255 bytes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// `rejected`, `expired`, `maxlen`, `delivery_limit`, or whatever a later broker says.
    pub reason: String,
    /// The queue that it was in.
    pub queue: String,
    /// How often this happened to it there.
    pub count: u64,
    /// When it first did: seconds since 1970 (UTC).
    pub first: Option<u64>,
}

impl Death {
    /// The newest stands first.
    fn last(headers: &FieldTable) -> Option<Self> {
        let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
        let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
        let first = match death.inner().get("time") {
            Some(AMQPValue::Timestamp(seconds)) => Some(*seconds),
            _ => None,
        };
        let count = death.inner().get("count").and_then(number).unwrap_or(1);
        Some(Self { reason: text(death, "reason")?, queue: text(death, "queue")?, count, first })
    }
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    let text = match table.inner().get(name)? {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        AMQPValue::ShortString(text) => text.to_string(),
        _ => return None,
    };
    (text.len() <= MAX_TEXT).then_some(text)
}

fn number(value: &AMQPValue) -> Option<u64> {
    let number = match *value {
        AMQPValue::LongLongInt(number) => number,
        AMQPValue::LongInt(number) => number.into(),
        AMQPValue::LongUInt(number) => number.into(),
        _ => return None,
    };
    u64::try_from(number).ok()
}

impl DeadLetter {
    fn new(found_in: &str, from: lapin::message::Delivery) -> Self {
        let headers = from.properties.headers().clone().unwrap_or_default();
        let body = Bytes::from(from.data);
        let uuid = |text: &str| Uuid::try_parse(text).ok();
        let properties = [from.properties.correlation_id(), from.properties.message_id()];
        let named = properties.into_iter().flatten().find_map(|id| uuid(id.as_str()));
        let task = named.or_else(|| uuid(&text(&headers, "id")?)).or_else(|| id_in(&body, BODY_LIMIT));
        let attempt = headers.inner().get(ATTEMPT).and_then(number).and_then(|number| number.try_into().ok());
        Self {
            task,
            attempt: attempt.unwrap_or(1).max(1),
            death: Death::last(&headers),
            found_in: found_in.to_owned(),
            receipt: Receipt::new(from.acker),
        }
    }
}

/// Hands the dead letters of these queues on, as long as the connection lasts; never returns. What is wrong with a queue
/// is told on the board, and it is tried again.
pub(crate) async fn letters(
    connection: &Connection,
    queues: &[String],
    board: &Board,
    letters: &mpsc::Sender<DeadLetter>,
) {
    let watching = queues.iter().map(|queue| async move {
        loop {
            let why = match open(connection, queue, board).await {
                // The channel is kept: receipts go to it.
                Ok((_channel, consumer)) => hand_on(queue, consumer, letters).await,
                Err(why) => why,
            };
            if connection.status().connected() {
                board.queue(queue, Some(format!("the dead letters in {queue} are not read: {why}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    future::join_all(watching).await;
    future::pending().await
}

async fn open(connection: &Connection, queue: &str, board: &Board) -> Result<(Channel, Consumer), String> {
    topology::dead_letters(connection, queue, board).await?;
    let name = wire::short("a queue's name", queue)?;
    let opening = async {
        let channel = connection.create_channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(name, "dead-letters".into(), options, FieldTable::default()).await?;
        Ok::<_, lapin::Error>((channel, consumer))
    };
    let late = |_| format!("the broker did not answer within {} s", DEADLINE.as_secs());
    timeout(DEADLINE, opening).await.map_err(late)?.map_err(|error| error.to_string())
}

/// Until the consumption ends; says why it did.
async fn hand_on(queue: &str, mut consumer: Consumer, letters: &mpsc::Sender<DeadLetter>) -> String {
    while let Some(delivery) = consumer.next().await {
        match delivery {
            Ok(delivery) => {
                if letters.send(DeadLetter::new(queue, delivery)).await.is_err() {
                    // Nobody reads them any more: they stay for another gateway.
                    return future::pending().await;
                }
            }
            Err(error) => return error.to_string(),
        }
    }
    "the broker ended the consumption: was the queue deleted?".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::FieldArray;

    fn table(fields: Vec<(&str, AMQPValue)>) -> FieldTable {
        fields
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into()
    }

    fn death(reason: &str, count: AMQPValue) -> AMQPValue {
        AMQPValue::FieldTable(table(vec![
            ("reason", AMQPValue::LongString(reason.into())),
            ("queue", AMQPValue::LongString("work".into())),
            ("count", count),
            ("time", AMQPValue::Timestamp(1_700_000_000)),
        ]))
    }

    #[test]
    fn the_newest_death_counts() {
        let deaths = vec![death("rejected", AMQPValue::LongLongInt(2)), death("expired", AMQPValue::LongLongInt(1))];
        let headers = table(vec![("x-death", AMQPValue::FieldArray(FieldArray::from(deaths)))]);
        let expected = Death { reason: "rejected".into(), queue: "work".into(), count: 2, first: Some(1_700_000_000) };
        assert_eq!(Death::last(&headers), Some(expected));
    }

    #[test]
    fn headers_of_other_types_tell_nothing() {
        let array = |items| AMQPValue::FieldArray(FieldArray::from(items));
        for odd in [
            AMQPValue::Void,
            array(vec![]),
            array(vec![AMQPValue::LongInt(1)]),
            array(vec![AMQPValue::FieldTable(FieldTable::default())]),
            array(vec![death(&"r".repeat(256), AMQPValue::LongInt(1))]),
        ] {
            assert_eq!(Death::last(&table(vec![("x-death", odd)])), None);
        }
        let odd = array(vec![death("expired", AMQPValue::LongString("many".into()))]);
        assert_eq!(Death::last(&table(vec![("x-death", odd)])).map(|death| death.count), Some(1));
        assert_eq!(number(&AMQPValue::LongLongInt(-1)), None);
    }
}
