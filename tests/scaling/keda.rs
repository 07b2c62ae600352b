//! KEDA's trigger `metrics-api`, and the ScaledObject that we ship.

use crate::{
    place::Place,
    rabbit::{Rabbit, rig, run},
    support::{PATIENCE, request, until},
};
use serde_json::Value;
use std::{path::Path, process::Command};

#[test]
fn the_shipped_object_is_in_keda_s_schema_and_finds_its_number_in_our_answer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.arg(root.join("tests/scaling/keda.py")).arg(root.join("config/keda/words.yaml"));
    let output = run(&mut command, PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&metadata["format"], &metadata["targetValue"]), (&"json".into(), &"1".into()));

    // As Go's client asks: without Accept. The number is where the object says, and one that Go reads.
    let place = Place::new(Rabbit::shared(), "true", "", "");
    let path = metadata["url"].as_str().unwrap().split_once("5000").unwrap().1.replace("words", "stub");
    let number = until(PATIENCE, "the number", || {
        let answer = request("GET", &format!("{}{path}", place.gateway.url())).header("Accept", "").send();
        (answer.status == 200).then(|| answer.json()[metadata["valueLocation"].as_str().unwrap()].clone())
    });
    assert_eq!(number, 1);
}
