//! ffmpeg: formats, progress, stored files and annotations, refusals.

use crate::{
    example::{Example, about, annotations, folder},
    rabbit::{rig, run},
    support::{PATIENCE, is_end, until},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

fn clip() -> PathBuf {
    folder("transcode").join("clip.mp4")
}

/// A file made by ffmpeg, in the test's directory.
fn made(name: &str, arguments: &[&str]) -> PathBuf {
    let file = PathBuf::from(rig("SG_TEST_DIR")).join(name);
    let output = run(Command::new("ffmpeg").args(["-v", "error", "-y"]).args(arguments).arg(&file), PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

fn codecs(medium: &Value) -> Vec<&str> {
    medium["streams"].as_array().unwrap().iter().map(|stream| stream["codec_name"].as_str().unwrap()).collect()
}

#[test]
fn a_film_is_transcoded_stored_and_annotated() {
    let example = Example::start("transcode");
    let uuid = example.submit(&clip(), &[("format", "webm"), ("ann_doc_id", "film")]);
    let result = example.result(&uuid);
    assert_eq!(result["format"], "webm");
    let [medium, first, second] = annotations(&result).as_slice() else { panic!("{result}") };
    assert_eq!((&medium["@id"], codecs(medium)), (&json!("medium"), vec!["vp9", "opus"]));
    about(medium, "end", 4.42, 0.1);
    for (shot, start, end) in [(first, 0.0, 2.4), (second, 2.4, 4.42)] {
        assert_eq!(shot["@id"], "shot");
        about(shot, "start", start, 0.1);
        about(shot, "end", end, 0.1);
    }
    example.posted("film", &result);
    assert_eq!(result["files"], json!([{"name": "transcoded.webm", "storage_doc_id": "abc.txt"}]));
    assert_eq!(example.store.seen("GET /add?filename=transcoded.webm").len(), 1);
    let stored = &example.store.seen("PUT /put/")[0].body;
    assert!(stored.contains("webm") && stored.contains("V_VP9") && stored.len() > 10_000, "{} bytes", stored.len());
}

#[test]
fn ffmpeg_s_own_words_are_the_progress() {
    let example = Example::start("transcode");
    // Long enough that it can be watched.
    let sound = made("long.flac", &["-f", "lavfi", "-i", "sine=330:d=400:r=48000"]);
    let mut uuid = example.submit(&sound, &[("format", "ogg")]);
    let current = until(4 * PATIENCE, "progress between 0 and 100", || {
        let status = example.status(&uuid);
        if is_end(&status) {
            // A busy machine has shown us the end alone: we look once more.
            uuid = example.submit(&sound, &[("format", "ogg")]);
        }
        let current = status["result"]["current"].as_f64().unwrap_or(0.0);
        (status["status"] == "PROGRESS" && current > 0.0 && current < 100.0).then_some(current)
    });
    until(4 * PATIENCE, "more progress", || {
        let status = example.status(&uuid);
        (is_end(&status) || status["result"]["current"].as_f64().is_some_and(|now| now > current)).then_some(())
    });
    let result = example.result(&uuid);
    assert_eq!(codecs(&annotations(&result)[0]), ["opus"]);
    about(&result, "duration", 400.0, 0.5);
}

#[test]
fn what_cannot_be_done_says_why() {
    let example = Example::start("transcode");
    let wrong = example.submit(&clip(), &[("format", "../../x")]);
    assert_eq!(example.failure(&wrong), "exit status 1: format must be one of mp4, webm, ogg");

    // A playlist that would have ffmpeg read another file of this machine.
    let playlist = PathBuf::from(rig("SG_TEST_DIR")).join("playlist.m3u8");
    let clip = clip();
    fs::write(&playlist, format!("#EXTM3U\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n", clip.display())).unwrap();
    let read = example.submit(&playlist, &[]);
    assert_eq!(example.failure(&read), "exit status 1: not a sound or film file that can be read");
    assert!(example.store.seen("PUT").is_empty());
}
