//! An AMQP message as data, independent of any AMQP library.

use bytes::Bytes;

/// A value in a header or argument table.
///
/// Only the wire types that every AMQP library reads the same way: py-amqp takes `s` for a short string and `l` for
/// unsigned, and fails on others.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// `S`, long string.
    Text(String),
    /// `I`, signed 32 bit.
    Int(i32),
    /// `d`, double.
    Double(f64),
    /// `t`, boolean.
    Bool(bool),
    /// `V`, nothing (Python's `None`).
    Void,
    /// `A`, array.
    List(Vec<Field>),
    /// `F`, table.
    Table(Table),
}

/// Names and values, in order; a name stands at most once.
pub type Table = Vec<(String, Field)>;

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Option<&str>> for Field {
    /// `None` becomes [`Field::Void`].
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Void, Self::from)
    }
}

/// A message's AMQP properties. `None` is not sent at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the body; without it Celery sees raw bytes.
    pub content_type: Option<String>,
    /// Encoding of the body.
    pub content_encoding: Option<String>,
    /// 2: survives a restart of the broker (in a durable queue); 1: does not.
    pub delivery_mode: Option<u8>,
    /// 0-255, for queues with priorities.
    pub priority: Option<u8>,
    /// On tasks and results: the task's id.
    pub correlation_id: Option<String>,
    /// Where results are sent: a queue's name.
    pub reply_to: Option<String>,
    /// Names the message: ours carry the task's id, so that a returned one is known again.
    pub message_id: Option<String>,
    /// How long it may wait in a queue, in milliseconds, as text.
    pub expiration: Option<String>,
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `""` is the default exchange.
    pub exchange: String,
    /// On the default exchange: the queue's name.
    pub routing_key: String,
    /// Its AMQP properties.
    pub properties: Properties,
    /// Its header table.
    pub headers: Table,
    /// Its body.
    pub body: Bytes,
}

impl Message {
    /// The header of that name.
    pub fn header(&self, name: &str) -> Option<&Field> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}
