//! JSON as XML: no type attributes, lists as `item`, null as an empty element, keys in order.

use quick_xml::{
    Writer,
    escape::escape,
    events::{BytesEnd, BytesStart, BytesText, Event},
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer as Json, Number};
use std::{borrow::Cow, fmt};

/// As the original wrote it, its space included.
const DECLARATION: &[u8] = br#"<?xml version="1.0" encoding="UTF-8" ?>"#;

/// An XML document with the root element `root`, read from `json` and written on the way: the value never stands in
/// memory as a tree.
///
/// # Errors
///
/// If `json` is none, is nested deeper than 127 levels or holds a number beyond what 64 bits can say.
pub(crate) fn write(json: &[u8], root: &'static str) -> Result<Vec<u8>, serde_json::Error> {
    // Most documents grow by their closing tags to less than double.
    let mut document = Vec::with_capacity(json.len() * 2 + DECLARATION.len());
    document.extend_from_slice(DECLARATION);
    let mut writer = Writer::new(document);
    let mut json = Json::from_slice(json);
    Element { writer: &mut writer, name: root, key: None }.deserialize(&mut json)?;
    json.end()?;
    Ok(writer.into_inner())
}

type Document = Writer<Vec<u8>>;

/// The next JSON value becomes this element.
struct Element<'a> {
    writer: &'a mut Document,
    name: &'a str,
    /// The attribute `name`.
    key: Option<&'a str>,
}

impl<'a> Element<'a> {
    /// Of an object's member.
    fn member(writer: &'a mut Document, key: &'a str) -> Self {
        if is_name(key) { Self { writer, name: key, key: None } } else { Self { writer, name: "key", key: Some(key) } }
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let mut start = BytesStart::new(self.name);
        if let Some(key) = self.key {
            start.push_attribute(("name", &*fit(key)));
        }
        put(self.writer, Event::Start(start))?;
        json.deserialize_any(Content(self.writer))?;
        put(self.writer, Event::End(BytesEnd::new(self.name)))
    }
}

/// What stands in an element.
struct Content<'a>(&'a mut Document);

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        put(self.0, Event::Text(BytesText::from_escaped(if value { "true" } else { "false" })))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        put(self.0, Event::Text(BytesText::from_escaped(value.to_string())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        put(self.0, Event::Text(BytesText::from_escaped(value.to_string())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // As JSON writes it.
        let text = Number::from_f64(value).map_or_else(String::new, |number| number.to_string());
        put(self.0, Event::Text(BytesText::from_escaped(text)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        put(self.0, Event::Text(BytesText::from_escaped(escape(&*fit(value)))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Element { writer: self.0, name: "item", key: None })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(key) = object.next_key::<Key<'de>>()? {
            object.next_value_seed(Element::member(self.0, &key.0))?;
        }
        Ok(())
    }
}

/// An object's key: borrowed, unless JSON had to escape it.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writing into memory never fails; an error would be told as any other.
fn put<E: Error>(writer: &mut Document, event: Event<'_>) -> Result<(), E> {
    writer.write_event(event).map_err(E::custom)
}

/// A text without the characters that XML cannot hold, not even escaped: each becomes U+FFFD.
fn fit(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_char) {
        return text.into();
    }
    text.chars().map(|character| if is_char(character) { character } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// XML 1.0, production 2 (a `char` is never a surrogate).
fn is_char(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Is it a name to every reader? Without a colon, for nobody declares a prefix; and only of characters that all editions
/// of XML 1.0 allow, for widely used readers hold to the fourth.
fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(starts_name) && characters.all(continues_name)
}

/// Letters of the scripts that keys are written in; a key with others is none the worse for becoming an attribute.
fn starts_name(character: char) -> bool {
    matches!(character, 'A'..='Z' | '_' | 'a'..='z')
        // Latin
        || matches!(character, '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{131}')
        || matches!(character, '\u{134}'..='\u{13e}' | '\u{141}'..='\u{148}' | '\u{14a}'..='\u{17e}')
        // Greek, Cyrillic, Hebrew, Arabic
        || matches!(character, '\u{388}'..='\u{38a}' | '\u{38e}'..='\u{3a1}' | '\u{3a3}'..='\u{3ce}')
        || matches!(character, '\u{401}'..='\u{40c}' | '\u{40e}'..='\u{44f}' | '\u{451}'..='\u{45c}')
        || matches!(character, '\u{5d0}'..='\u{5ea}' | '\u{621}'..='\u{63a}' | '\u{641}'..='\u{64a}')
        // Kana, Chinese, Hangul
        || matches!(character, '\u{3041}'..='\u{3094}' | '\u{30a1}'..='\u{30fa}')
        || matches!(character, '\u{4e00}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7a3}')
}

fn continues_name(character: char) -> bool {
    starts_name(character) || matches!(character, '-' | '.' | '0'..='9' | '\u{b7}')
}
