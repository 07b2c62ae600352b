//! The example services do real work: through the gateway, with the input that they ship. `tests/run` installs ffmpeg and
//! what `examples/services/requirements.txt` names.
//!
//! | file | what |
//! |---|---|
//! | `example.rs` | a service of `examples/services/` behind a gateway, as its README has it |
//! | `transcode.rs` | ffmpeg: formats, progress, a file and annotations that are stored, refusals |
//! | `speech.rs` | PocketSphinx: words and silence, by the embedded broker and over RabbitMQ |
//! | `faces.rs` | OpenCV: a face, and none where there is none |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../worker/store.rs"]
mod store;
#[path = "../support/mod.rs"]
mod support;

mod example;
mod faces;
mod speech;
mod transcode;
