//! From the protocol crate's words to lapin's.

use gateway_celery::{Field, Message, Properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};

/// A name for AMQP.
///
/// # Errors
/// What it is called and why it cannot be one: AMQP names are at most 255 bytes long.
pub(crate) fn short(what: &str, text: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| format!("{what} has {} bytes; AMQP takes 255", text.len()))
}

pub(crate) fn table(fields: &[(String, Field)]) -> Result<FieldTable, String> {
    let mut table = FieldTable::default();
    for (name, field) in fields {
        table.insert(short("a header's name", name)?, value(field)?);
    }
    Ok(table)
}

fn value(field: &Field) -> Result<AMQPValue, String> {
    Ok(match field {
        Field::Text(text) => AMQPValue::LongString(text.as_str().into()),
        Field::Int(number) => AMQPValue::LongInt(*number),
        Field::Double(number) => AMQPValue::Double(*number),
        Field::Bool(truth) => AMQPValue::Boolean(*truth),
        Field::Void => AMQPValue::Void,
        Field::List(items) => {
            AMQPValue::FieldArray(FieldArray::from(items.iter().map(value).collect::<Result<Vec<_>, _>>()?))
        }
        Field::Table(fields) => AMQPValue::FieldTable(table(fields)?),
    })
}

/// A message's properties, headers included.
pub(crate) fn properties(message: &Message) -> Result<BasicProperties, String> {
    let Properties {
        content_type,
        content_encoding,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        message_id,
        expiration,
    } = &message.properties;
    let mut to = BasicProperties::default().with_headers(table(&message.headers)?);
    type Setter = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&str, &Option<String>, Setter); 6] = [
        ("content_type", content_type, BasicProperties::with_content_type),
        ("content_encoding", content_encoding, BasicProperties::with_content_encoding),
        ("correlation_id", correlation_id, BasicProperties::with_correlation_id),
        ("reply_to", reply_to, BasicProperties::with_reply_to),
        ("message_id", message_id, BasicProperties::with_message_id),
        ("expiration", expiration, BasicProperties::with_expiration),
    ];
    for (what, text, set) in texts {
        if let Some(text) = text {
            to = set(to, short(what, text)?);
        }
    }
    if let Some(mode) = delivery_mode {
        to = to.with_delivery_mode(*mode);
    }
    if let Some(priority) = priority {
        to = to.with_priority(*priority);
    }
    Ok(to)
}

/// How many bytes the properties take on the wire, or a few more. They must fit one frame: a larger one would close the
/// connection.
pub(crate) fn weight(message: &Message) -> usize {
    let Properties { content_type, content_encoding, correlation_id, reply_to, message_id, expiration, .. } =
        &message.properties;
    let texts = [content_type, content_encoding, correlation_id, reply_to, message_id, expiration];
    // 64: frame and header, and what has a fixed size; 37: the message's id, which is set when it is sent.
    let fixed = 64 + 37;
    fixed + texts.into_iter().flatten().map(|text| 1 + text.len()).sum::<usize>() + table_weight(&message.headers)
}

fn table_weight(fields: &[(String, Field)]) -> usize {
    4 + fields.iter().map(|(name, field)| 1 + name.len() + field_weight(field)).sum::<usize>()
}

fn field_weight(field: &Field) -> usize {
    1 + match field {
        Field::Text(text) => 4 + text.len(),
        Field::Int(_) => 4,
        Field::Double(_) => 8,
        Field::Bool(_) => 1,
        Field::Void => 0,
        Field::List(items) => 4 + items.iter().map(field_weight).sum::<usize>(),
        Field::Table(fields) => table_weight(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::AMQPType;

    #[test]
    fn only_wire_types_that_every_library_reads_alike() {
        let fields = [
            ("S", "text".into()),
            ("I", Field::Int(-1)),
            ("d", Field::Double(1.5)),
            ("t", Field::Bool(true)),
            ("V", Field::Void),
            ("A", Field::List(vec![Field::Void, Field::Int(1)])),
            ("F", Field::Table(vec![("k".to_owned(), Field::Void)])),
        ];
        for (id, field) in fields {
            let kind: AMQPType = value(&field).expect("a value").get_type();
            assert_eq!(kind.get_id().to_string(), id);
        }
    }

    #[test]
    fn long_names_are_refused_not_a_panic() {
        let call = gateway_celery::Call::new(uuid::Uuid::nil(), "t", "q", "r".repeat(256), "o");
        let message = call.message(gateway_celery::Protocol::Two, bytes::Bytes::new());
        assert_eq!(properties(&message).expect_err("too long"), "reply_to has 256 bytes; AMQP takes 255");
        assert!(table(&[("n".repeat(256), Field::Void)]).is_err());
        assert!(short("a queue's name", &"q".repeat(255)).is_ok());
    }
}
