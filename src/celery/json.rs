//! JSON as Python writes it: with `NaN` and `Infinity`, and kombu's typed objects.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Mends what Python writes and JSON does not have: outside strings the tokens `NaN`, `Infinity` and `-Infinity` become
/// `null`; inside strings half a surrogate pair (`\ud800`, from file names that are no text) becomes `\ufffd`.
/// Text that needs no mending is borrowed.
pub(crate) fn mended(text: &str) -> Cow<'_, str> {
    if !["NaN", "Infinity", "\\ud", "\\uD"].iter().any(|sign| text.contains(sign)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_string) = (text, false);
    while let Some(first) = rest.chars().next() {
        let (mended, taken) = match (in_string, first) {
            (true, '\\') => escape(rest),
            (true, _) => (None, first.len_utf8()),
            (false, _) => match ["NaN", "Infinity", "-Infinity"].into_iter().find(|token| rest.starts_with(token)) {
                Some(token) => (Some("null"), token.len()),
                None => (None, first.len_utf8()),
            },
        };
        in_string ^= first == '"';
        let (raw, tail) = rest.split_at(taken);
        out.push_str(mended.unwrap_or(raw));
        rest = tail;
    }
    Cow::Owned(out)
}

/// The escape that the text begins with: what to write instead, if anything, and how long it is. An escaped quote
/// belongs to its escape.
fn escape(text: &str) -> (Option<&'static str>, usize) {
    let unit = |from: usize| {
        let hex = text.get(from..from + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (None, 12),
        (Some(0xd800..=0xdfff), _) => (Some("\\ufffd"), 6),
        (Some(_), _) => (None, 6),
        (None, _) => (None, text.chars().take(2).map(char::len_utf8).sum()),
    }
}

/// May the text hold typed objects of kombu's?
pub(crate) fn typed(text: &str) -> bool {
    text.contains("__type__") || text.contains("__base64__") || text.contains("__bytes__")
}

/// Typed objects of kombu's JSON (`{"__type__", "__value__"}`, `{"bytes", "__base64__"}`) as the plain values in them.
/// The nesting is bounded by the parser that made the value (serde_json: 128).
pub(crate) fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(mut object) => match unwrap(&mut object) {
            Some(inner) => inner,
            None => Value::Object(object.into_iter().map(|(k, v)| (k, plain(v))).collect()),
        },
        other => other,
    }
}

fn unwrap(object: &mut Map<String, Value>) -> Option<Value> {
    if object.len() != 2 {
        return None;
    }
    if object.contains_key("__base64__") || object.contains_key("__bytes__") {
        return object.remove("bytes");
    }
    if !object.get("__type__").is_some_and(Value::is_string) {
        return None;
    }
    let inner = plain(object.remove("__value__")?);
    // A UUID travels as {"hex", "version"}; shown as every UUID is written.
    let hex = inner.get("hex").and_then(Value::as_str).and_then(|hex| uuid::Uuid::try_parse(hex).ok());
    match hex {
        Some(uuid) if object["__type__"] == "uuid" => Some(Value::String(uuid.to_string())),
        _ => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_tokens_outside_strings_are_replaced() {
        let text = r#"{"NaN": "Infinity \" NaN\\", "a": [NaN, -Infinity, Infinity, 1], "é": NaN}"#;
        let expected = r#"{"NaN": "Infinity \" NaN\\", "a": [null, null, null, 1], "é": null}"#;
        assert_eq!(mended(text), expected);
        assert!(matches!(mended("[1]"), Cow::Borrowed("[1]")));
        // A string that ends in a backslash must not run over the end.
        assert_eq!(mended("NaN\"\\"), "null\"\\");
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        let text = r#"["\ud83d\ude00", "\ud83dx", "\uDe00\n", "\\ud83d", "\ud83d\ud83d\ude00", "\ud8"]"#;
        let expected = r#"["\ud83d\ude00", "\ufffdx", "\ufffd\n", "\\ud83d", "\ufffd\ud83d\ude00", "\ud8"]"#;
        assert_eq!(mended(text), expected);
    }

    #[test]
    fn typed_objects_become_plain() {
        let value = json!({
            "when": {"__type__": "datetime", "__value__": "2026-01-01T00:00:00"},
            "list": [{"__type__": "decimal", "__value__": "1.50"}, {"__type__": "x", "__value__": [{"__type__": "y", "__value__": 1}]}],
            "id": {"__type__": "uuid", "__value__": {"hex": "00000000000000000000000000000007", "version": 4}},
            "raw": {"bytes": "aGk=", "__base64__": true},
            "not": {"__type__": "a", "__value__": 1, "more": 2},
            "nor": {"__type__": 1, "__value__": 1}
        });
        let expected = json!({
            "when": "2026-01-01T00:00:00",
            "list": ["1.50", [1]],
            "id": "00000000-0000-0000-0000-000000000007",
            "raw": "aGk=",
            "not": {"__type__": "a", "__value__": 1, "more": 2},
            "nor": {"__type__": 1, "__value__": 1}
        });
        assert_eq!(plain(value), expected);
    }
}
