//! Tasks done by Rust code instead of a program.

use crate::{Ending, Event, Job, notes::Note, progress::Progress};
use gateway_contract::TraceContext;
use gateway_outside::Client;
use serde_json::{Value, value::to_raw_value};
use std::{
    fmt, fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{join, sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

/// Does tasks. Every `Fn(HandlerTask, HandlerProgress)` that gives such a future is one.
///
/// It runs on the worker's runtime, several tasks at once, so it may not block; what computes for long belongs into
/// `tokio::task::spawn_blocking`. A task that is cancelled, or takes too long, is dropped where it waits. A panic is a
/// failure of that task alone.
///
/// ```
/// use gateway_worker::{DynHandler, Failure, HandlerProgress, HandlerTask};
/// use serde_json::{Value, json};
///
/// async fn count(task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
///     let text = task.argument["service"]["misc"]["text"].as_str();
///     let text = text.ok_or_else(|| Failure::new("MissingParameterError", "give text"))?;
///     progress.tell(50.0);
///     Ok(json!({ "words": text.split_whitespace().count() }))
/// }
/// let handler = DynHandler::new(count);
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Does one task; gives its result.
    fn handle(
        &self,
        task: HandlerTask,
        progress: HandlerProgress,
    ) -> impl Future<Output = Result<Value, Failure>> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(HandlerTask, HandlerProgress) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, Failure>> + Send,
{
    async fn handle(&self, task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
        self(task, progress).await
    }
}

/// A task, as a handler sees it.
#[derive(Debug, Clone)]
pub struct HandlerTask {
    /// The task's id.
    pub id: Uuid,
    /// The service's name.
    pub service: String,
    /// Which attempt this is: 1 and up.
    pub attempt: u32,
    /// The task's argument, whole.
    pub argument: Value,
    /// Where the document is.
    pub document_url: Option<String>,
    /// Its place in a trace (`traceparent`, `tracestate`).
    pub trace: Option<TraceContext>,
    last: bool,
    client: Client,
    note: Note,
    given_up: Arc<AtomicBool>,
}

impl HandlerTask {
    /// Is the task over if this run fails? Else it is tried again.
    pub fn is_last_try(&self) -> bool {
        self.last
    }

    /// What an earlier run noted that was not the last: it failed, its worker was stopped, or died. A worker on another
    /// machine, or with another directory, knows nothing of it.
    pub async fn noted(&self) -> Option<Value> {
        self.note.read().await
    }

    /// Notes how far the task is, for [`HandlerTask::noted`]; in place of what was noted before.
    pub async fn note(&self, value: &Value) {
        if let Err(error) = self.note.write(value).await {
            tracing::warn!(uuid = %self.id, %error, "how far a task is could not be noted");
        }
    }

    /// Has the task come to its end without its handler, because it was cancelled or took too long? A handler that is
    /// dropped can ask it in the `Drop` of what it holds, to stop what it began elsewhere; where it is `false` then, the
    /// worker is shutting down, and the task is begun again.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// Fetches the document into a file; at most `max_bytes`. Only from where the policy lets us.
    ///
    /// # Errors
    /// `MissingParameterError` if the task has none, else `DownloadError`.
    pub async fn document(&self, to: &Path, max_bytes: u64) -> Result<(), Failure> {
        let missing = || Failure::new("MissingParameterError", "the task has no document: give doc_url");
        let url = self.document_url.as_ref().ok_or_else(missing)?;
        // The task's own time limit ends a download, too.
        let deadline = Instant::now() + crate::runner::FOR_EVER;
        let fetched = self.client.download(url, to, max_bytes, deadline, |_, _| ()).await;
        fetched.map(drop).map_err(|fault| Failure::new("DownloadError", fault.to_string()))
    }

    /// The document's bytes; at most `max_bytes`, which are held in memory.
    ///
    /// # Errors
    /// As [`HandlerTask::document`]; `OSError` if the directory for temporary files cannot be used.
    pub async fn read_document(&self, max_bytes: u64) -> Result<Vec<u8>, Failure> {
        let file = Passing(std::env::temp_dir().join(format!("service-gateway-{}.document", Uuid::now_v7())));
        self.document(&file.0, max_bytes).await?;
        tokio::fs::read(&file.0).await.map_err(|error| Failure::new("OSError", error.to_string()))
    }
}

/// A file that is there as long as this: a handler may be dropped wherever it waits.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        // It is not there if nothing came.
        drop(fs::remove_file(&self.0));
    }
}

/// Tells how far a task is.
#[derive(Clone)]
pub struct HandlerProgress(Arc<Progress>);

impl HandlerProgress {
    /// It is so far, in per cent: 0 to 100. Less than before changes nothing; never waits, and is passed on at most five
    /// times a second.
    pub fn tell(&self, done: f64) {
        self.0.rise(done);
    }
}

impl fmt::Debug for HandlerProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerProgress").finish_non_exhaustive()
    }
}

/// Why a task did not work: an exception, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exception's class, by which it has its code.
    pub class: String,
    /// What happened and, if you know, what would help.
    pub message: String,
}

impl Failure {
    /// An exception of this class.
    pub fn new(class: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class: class.into(), message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// A `RuntimeError` with the error's words, and those of its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self::new("RuntimeError", message)
    }
}

type Handling = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

/// Any handler. Clones are the same one.
#[derive(Clone)]
pub struct DynHandler(Arc<dyn Fn(HandlerTask, HandlerProgress) -> Handling + Send + Sync>);

impl DynHandler {
    /// This one.
    pub fn new(handler: impl Handler) -> Self {
        let handler = Arc::new(handler);
        Self(Arc::new(move |task, progress| {
            let handler = handler.clone();
            Box::pin(async move { handler.handle(task, progress).await })
        }))
    }

    /// Does a job, telling `events` how far it is. Dropped, the handler is dropped.
    ///
    /// Whoever drops it sets `given_up` before, if nobody goes on with the task.
    pub(crate) async fn call(
        &self,
        job: &Job,
        client: &Client,
        note: &Note,
        events: &mpsc::Sender<Event>,
        given_up: &Arc<AtomicBool>,
    ) -> Ending {
        let progress = Arc::new(Progress::new(None));
        let task = HandlerTask {
            id: job.id,
            service: job.service.clone(),
            attempt: job.attempt,
            argument: job.argument.clone(),
            document_url: job.document_url.clone(),
            trace: job.trace.clone(),
            last: job.last,
            client: client.clone(),
            note: note.clone(),
            given_up: given_up.clone(),
        };
        // A task of its own, so that a panic ends nothing else.
        let handling = AbortOnDropHandle::new(tokio::spawn((self.0)(task, HandlerProgress(progress.clone()))));
        let finished = CancellationToken::new();
        let handled = async {
            let handled = handling.await;
            finished.cancel();
            handled
        };
        let (handled, ()) = join!(handled, progress.forward(events, &finished));
        match handled {
            Ok(Ok(value)) => match to_raw_value(&value) {
                Ok(result) => Ending::Success(result),
                Err(error) => failure(Failure::from(error)),
            },
            Ok(Err(fault)) => failure(fault),
            Err(_) => failure(Failure::new("RuntimeError", "the worker's code panicked; its log says where")),
        }
    }
}

fn failure(Failure { class, message }: Failure) -> Ending {
    Ending::Failure { class: class.into(), message }
}

impl fmt::Debug for DynHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynHandler").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_outside::{Limits, Policy};
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn nowhere() -> Note {
        Note::of("/nonexistent", Uuid::nil())
    }

    async fn call(handler: impl Handler) -> (Ending, Vec<Event>) {
        let client = Client::new(Policy::default(), Limits::default()).unwrap();
        let (events, mut received) = mpsc::channel(10);
        let job = Job::new(Uuid::nil(), "s", 1, json!({"a": 1}));
        let ending = DynHandler::new(handler).call(&job, &client, &nowhere(), &events, &Arc::default()).await;
        drop(events);
        let mut heard = Vec::new();
        while let Some(event) = received.recv().await {
            heard.push(event);
        }
        (ending, heard)
    }

    #[tokio::test(start_paused = true)]
    async fn results_failures_and_panics() {
        let works = |task: HandlerTask, progress: HandlerProgress| async move {
            progress.tell(40.0);
            progress.tell(f64::NAN);
            Ok(task.argument)
        };
        let (ending, events) = call(works).await;
        assert!(matches!(ending, Ending::Success(result) if result.get() == r#"{"a":1}"#));
        assert_eq!(events, [Event::Progress { done: 40.0 }]);
        let fails = |_, _| async { Err(std::io::Error::other("why").into()) };
        let (ending, _) = call(fails).await;
        assert!(matches!(ending, Ending::Failure { class, message } if class == "RuntimeError" && message == "why"));
        let panics = |task: HandlerTask, _| async move {
            assert!(task.id != Uuid::nil(), "told by the test");
            Ok(Value::Null)
        };
        let (ending, _) = call(panics).await;
        assert!(matches!(ending, Ending::Failure { message, .. } if message.contains("panicked")));
    }
    /// The document that holds this text, where `read_document` keeps it.
    fn kept(text: &str) -> Option<PathBuf> {
        let files = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|entry| entry.path());
        let mut documents = files.filter(|path| path.extension().is_some_and(|extension| extension == "document"));
        documents.find(|path| fs::read_to_string(path).is_ok_and(|held| held == text))
    }

    #[tokio::test]
    async fn a_document_is_private_and_goes_with_its_handler() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let text = Uuid::now_v7().to_string();
        let part = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{text}");
        let serving = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
            socket.write_all(part.as_bytes()).await.unwrap();
            loop {
                match kept(&text) {
                    Some(file) => return fs::metadata(file).unwrap().permissions().mode() & 0o777,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let task = HandlerTask {
            id: Uuid::nil(),
            service: "s".into(),
            attempt: 1,
            argument: Value::Null,
            document_url: Some(url),
            trace: None,
            last: true,
            client: Client::new(Policy::default().with_private_networks(true), Limits::default()).unwrap(),
            note: nowhere(),
            given_up: Arc::default(),
        };
        let mode = tokio::select! {
            read = task.read_document(1000) => panic!("{read:?}"),
            mode = serving => mode,
        };
        assert_eq!(mode, 0o600);
        assert_eq!(kept(&text), None, "the handler was dropped");
    }
}
