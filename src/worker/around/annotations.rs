//! Annotations to the annotation store.

use super::{Failed, patiently};
use gateway_outside::{Client, redact};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Annotations on their way to the store.
pub(super) struct Annotations {
    url: String,
    body: String,
}

impl Annotations {
    /// Those in a result: the result itself, or its member `annotations`. Kept as the program wrote them.
    ///
    /// # Errors
    /// `InvalidAnnotationFormat` if that is not a list.
    pub(super) fn of(result: &RawValue, url: &str) -> Result<Self, Failed> {
        let no_list = || Failed {
            class: "InvalidAnnotationFormat",
            message: "annotations are asked for, and the program's result is neither a list nor an object with a list \
                      as its member \"annotations\""
                .to_owned(),
        };
        let list = match serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(result.get()) {
            Ok(mut members) => members.remove("annotations").ok_or_else(no_list)?,
            Err(_) => result.to_owned(),
        };
        if serde_json::from_str::<Vec<Box<RawValue>>>(list.get()).is_err() {
            return Err(no_list());
        }
        Ok(Self { url: url.to_owned(), body: format!(r#"{{"common": {{}}, "data": {list}}}"#) })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: &str) -> Result<String, &'static str> {
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        Annotations::of(&raw, "http://h/x").map(|found| found.body).map_err(|failed| failed.class)
    }

    #[test]
    fn a_list_or_an_object_with_one() {
        assert_eq!(
            of(r#"[{"@id": "a", "n": 1.50}]"#),
            Ok(r#"{"common": {}, "data": [{"@id": "a", "n": 1.50}]}"#.into())
        );
        assert_eq!(of(r#"{"annotations": [], "x": 1}"#), Ok(r#"{"common": {}, "data": []}"#.into()));
        for none in ["null", "1", "\"[]\"", "{}", r#"{"annotations": {}}"#, r#"{"annotations": null}"#] {
            assert_eq!(of(none), Err("InvalidAnnotationFormat"), "{none}");
        }
    }
}
