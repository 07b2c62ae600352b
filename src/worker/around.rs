//! What a task's argument asks for around the run itself: annotations and files handed in, somebody called at the end.
//! See the crate's documentation for what that is, and for the files in a result.
//!
//! All of these URLs are strangers': the client's policy judges them when it connects.

mod annotations;
mod callback;
mod temporary;
mod upload;

pub(crate) use callback::call_back;
pub use temporary::{GatewayFiles, KeepFiles};

use crate::{Ending, Event, Job};
use annotations::Annotations;
use gateway_contract::{Span, TraceContext, span};
use gateway_outside::{Client, ExchangeFault, Reply};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::{future::Future, path::PathBuf, time::Duration};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How often something is handed in until time-outs count as a failure.
const TRIES: u32 = 5;
/// The wait after the first time-out; doubled after each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the event that a task is storing waits for room in the receiver's queue.
const TELLING: Duration = Duration::from_secs(5);

/// The text at a JSON pointer of a task's argument; an empty one counts as none.
pub(crate) fn text<'a>(argument: &'a Value, pointer: &str) -> Option<&'a str> {
    argument.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// Hands in what the job's argument asks for; gives the task's ending. `output` is where files may be, `keep` where they
/// go if no storage service is named.
///
/// Everything is looked at before anything is sent, so that a result of the wrong shape leaves nothing behind.
pub(crate) async fn hand_in(
    client: &Client,
    keep: Option<&dyn KeepFiles>,
    job: &Job,
    output: Option<PathBuf>,
    result: Box<RawValue>,
    events: &mpsc::Sender<Event>,
) -> Ending {
    match handed_in(client, keep, job, output, result, events).await {
        Ok(result) => Ending::Success(result),
        Err(Failed { class, message }) => Ending::Failure { class: class.into(), message },
    }
}

/// The client that tells whomever it asks of this place in a trace.
pub(crate) fn client_at(client: &Client, place: Option<&TraceContext>) -> Client {
    match place {
        Some(place) => client.within(&place.traceparent(), place.tracestate()),
        None => client.clone(),
    }
}

/// A span for something that is sent.
fn sending(trace: Option<&TraceContext>, method: &'static str, url: &str) -> Span {
    span!(
        trace,
        "send",
        "client",
        otel.name = method,
        http.request.method = method,
        url.full = gateway_outside::redact(url),
    )
}

/// Why something was not handed in.
struct Failed {
    class: &'static str,
    message: String,
}

impl Failed {
    fn upload(message: impl Into<String>) -> Self {
        Self { class: "UploadError", message: message.into() }
    }
}

async fn handed_in(
    client: &Client,
    keep: Option<&dyn KeepFiles>,
    job: &Job,
    output: Option<PathBuf>,
    result: Box<RawValue>,
    events: &mpsc::Sender<Event>,
) -> Result<Box<RawValue>, Failed> {
    let (argument, trace) = (&job.argument, job.trace.as_ref());
    let annotations = match text(argument, "/annotation_service/url") {
        Some(url) => {
            let kind = text(argument, "/service/type").unwrap_or(&job.service);
            Some(Annotations::of(&result, url, kind, &job.version)?)
        }
        None => None,
    };
    let upload_url = text(argument, "/service/misc/upload_url");
    let files = match output {
        Some(output) => list(output).await?,
        None => Vec::new(),
    };
    if annotations.is_some() || !files.is_empty() {
        drop(timeout(TELLING, events.send(Event::Storing)).await); // nobody has to listen
    }
    let mut stored = Vec::new();
    for file in &files {
        stored.push(match (upload_url, keep) {
            (Some(url), _) => {
                let span = sending(trace, "PUT", url);
                let sent = upload::upload(&client_at(client, span.context()), url, file).await;
                sent.inspect_err(|failed| span.fail(&failed.message))?
            }
            (None, Some(keep)) => temporary::keep(keep, file).await?,
            (None, None) => return Err(nowhere(&files)),
        });
    }
    if let Some(annotations) = annotations {
        let span = sending(trace, "POST", annotations.url());
        let posted = annotations.post(&client_at(client, span.context())).await;
        posted.inspect_err(|failed| span.fail(&failed.message))?;
    }
    if stored.is_empty() { Ok(result) } else { with_files(&result, stored) }
}

fn nowhere(files: &[upload::OutputFile]) -> Failed {
    let first = files.first().map_or("", |file| &*file.name);
    Failed::upload(format!(
        "the program left {} file(s), {first:?} first, and nothing says where they go: set documents.upload_url, or \
         server.public_url on the machine of the worker for temporary ones",
        files.len()
    ))
}

async fn list(output: PathBuf) -> Result<Vec<upload::OutputFile>, Failed> {
    let listed = spawn_blocking(move || upload::list(&output)).await.map_err(std::io::Error::other).flatten();
    listed.map_err(|error| Failed::upload(format!("the program's files cannot be listed: {error}")))
}

fn with_files(result: &RawValue, files: Vec<Value>) -> Result<Box<RawValue>, Failed> {
    let files = Value::Array(files);
    let value = match serde_json::from_str(result.get()).unwrap_or(Value::Null) {
        Value::Object(mut members) => {
            members.insert("files".to_owned(), files);
            Value::Object(members)
        }
        Value::Null => serde_json::json!({ "files": files }),
        other => serde_json::json!({ "result": other, "files": files }),
    };
    to_raw_value(&value).map_err(|error| Failed::upload(format!("the result cannot be written: {error}")))
}

/// Tries again what timed out.
async fn patiently<F>(mut exchange: impl FnMut() -> F) -> Result<Reply, ExchangeFault>
where
    F: Future<Output = Result<Reply, ExchangeFault>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match exchange().await {
            Err(ExchangeFault::TimedOut { url }) => {
                tracing::info!(url, ?pause, "did not answer in time: tried again");
                sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
    exchange().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(result: &str) -> Value {
        let raw = RawValue::from_string(result.to_owned()).unwrap();
        match with_files(&raw, vec![json!({"name": "a", "storage_doc_id": "1"})]) {
            Ok(raw) => serde_json::from_str(raw.get()).unwrap(),
            Err(failed) => panic!("{}", failed.message),
        }
    }

    #[test]
    fn files_join_every_kind_of_result() {
        let files = json!([{"name": "a", "storage_doc_id": "1"}]);
        assert_eq!(with("null"), json!({"files": files}));
        assert_eq!(with(r#"{"a": 1, "files": 2}"#), json!({"a": 1, "files": files}));
        assert_eq!(with("[1]"), json!({"result": [1], "files": files}));
        assert_eq!(with("\"x\""), json!({"result": "x", "files": files}));
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_outs_are_tried_again_and_not_for_ever() {
        let mut tries = 0;
        let late = || ExchangeFault::TimedOut { url: "u".into() };
        let fault = patiently(|| {
            tries += 1;
            async move { Err(late()) }
        });
        assert!(matches!(fault.await, Err(ExchangeFault::TimedOut { .. })));
        assert_eq!(tries, TRIES);
        let mut tries = 0;
        let reply = patiently(|| {
            tries += 1;
            async move { if tries < 3 { Err(late()) } else { Ok(Reply { status: 500, body: Vec::new() }) } }
        });
        assert_eq!(reply.await.unwrap().status, 500);
        assert_eq!(tries, 3);
    }

    #[test]
    fn an_empty_url_is_none() {
        let argument = json!({"service": {"misc": {"upload_url": "", "callback_url": 7, "x": "y"}}});
        assert_eq!(text(&argument, "/service/misc/upload_url"), None);
        assert_eq!(text(&argument, "/service/misc/callback_url"), None);
        assert_eq!(text(&argument, "/annotation_service/url"), None);
        assert_eq!(text(&argument, "/service/misc/x"), Some("y"));
    }
}
