//! A task from the broker, and what tells the broker that it is dealt with.

use super::tasks::Held;
use bytes::Bytes;
use gateway_celery::{Field, Message, Properties};
use lapin::Acker;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use std::time::Duration;
use tokio::time::timeout;

/// How long an acknowledgement may take to be written.
const WRITING: Duration = Duration::from_secs(5);
/// Tables in tables are read so deep.
const DEEPEST: usize = 8;

/// A task from a queue.
#[derive(Debug)]
pub struct IncomingTask {
    /// From which: its index in the settings.
    pub queue: usize,
    /// As it came. Nothing in it is to be trusted.
    pub message: Message,
    /// It was delivered before, to us or to another worker, and may have been begun.
    pub redelivered: bool,
    /// To be given back once it is dealt with.
    pub receipt: TaskReceipt,
}

/// A task's place with the broker. Dropped, the task stays ours until the connection ends, and is then delivered again.
#[derive(Debug)]
#[must_use = "the broker has to be told"]
pub struct TaskReceipt {
    acker: Acker,
    /// Until the broker is told, it counts as one that is here.
    _held: Held,
}

impl TaskReceipt {
    /// The broker may forget the task. `false`: the broker may not have heard it, and will deliver the task again.
    pub async fn ack(self) -> bool {
        matches!(timeout(WRITING, self.acker.ack(BasicAckOptions::default())).await, Ok(Ok(true)))
    }

    /// The broker gives the task to another worker, or to us again. `false`: it will do so anyway.
    pub async fn requeue(self) -> bool {
        let options = BasicNackOptions { requeue: true, multiple: false };
        matches!(timeout(WRITING, self.acker.nack(options)).await, Ok(Ok(true)))
    }

    /// Nobody can do this task: the broker drops it, or puts it where dead letters go. `false`: as for an ack.
    pub async fn reject(self) -> bool {
        let options = BasicRejectOptions { requeue: false };
        matches!(timeout(WRITING, self.acker.reject(options)).await, Ok(Ok(true)))
    }
}

impl IncomingTask {
    pub(super) fn new(queue: usize, from: Delivery, held: Held) -> Self {
        let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
        let own = &from.properties;
        let properties = Properties {
            content_type: text(own.content_type()),
            content_encoding: text(own.content_encoding()),
            delivery_mode: *own.delivery_mode(),
            priority: *own.priority(),
            correlation_id: text(own.correlation_id()),
            reply_to: text(own.reply_to()),
            message_id: text(own.message_id()),
            expiration: None, // spent
        };
        let message = Message {
            exchange: from.exchange.to_string(),
            routing_key: from.routing_key.to_string(),
            properties,
            headers: own.headers().as_ref().map_or_else(Vec::new, |headers| table(headers, 0)),
            body: Bytes::from(from.data),
        };
        let receipt = TaskReceipt { acker: from.acker, _held: held };
        Self { queue, message, redelivered: from.redelivered, receipt }
    }
}

fn table(fields: &FieldTable, depth: usize) -> Vec<(String, Field)> {
    fields.inner().iter().map(|(name, value)| (name.to_string(), field(value, depth + 1))).collect()
}

/// In the few types that every library reads alike; a number too large for them becomes a double.
fn field(value: &AMQPValue, depth: usize) -> Field {
    let whole = |number: i64| i32::try_from(number).map_or(Field::Double(number as f64), Field::Int);
    match value {
        _ if depth > DEEPEST => Field::Void,
        AMQPValue::Boolean(truth) => Field::Bool(*truth),
        AMQPValue::ShortShortInt(number) => Field::Int((*number).into()),
        AMQPValue::ShortShortUInt(number) => Field::Int((*number).into()),
        AMQPValue::ShortInt(number) => Field::Int((*number).into()),
        AMQPValue::ShortUInt(number) => Field::Int((*number).into()),
        AMQPValue::LongInt(number) => Field::Int(*number),
        AMQPValue::LongUInt(number) => whole((*number).into()),
        AMQPValue::LongLongInt(number) => whole(*number),
        AMQPValue::Timestamp(moment) => whole(i64::try_from(*moment).unwrap_or(i64::MAX)),
        AMQPValue::Float(number) => Field::Double((*number).into()),
        AMQPValue::Double(number) => Field::Double(*number),
        AMQPValue::ShortString(text) => Field::Text(text.to_string()),
        AMQPValue::LongString(text) => Field::Text(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ByteArray(bytes) => Field::Text(String::from_utf8_lossy(bytes.as_slice()).into_owned()),
        AMQPValue::FieldArray(items) => {
            Field::List(items.as_slice().iter().map(|item| field(item, depth + 1)).collect())
        }
        AMQPValue::FieldTable(fields) => Field::Table(table(fields, depth)),
        AMQPValue::DecimalValue(_) | AMQPValue::Void => Field::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_whatever_their_types() {
        let mut headers = FieldTable::default();
        headers.insert("a".into(), AMQPValue::LongLongInt(7));
        headers.insert("b".into(), AMQPValue::LongLongInt(i64::MAX));
        headers.insert("c".into(), AMQPValue::LongString(vec![0xff].into()));
        headers.insert("d".into(), AMQPValue::ShortShortUInt(255));
        let read = table(&headers, 0);
        let expected = [Field::Int(7), Field::Double(i64::MAX as f64), "\u{fffd}".into(), Field::Int(255)];
        assert_eq!(read.into_iter().map(|(_, field)| field).collect::<Vec<_>>(), expected);
        let deep = (0..20).fold(FieldTable::default(), |inner, _| {
            let mut outer = FieldTable::default();
            outer.insert("t".into(), AMQPValue::FieldTable(inner));
            outer
        });
        assert!(format!("{:?}", table(&deep, 0)).contains("Void"));
    }
}
