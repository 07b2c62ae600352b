//! What an idempotency key stands for.

use gateway_contract::Work;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Names this way of writing things down: another way must give another fingerprint.
const FORM: &str = "service-gateway submission 1";

/// SHA-256 over the submission, every text with its length before it and every value with its kind, so that nothing
/// can run into its neighbour. The order of keys does not matter.
pub(crate) fn of(service: &str, verb: &str, work: &Work) -> [u8; 32] {
    let Work { document_url, annotations_url, misc, essence } = work;
    let mut hash = Sha256::new();
    for part in [FORM, service, verb] {
        text(&mut hash, part);
    }
    for url in [document_url, annotations_url] {
        match url {
            Some(url) => {
                hash.update(b"+");
                text(&mut hash, url);
            }
            None => hash.update(b"-"),
        }
    }
    map(&mut hash, essence.as_ref().unwrap_or(misc));
    hash.finalize().into()
}

fn length(hash: &mut Sha256, length: usize) {
    // `usize` is never wider than 64 bits where we run.
    hash.update((length as u64).to_le_bytes());
}

fn text(hash: &mut Sha256, text: &str) {
    length(hash, text.len());
    hash.update(text.as_bytes());
}

fn map(hash: &mut Sha256, map: &Map<String, Value>) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    length(hash, entries.len());
    for (key, entry) in entries {
        text(hash, key);
        value(hash, entry);
    }
}

/// As deep as the value is, which the JSON parser has bounded (128).
fn value(hash: &mut Sha256, value_: &Value) {
    match value_ {
        Value::Null => hash.update(b"0"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Number(number) => {
            hash.update(b"n");
            text(hash, &number.to_string());
        }
        Value::String(string) => {
            hash.update(b"s");
            text(hash, string);
        }
        Value::Array(items) => {
            hash.update(b"a");
            length(hash, items.len());
            items.iter().for_each(|item| value(hash, item));
        }
        Value::Object(entries) => {
            hash.update(b"o");
            map(hash, entries);
        }
    }
}
