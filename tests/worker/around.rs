//! Annotations, files, callbacks: the same with our worker and with the embedded broker.

use crate::{
    place::{Place, SERVICE, shell},
    rabbit::Rabbit,
    store::Store,
    support::{Gateway, end, get, submit, wait_for},
};
use serde_json::{Value, json};

/// What runs a service's tasks.
trait Runs {
    fn ends(&self, form: &[(&str, &str)]) -> (String, Value);
}

impl Runs for Place {
    fn ends(&self, form: &[(&str, &str)]) -> (String, Value) {
        let uuid = self.submit(form);
        let status = self.end(&uuid);
        (uuid, status)
    }
}

impl Runs for Gateway {
    fn ends(&self, form: &[(&str, &str)]) -> (String, Value) {
        let uuid = submit(self, SERVICE, form);
        let status = end(self, SERVICE, &uuid);
        (uuid, status)
    }
}

/// Does what is asked: `misc.say` is its result; a file, if `misc.file` is there.
const SCRIPT: &str = "grep -q '\"file\"' params.json && echo content > output/made.txt\n\
                      sed 's/.*\"say\": *\"\\([^\"]*\\)\".*/\\1/' params.json";

fn toml(store: &Store) -> String {
    format!(
        "[documents]\nallow_hosts = [\"127.0.0.1\"]\nupload_url = \"{}\"\n[annotations]\npost_url = \"{}\"",
        store.url("/add"),
        store.url("/document/{ann_doc_id}/annotations")
    )
}

fn annotations_files_and_callbacks(runs: &impl Runs, store: &Store) {
    let callback = store.url("/called");
    let form = [("ann_doc_id", "doc1"), ("say", "[{}]"), ("callback_url", &*callback)];
    let (uuid, status) = runs.ends(&form);
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &json!([{}])), "{status}");
    let posted = store.seen("POST /document/doc1/annotations");
    assert_eq!(posted.len(), 1);
    let annotation = json!({"@id": SERVICE, "@version": "1.2.3"});
    assert_eq!(serde_json::from_str::<Value>(&posted[0].body).unwrap(), json!({"common": {}, "data": [annotation]}));
    wait_for("the callback", || !store.seen("POST /called").is_empty());
    let called: Value = serde_json::from_str(&store.seen("POST /called")[0].body).unwrap();
    assert_eq!(called, json!({"uuid": uuid, "status": "SUCCESS"}));

    let (_, status) = runs.ends(&[("ann_doc_id", "doc2"), ("say", "nothing"), ("callback_url", &*callback)]);
    assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(300)), "{status}");
    assert!(store.seen("POST /document/doc2").is_empty());
    wait_for("the callback", || store.seen("POST /called").len() == 2);
    assert!(store.seen("POST /called")[1].body.contains("FAILURE"));

    let (_, status) = runs.ends(&[("ann_doc_id", "doc2"), ("say", "[7]")]);
    assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(300)), "{status}");
    assert!(store.seen("POST /document/doc2").is_empty());

    let (_, status) = runs.ends(&[("file", "yes"), ("say", "null")]);
    let files = json!({"files": [{"name": "made.txt", "storage_doc_id": "abc.txt"}]});
    assert_eq!((&status["status"], &status["result"]), (&json!("SUCCESS"), &files), "{status}");
    assert_eq!(store.seen("GET /add?filename=made.txt").len(), 1);
    assert_eq!(store.seen("PUT /put/").last().map(|seen| seen.body.as_str()), Some("content\n"));
}

fn a_store_that_refuses_fails_the_task(runs: &impl Runs) {
    for form in [[("ann_doc_id", "doc1"), ("say", "[]")], [("file", "yes"), ("say", "null")]] {
        let (_, status) = runs.ends(&form);
        assert_eq!((&status["status"], &status["result"]["code"]), (&json!("FAILURE"), &json!(302)), "{status}");
        assert!(status["result"]["message"].as_str().unwrap().contains("500"), "{status}");
    }
}

fn embedded(store: &Store) -> Gateway {
    let command = shell(SCRIPT);
    Gateway::start(&format!(
        "[auth]\nmode = \"none\"\n{}\n[services.{SERVICE}]\nrequires_document = false\nversion = \"1.2.3\"\n\
         [services.{SERVICE}.worker]\ncommand = {command}\n",
        toml(store)
    ))
}

fn ours(store: &Store) -> Place {
    Place::at(Rabbit::shared(), "around", &shell(SCRIPT), "", &toml(store))
}

#[test]
fn our_worker_hands_in_what_it_is_asked_to() {
    let store = Store::start("200 OK");
    let place = ours(&store);
    let _worker = place.worker();
    annotations_files_and_callbacks(&place, &store);
    place.holds(0);
}

#[test]
fn the_embedded_broker_does_the_same() {
    let store = Store::start("201 Created");
    annotations_files_and_callbacks(&embedded(&store), &store);
}

/// The gateway is elsewhere for a worker: it hands files in over HTTP, with the key that workers share.
#[test]
fn files_that_no_storage_service_takes_go_to_the_gateway() {
    let place = Place::at(Rabbit::shared(), "files", &shell(SCRIPT), "", "");
    let worker = place.worker_with(|command| {
        command.env("GATEWAY_SERVER__PUBLIC_URL", place.gateway.url()).env("GATEWAY_AUTH__SHARED_KEY", "a-5hared-key");
    });
    let (_, status) = place.ends(&[("file", "yes"), ("say", "null")]);
    assert_eq!(status["status"], "SUCCESS", "{status}");
    let file = &status["result"]["files"][0];
    assert_eq!(file["name"], "made.txt");
    assert_eq!(get(file["url"].as_str().unwrap()).text(), "content\n");
    assert!(!worker.log().contains("5hared"));
}

#[test]
fn what_is_not_taken_fails() {
    let store = Store::start("500 Oops");
    let place = ours(&store);
    let _worker = place.worker();
    a_store_that_refuses_fails_the_task(&place);
    a_store_that_refuses_fails_the_task(&embedded(&store));
}
