//! `GATEWAY_<SECTION>__<KEY>`: environment variables as small trees, to be merged over the file's.

use crate::{
    reader::inline,
    schema::{Key, Shape},
};
use figment::value::{Dict, Value};
use std::collections::BTreeMap;

/// What the names begin with, in any case.
const PREFIX: &str = "GATEWAY_";

/// The variables that set a key, each with the path of names that it sets. Only names with a double underscore
/// behind the prefix count: a Kubernetes Service called `gateway` injects `GATEWAY_SERVICE_HOST`.
pub(crate) fn variables<'a>(
    environment: &'a BTreeMap<String, String>,
    root: Shape,
    file: &Dict,
) -> Vec<(&'a str, Dict)> {
    let mut found = Vec::new();
    for (name, text) in environment {
        let Some((prefix, rest)) = name.split_at_checked(PREFIX.len()) else { continue };
        if prefix.eq_ignore_ascii_case(PREFIX) && rest.contains("__") {
            let segments: Vec<&str> = rest.split("__").collect();
            found.push((name.as_str(), tree(&segments, text, root, Some(file))));
        }
    }
    found
}

/// `text` at the end of the path that the segments name.
pub(crate) fn tree(segments: &[&str], text: &str, shape: Shape, file: Option<&Dict>) -> Dict {
    let Some((segment, rest)) = segments.split_first() else { return Dict::new() };
    let (name, shape) = step(segment, shape, file);
    let below = file.and_then(|file| file.get(&name)).and_then(Value::as_dict);
    let value = if rest.is_empty() {
        // A whole table in one variable, `{ModelNotLoaded = 650}`; anything else stays the text it is.
        let table = !matches!(shape, Shape::Value) && text.trim_start().starts_with('{');
        table.then(|| inline(text.trim())).flatten().unwrap_or_else(|| Value::from(text))
    } else {
        Value::from(tree(rest, text, shape, below))
    };
    Dict::from([(name, value)])
}

/// The name that a segment means below a `shape`, and what stands there.
fn step(segment: &str, shape: Shape, file: Option<&Dict>) -> (String, Shape) {
    let known =
        |keys: &[Key], name: &str| keys.iter().find(|key| key.name == name).map_or(Shape::Value, |key| key.shape);
    let in_file = || file.and_then(|file| file.keys().find(|name| plain(name) == plain(segment)).cloned());
    match shape {
        Shape::Table(keys) => {
            let name = segment.to_lowercase();
            let shape = known(keys, &name);
            (name, shape)
        }
        Shape::Tables(keys) => (in_file().unwrap_or_else(|| segment.to_lowercase()), Shape::Table(keys)),
        // Names of exceptions and queue arguments: their case counts.
        Shape::Names => (in_file().unwrap_or_else(|| segment.to_owned()), Shape::Value),
        Shape::Value => (segment.to_lowercase(), Shape::Value),
    }
}

/// A name as a variable can spell it: `my-Service` is `my_service`.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}
