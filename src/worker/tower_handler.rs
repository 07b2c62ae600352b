//! A `tower::Service` as a handler.

use crate::{Failure, Handler, HandlerProgress, HandlerTask};
use serde_json::Value;
use std::{
    error::Error,
    fmt,
    sync::{Mutex, PoisonError},
};
use tower_service::Service;

/// An error of tower's layers.
type BoxError = Box<dyn Error + Send + Sync>;

/// Does tasks by a [`tower::Service`](Service): with whatever layers are around it, `ConcurrencyLimit`, `Timeout` or
/// `Retry` for example.
///
/// Each task has a clone of the service to itself, which is asked whether it is ready before. The error is the task's
/// failure: a [`Failure`] as it is, through any layer that boxes errors; any other as a `RuntimeError` with its words and
/// those of its causes.
///
/// ```
/// use gateway_worker::{DynHandler, Failure, HandlerProgress, HandlerTask, TowerHandler};
/// use serde_json::{Value, json};
/// use std::time::Duration;
/// use tower::{ServiceBuilder, service_fn};
///
/// async fn count((task, _): (HandlerTask, HandlerProgress)) -> Result<Value, Failure> {
///     let text = task.argument["service"]["misc"]["text"].as_str().unwrap_or_default();
///     Ok(json!({ "words": text.split_whitespace().count() }))
/// }
/// let limited = ServiceBuilder::new().concurrency_limit(2).timeout(Duration::from_secs(60)).service(service_fn(count));
/// let handler = DynHandler::new(TowerHandler::new(limited));
/// ```
// In a lock only to be shared: it is held while a clone is made.
pub struct TowerHandler<S>(Mutex<S>);

impl<S> TowerHandler<S> {
    /// By this service.
    pub fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S> Handler for TowerHandler<S>
where
    S: Service<(HandlerTask, HandlerProgress), Response = Value> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    async fn handle(&self, task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
        let mut service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        std::future::poll_fn(|context| service.poll_ready(context)).await.map_err(failure)?;
        service.call((task, progress)).await.map_err(failure)
    }
}

impl<S> fmt::Debug for TowerHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerHandler").finish_non_exhaustive()
    }
}

/// A failure on its way through layers that box errors.
#[derive(Debug)]
struct Boxed(Failure);

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.class, self.0.message)
    }
}

impl Error for Boxed {}

impl From<Failure> for BoxError {
    fn from(failure: Failure) -> Self {
        Box::new(Boxed(failure))
    }
}

fn failure(error: impl Into<BoxError>) -> Failure {
    match error.into().downcast::<Boxed>() {
        Ok(boxed) => boxed.0,
        // `Box<dyn Error>` is no error itself; a reference to what it holds is.
        Err(other) => Failure::from(&*other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Job, notes::Note};
    use gateway_outside::{Client, Limits, Policy};
    use serde_json::json;
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tower::{ServiceBuilder, service_fn};
    use uuid::Uuid;

    async fn call(handler: impl Handler) -> Ending {
        let client = Client::new(Policy::default(), Limits::default()).unwrap();
        let (events, _received) = mpsc::channel(10);
        let job = Job::new(Uuid::nil(), "s", 1, json!({"a": 1}));
        let note = Note::of("/nonexistent", job.id);
        crate::DynHandler::new(handler).call(&job, &client, &note, &events, &Default::default()).await
    }

    #[tokio::test(start_paused = true)]
    async fn results_and_failures_pass_through_layers() {
        let layers = || ServiceBuilder::new().concurrency_limit(1).timeout(Duration::from_secs(5));
        let echo = |(task, _): (HandlerTask, HandlerProgress)| async move { Ok::<_, Failure>(task.argument) };
        let ending = call(TowerHandler::new(layers().service(service_fn(echo)))).await;
        assert!(matches!(ending, Ending::Success(result) if result.get() == r#"{"a":1}"#));

        let fails = |_| async { Err::<Value, _>(Failure::new("ValueError", "no")) };
        for ending in [
            call(TowerHandler::new(service_fn(fails))).await,
            call(TowerHandler::new(layers().service(service_fn(fails)))).await,
        ] {
            assert!(matches!(ending, Ending::Failure { class, message } if class == "ValueError" && message == "no"));
        }
        let hangs = |_| std::future::pending::<Result<Value, Failure>>();
        let ending = call(TowerHandler::new(layers().service(service_fn(hangs)))).await;
        assert!(matches!(ending, Ending::Failure { class, message }
            if class == "RuntimeError" && message.contains("timed out")));
    }
}
