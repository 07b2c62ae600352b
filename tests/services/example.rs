//! A service of `examples/services/`, behind a gateway.

use crate::{
    rabbit::rig,
    store::Store,
    support::{Documents, Gateway, is_end, status, submit, until},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Films and models on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Its own `gateway.toml`, with what a test's place needs; and a store for annotations and files.
pub(crate) struct Example {
    name: &'static str,
    pub(crate) gateway: Gateway,
    pub(crate) store: Store,
}

impl Example {
    /// With the embedded broker.
    pub(crate) fn start(name: &'static str) -> Self {
        Self::with(name, |_| {})
    }

    /// With a word about the gateway's environment.
    pub(crate) fn with(name: &'static str, adjust: impl FnOnce(&mut Command)) -> Self {
        let toml = fs::read_to_string(folder(name).join("gateway.toml")).unwrap();
        // The test's gateway runs in a directory of its own, so the program is named from the root.
        let toml = toml.replace("\"./", &format!("\"{}/", folder(name).display()));
        let store = Store::start("201 Created");
        let gateway = Gateway::start_with(&toml, |command| {
            environment(command, &store);
            adjust(command);
        });
        Self { name, gateway, store }
    }

    /// Submits the shipped input, or another file.
    pub(crate) fn submit(&self, file: &Path, form: &[(&str, &str)]) -> String {
        let name = file.file_name().unwrap().to_str().unwrap();
        let documents = Documents::serve(fs::read(file).unwrap());
        let url = documents.url(name);
        submit(&self.gateway, self.name, &[&[("doc_url", url.as_str())], form].concat())
    }

    /// The result of a task that succeeds.
    #[track_caller]
    pub(crate) fn result(&self, uuid: &str) -> Value {
        let mut end = self.end(uuid);
        assert_eq!(end["status"], "SUCCESS", "{end}");
        end["result"].take()
    }

    /// The message of a task that fails.
    #[track_caller]
    pub(crate) fn failure(&self, uuid: &str) -> String {
        let end = self.end(uuid);
        assert_eq!((&end["status"], &end["result"]["code"]), (&json!("FAILURE"), &json!(642)), "{end}");
        end["result"]["message"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn end(&self, uuid: &str) -> Value {
        until(PATIENCE, &format!("the end of {uuid}"), || Some(self.status(uuid)).filter(is_end))
    }

    pub(crate) fn status(&self, uuid: &str) -> Value {
        status(&self.gateway, self.name, uuid)
    }

    /// The annotations that were posted for this document: once, and just those of the result.
    #[track_caller]
    pub(crate) fn posted(&self, ann_doc_id: &str, result: &Value) {
        let posted = self.store.seen(&format!("POST /document/{ann_doc_id}/annotations"));
        assert_eq!(posted.len(), 1);
        let posted: Value = serde_json::from_str(&posted[0].body).unwrap();
        assert_eq!(posted, json!({"common": {}, "data": result["annotations"]}));
    }
}

/// What the gateway or a worker of the example is told: where things are in a test, and where programs are.
pub(crate) fn environment(command: &mut Command, store: &Store) {
    let path = format!("{}:{}", rig("SG_TEST_SERVICES"), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("GATEWAY_AUTH__MODE", "none");
    command.env("GATEWAY_DOCUMENTS__UPLOAD_URL", store.url("/add"));
    command.env("GATEWAY_ANNOTATIONS__POST_URL", store.url("/document/{ann_doc_id}/annotations"));
}

/// `examples/services/NAME`.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services").join(name)
}

/// Every annotation says what it is and of which version of the service.
#[track_caller]
pub(crate) fn annotations(result: &Value) -> &Vec<Value> {
    let annotations = result["annotations"].as_array().unwrap_or_else(|| panic!("{result}"));
    for annotation in annotations {
        assert!(annotation["@id"].is_string() && annotation["@version"] == "1", "{annotation}");
    }
    annotations
}

/// That a number of the annotation is about so much.
#[track_caller]
pub(crate) fn about(annotation: &Value, key: &str, expected: f64, tolerance: f64) {
    let found = annotation[key].as_f64().unwrap_or_else(|| panic!("no {key}: {annotation}"));
    assert!((found - expected).abs() <= tolerance, "{key} should be about {expected}: {annotation}");
}
