//! Annotations to the annotation store.

use super::{Failed, patiently};
use gateway_outside::{Client, redact};
use serde_json::{json, value::RawValue};
use std::collections::BTreeMap;

/// Annotations on their way to the store.
pub(super) struct Annotations {
    url: String,
    body: String,
}

impl Annotations {
    /// Those in a result: the result itself, or its member `annotations`. Kept as the program wrote them, but for one
    /// without `@id`, which becomes of this `kind`, and one without `@version`, which gets this `version`.
    ///
    /// # Errors
    /// `InvalidAnnotationFormat` if that is not a list of objects, or `@id` is not a text.
    pub(super) fn of(result: &RawValue, url: &str, kind: &str, version: &str) -> Result<Self, Failed> {
        let no_list = || {
            invalid(
                "annotations are asked for, and the program's result is neither a list nor an object with a list as \
                 its member \"annotations\"",
            )
        };
        let list = match serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(result.get()) {
            Ok(mut members) => members.remove("annotations").ok_or_else(no_list)?,
            Err(_) => result.to_owned(),
        };
        let items: Vec<Box<RawValue>> = serde_json::from_str(list.get()).map_err(|_| no_list())?;
        let mut complete = true;
        let completed: Result<Vec<_>, _> = items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                let completed = complete_one(item.get(), kind, version)
                    .map_err(|why| invalid(&format!("annotation {at} of the program's result {why}")))?;
                complete &= completed.is_none();
                Ok(completed.unwrap_or_else(|| item.get().to_owned()))
            })
            .collect();
        let completed = completed?;
        let list = if complete { list.get().to_owned() } else { format!("[{}]", completed.join(", ")) };
        Ok(Self { url: url.to_owned(), body: format!(r#"{{"common": {{}}, "data": {list}}}"#) })
    }

    /// Where they go.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Posts them.
    ///
    /// # Errors
    /// `UploadError` if the store does not take them: any answer but 200, 201 and 204.
    pub(super) async fn post(self, client: &Client) -> Result<(), Failed> {
        let Self { url, body } = self;
        let reply = patiently(|| client.post_json(&url, body.clone())).await;
        match reply.map_err(|fault| Failed::upload(format!("the annotations were not stored: {fault}")))?.status {
            200 | 201 | 204 => Ok(()),
            status => {
                Err(Failed::upload(format!("the annotations were not stored: {} answered {status}", redact(&url))))
            }
        }
    }
}

fn invalid(message: &str) -> Failed {
    Failed { class: "InvalidAnnotationFormat", message: message.to_owned() }
}

/// An annotation with what it lacks; `None` if it lacks nothing.
fn complete_one(item: &str, kind: &str, version: &str) -> Result<Option<String>, &'static str> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_str(item).map_err(|_| "is not a JSON object, such as {\"@id\": …, \"@version\": …}")?;
    if members.get("@id").is_some_and(|id| !id.get().starts_with('"')) {
        return Err("has an \"@id\" that is not a text");
    }
    let lacks = [("@id", kind), ("@version", version)].into_iter().filter(|(name, _)| !members.contains_key(*name));
    let added: Vec<_> = lacks.map(|(name, value)| format!("\"{name}\": {}", json!(value))).collect();
    if added.is_empty() {
        return Ok(None);
    }
    // What is read as an object begins with a brace.
    let rest = item.trim_start().trim_start_matches('{');
    let comma = if members.is_empty() { "" } else { ", " };
    Ok(Some(format!("{{{}{comma}{}", added.join(", "), rest.trim_start())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &str) -> Result<String, &'static str> {
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        Annotations::of(&raw, "http://h/x", "words", "1.0").map(|found| found.body).map_err(|failed| failed.class)
    }

    #[test]
    fn a_list_or_an_object_with_one() {
        assert_eq!(
            of(r#"[{"@id": "a", "@version": "2", "n": 1.50}]"#),
            Ok(r#"{"common": {}, "data": [{"@id": "a", "@version": "2", "n": 1.50}]}"#.into())
        );
        assert_eq!(of(r#"{"annotations": [], "x": 1}"#), Ok(r#"{"common": {}, "data": []}"#.into()));
        for none in ["null", "1", "\"[]\"", "{}", r#"{"annotations": {}}"#, r#"{"annotations": null}"#] {
            assert_eq!(of(none), Err("InvalidAnnotationFormat"), "{none}");
        }
    }

    #[test]
    fn what_an_annotation_lacks_is_added() {
        assert_eq!(
            of(r#"[{"@version": 3, "n": 1.50}, { "@id":"a"}, {}, {"@id": "b", "@version": "2", "x": [ ]}]"#),
            Ok(concat!(
                r#"{"common": {}, "data": [{"@id": "words", "@version": 3, "n": 1.50}, {"@version": "1.0", "@id":"a"}, "#,
                r#"{"@id": "words", "@version": "1.0"}, {"@id": "b", "@version": "2", "x": [ ]}]}"#
            )
            .into())
        );
        for none in ["[1]", "[{}, \"a\"]", "[null]", "[[]]", r#"[{"@id": 7}]"#, r#"{"annotations": [1]}"#] {
            assert_eq!(of(none), Err("InvalidAnnotationFormat"), "{none}");
        }
    }
}
