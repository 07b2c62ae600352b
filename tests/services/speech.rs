//! PocketSphinx: words and silence, by the embedded broker and over RabbitMQ.

use crate::{
    example::{Example, about, annotations, environment, folder},
    rabbit::Rabbit,
    support::wait_for,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

fn recording() -> PathBuf {
    folder("speech").join("commands.wav")
}

/// What is in the shipped recording. Where words begin and end is a matter of taste, within limits.
fn is_the_recording(result: &Value) {
    let found = annotations(result);
    let kinds: Vec<_> = found.iter().map(|annotation| annotation["@id"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["silence", "speech", "silence", "speech"], "{result}");
    assert_eq!(found[1]["text"], "eight of spades four of clubs seven of hearts");
    assert_eq!(found[3]["text"], "go forward ten meters");
    for (annotation, end) in found.iter().zip([0.2, 3.4, 4.7, 7.3]) {
        about(annotation, "end", end, 0.3);
    }
    assert!(found.windows(2).all(|pair| pair[0]["end"] == pair[1]["start"]), "without a gap: {result}");
    about(result, "duration", 7.29, 0.01);
}

#[test]
fn words_and_silence_are_found() {
    let example = Example::start("speech");
    let uuid = example.submit(&recording(), &[("ann_doc_id", "rec1")]);
    let result = example.result(&uuid);
    is_the_recording(&result);
    example.posted("rec1", &result);

    let other = example.submit(&folder("speech").join("speech.py"), &[]);
    assert_eq!(example.failure(&other), "exit status 1: not a WAV file: file does not start with RIFF id");
}

#[test]
fn the_same_over_rabbitmq() {
    let broker = Rabbit::shared();
    let queue = format!("speech-{}", std::process::id());
    let variables = [
        ("GATEWAY_BROKER__URL", broker.url().to_owned()),
        // Sent once, however busy the machine is: it is annotated once.
        ("GATEWAY_BROKER__PUBLISH_TIMEOUT", "60s".to_owned()),
        ("GATEWAY_BROKER__REPLY_QUEUE", format!("{queue}.replies")),
        ("GATEWAY_SERVICES__SPEECH__QUEUE", queue.clone()),
    ];
    let example = Example::with("speech", |command| {
        command.envs(variables.clone());
    });
    let worker = Worker::start(&example, &variables);
    let uuid = example.submit(&recording(), &[("ann_doc_id", "rec2")]);
    let result = example.result(&uuid);
    is_the_recording(&result);
    example.posted("rec2", &result);
    drop(worker);
    for name in [&queue, &format!("{queue}.replies")] {
        broker.delete(name);
    }
}

/// `service-gateway worker speech`. Dropped, it is killed.
struct Worker(Child);

impl Worker {
    fn start(example: &Example, variables: &[(&str, String)]) -> Self {
        let directory = example.gateway.directory();
        let log = directory.join("worker.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_service-gateway"));
        environment(&mut command, &example.store);
        command.args(["worker", "--config", "gateway.toml", "speech"]).current_dir(directory);
        command.env("TMPDIR", directory).envs(variables.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut worker = Self(command.spawn().unwrap());
        wait_for("the worker consumes", || {
            let log = fs::read_to_string(&log).unwrap();
            assert!(worker.0.try_wait().unwrap().is_none(), "the worker ended and said\n{log}");
            log.contains("consuming")
        });
        worker
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Gone already, or it is now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
