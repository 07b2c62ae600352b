//! OpenCV: a face, and none where there is none.

use crate::{
    example::{Example, about, annotations, folder},
    rabbit::{rig, run},
    support::PATIENCE,
};
use serde_json::json;
use std::{path::PathBuf, process::Command};

#[test]
fn a_face_is_found_and_marked() {
    let example = Example::start("faces");
    let uuid = example.submit(&folder("faces").join("portrait.jpg"), &[("ann_doc_id", "picture")]);
    let result = example.result(&uuid);
    assert_eq!((&result["width"], &result["height"]), (&json!(300), &json!(300)));
    let [face] = annotations(&result).as_slice() else { panic!("{result}") };
    assert_eq!(face["@id"], "face");
    for (key, expected) in [("x", 117.0), ("y", 66.0), ("width", 95.0), ("height", 95.0)] {
        about(&face["region"], key, expected, 8.0);
    }
    example.posted("picture", &result);
    assert_eq!(result["files"][0]["name"], "faces.jpg");
    assert_eq!(example.store.seen("GET /add?filename=faces.jpg").len(), 1);
}

#[test]
fn a_picture_without_faces_has_no_annotations_and_a_sound_is_no_picture() {
    let example = Example::start("faces");
    let pattern = PathBuf::from(rig("SG_TEST_DIR")).join("pattern.png");
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-y", "-f", "lavfi", "-i", "smptebars=s=320x240", "-frames:v", "1"]).arg(&pattern);
    assert!(run(&mut make, PATIENCE).status.success());
    let none = example.submit(&pattern, &[]);
    assert_eq!(example.result(&none)["annotations"], json!([]));
    let sound = example.submit(&folder("speech").join("commands.wav"), &[]);
    assert_eq!(example.failure(&sound), "exit status 1: not a picture that can be read");
}
