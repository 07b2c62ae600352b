use crate::xml::write;
use proptest::prelude::*;
use quick_xml::{
    Reader,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};
use serde_json::{Map, Value, json};

/// An element as a reader sees it.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) name: String,
    /// The attribute `name`.
    key: Option<String>,
    text: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    fn open(start: &BytesStart<'_>) -> Self {
        let key = start
            .try_get_attribute("name")
            .unwrap()
            .map(|key| key.normalized_value(quick_xml::XmlVersion::Explicit1_0).unwrap().into_owned());
        assert_eq!(start.attributes().count(), usize::from(key.is_some()));
        Self { name: start.name().as_ref().into(), key, text: String::new(), children: Vec::new() }
    }

    /// The same, children in alphabetical order: the original's were in none.
    pub(super) fn sorted(mut self) -> Self {
        self.children = self.children.into_iter().map(Node::sorted).collect();
        self.children.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// What `value` should have become.
    fn of(name: &str, value: &Value) -> Self {
        let mut node = match name.strip_prefix("key ") {
            Some(key) => Node { name: "key".into(), key: Some(fit(key)), text: String::new(), children: vec![] },
            None => Node { name: name.into(), key: None, text: String::new(), children: vec![] },
        };
        match value {
            Value::Null => {}
            Value::String(text) => node.text = fit(text),
            Value::Array(list) => node.children = list.iter().map(|value| Node::of("item", value)).collect(),
            Value::Object(object) => {
                node.children = object.iter().map(|(key, value)| Node::of(&named(key), value)).collect();
            }
            other => node.text = other.to_string(),
        }
        node
    }
}

fn fit(text: &str) -> String {
    let fits = |c: char| c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r');
    text.chars().map(|c| if fits(c) { c } else { '\u{fffd}' }).collect()
}

/// An element's name for a key of the tests' own: only plain ASCII ones stand for themselves.
fn named(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && key.chars().all(plain) { key.into() } else { format!("key {key}") }
}

/// Reads a whole document; panics if it is not well-formed.
pub(super) fn parse(document: &str) -> Node {
    let mut reader = Reader::from_str(document.strip_prefix(r#"<?xml version="1.0" encoding="UTF-8" ?>"#).unwrap());
    let mut open: Vec<Node> = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => open.push(Node::open(&start)),
            Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => {
                let text = match entity.resolve_char_ref().unwrap() {
                    Some(character) => character.to_string(),
                    None => resolve_xml_entity(&entity).unwrap().to_owned(),
                };
                open.last_mut().unwrap().text.push_str(&text);
            }
            Event::End(_) => {
                let node = open.pop().unwrap();
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => {
                        assert!(matches!(reader.read_event().unwrap(), Event::Eof), "more than one root");
                        return node;
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn xml(value: &Value) -> String {
    String::from_utf8(write(value.to_string().as_bytes(), "process_status").unwrap()).unwrap()
}

/// What stands in the root.
fn inside(value: &Value) -> String {
    let document = xml(value);
    let inside = document.strip_prefix(r#"<?xml version="1.0" encoding="UTF-8" ?><process_status>"#).unwrap();
    inside.strip_suffix("</process_status>").unwrap().to_owned()
}

#[test]
fn every_kind_of_value_has_its_form() {
    let cases = [
        (json!({}), ""),
        (json!({"a": null, "b": {}, "c": [], "d": ""}), "<a></a><b></b><c></c><d></d>"),
        (json!({"z": true, "a": false}), "<z>true</z><a>false</a>"),
        (
            json!({"n": [0, -1, u64::MAX, 1.5, 1e300]}),
            concat!(
                "<n><item>0</item><item>-1</item><item>18446744073709551615</item>",
                "<item>1.5</item><item>1e+300</item></n>"
            ),
        ),
        (json!({"l": [[1], {"a": 2}]}), "<l><item><item>1</item></item><item><a>2</a></item></l>"),
        (json!({"t": "<b a=\"x\">&'\r\n\t]]>"}), "<t>&lt;b a=&quot;x&quot;&gt;&amp;&apos;&#13;\n\t]]&gt;</t>"),
        (json!({"t": "a\u{0}b\u{1b}\u{7f}\u{fffe}é😀"}), "<t>a\u{fffd}b\u{fffd}\u{7f}\u{fffd}é😀</t>"),
    ];
    for (value, expected) in cases {
        assert_eq!(inside(&value), expected, "{value}");
    }
}

#[test]
fn a_key_that_is_no_name_becomes_an_attribute() {
    for name in ["a", "_", "A-b.c1", "été", "ключ", "鍵", "item", "key"] {
        assert_eq!(inside(&json!({ name: 1 })), format!("<{name}>1</{name}>"));
    }
    let odd = [
        ("@id", "@id"),
        ("", ""),
        ("1", "1"),
        ("-a", "-a"),
        ("a b", "a b"),
        ("rdf:type", "rdf:type"),
        ("a>", "a&gt;"),
        ("\"><script>", "&quot;&gt;&lt;script&gt;"),
        ("a\n\t\r\u{0}", "a&#10;&#9;&#13;\u{fffd}"),
        ("a/", "a/"),
        // Names to the fifth edition of XML, but not to the fourth.
        ("\u{10000}", "\u{10000}"),
        ("a\u{2190}", "a\u{2190}"),
        ("a\u{ffff}", "a\u{fffd}"),
        ("\u{d7}", "\u{d7}"),
    ];
    for (key, expected) in odd {
        assert_eq!(inside(&json!({ key: 1 })), format!(r#"<key name="{expected}">1</key>"#));
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(write(deep(127).as_bytes(), "r").is_ok());
    for json in ["", "{", "{} {}", "{'a': 1}", "[1e999]", "\u{feff}{}", &deep(128), &deep(1_000_000)] {
        assert!(write(json.as_bytes(), "r").is_err());
    }
    assert!(write(b"\"\xff\"", "r").is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[<>&'\"\r\n\t \u{0}-\u{1f}\u{fffe}\u{ffff}\\]]{0,8}"];
    let key = prop_oneof![text.clone(), "[a-zA-Z_][a-z0-9._-]{0,5}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_well_formed_and_loses_nothing(value in any_json()) {
        // Keys with letters beyond ASCII may or may not be names: the reader must agree with us on the ASCII ones.
        let read = parse(&xml(&value));
        prop_assert_eq!(plain(read), plain(Node::of("process_status", &value)));
    }
}

/// With `<é>` shown as the tests' own `named` would.
fn plain(mut node: Node) -> Node {
    if !node.name.is_ascii() {
        node.key = Some(std::mem::replace(&mut node.name, "key".into()));
    }
    node.children = node.children.into_iter().map(plain).collect();
    node
}
