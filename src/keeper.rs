//! The layers' view of the engine: who keeps tasks, who sends them, what is known of the installation.

mod limits;

use crate::{
    broker::Broker,
    engine::{Cache, Mailbox, Stopped, View, now},
    keys::Published,
    meters::Meters,
    needs::Assessor,
    plan::Plan,
    store::{Store, StoreError},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use gateway_contract::{
    BoxFuture, Facts, Needs, Part, Readiness, Rejection, Service, Side, Snapshot, Stats, Submission, Tasks, code, span,
};
use gateway_life::{Accept, Answer, IdempotencyKey, Task};
use gateway_metrics::{Family, Recorder};
use http::StatusCode;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::sync::watch;
use tracing::field::Empty;
use uuid::Uuid;

/// Why nothing can be taken after the store has failed.
const MAYBE: &str = "the store failed while this was written: it may have been accepted; \
                     retry with the same Idempotency-Key";

/// Everything that the layers' words are answered from.
pub(crate) struct Desk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mailbox: Mailbox,
    pub(crate) cache: Arc<Cache>,
    pub(crate) view: Arc<View>,
    pub(crate) plan: Arc<ArcSwap<Plan>>,
    pub(crate) recorder: ArcSwap<Recorder>,
    pub(crate) assessor: Arc<Assessor>,
    pub(crate) meters: Meters,
    pub(crate) failed: watch::Receiver<Option<Arc<str>>>,
    /// The public keys of tokens, if they are fetched.
    pub(crate) keys: ArcSwapOption<Published>,
    /// Was the last configuration not taken?
    pub(crate) refused: AtomicBool,
    pub(crate) draining: tokio_util::sync::CancellationToken,
}

macro_rules! clerk {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub(crate) Arc<Desk>);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

clerk! {
    /// Keeps tasks: answers `status` and `cancel`.
    Keeper
}
clerk! {
    /// Sends tasks: takes submissions and answers their uuid once they are durable.
    Sender
}
clerk! {
    /// Knows the installation: workers, counts, readiness, metrics.
    Installation
}

impl From<Stopped> for Rejection {
    fn from(_: Stopped) -> Self {
        Rejection::unavailable("the gateway is stopping; try again", 5)
    }
}

impl From<StoreError> for Rejection {
    fn from(error: StoreError) -> Self {
        Rejection::unavailable("the store cannot be read now; try again", 2).with_cause(error)
    }
}

impl Tasks for Keeper {
    fn peek(&self, id: Uuid) -> Option<Arc<Snapshot>> {
        self.0.cache.peek(id)
    }

    fn load(&self, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        let desk = self.0.clone();
        Box::pin(async move {
            let ticket = desk.cache.before_read();
            let Some(task) = desk.store.load(id).await? else { return Ok(None) };
            let Some(snapshot) = desk.view.snapshot(&task) else { return Ok(None) };
            let snapshot = Arc::new(snapshot);
            desk.cache.read(ticket, &task, &snapshot, now());
            Ok(Some(snapshot))
        })
    }

    fn cancel(&self, service: &Service, id: Uuid) -> BoxFuture<Result<Option<Arc<Snapshot>>, Rejection>> {
        let desk = self.0.clone();
        let service: Arc<str> = service.name.clone().into();
        Box::pin(async move {
            match desk.mailbox.cancel(id, service).await? {
                Answer::Cancelled(task) => Ok(desk.view.snapshot(&task).map(Arc::new)),
                Answer::NoTask => Ok(None),
                other => Err(refused(other)),
            }
        })
    }
}

/// What the engine answers when it could not do what was asked.
fn refused(answer: Answer) -> Rejection {
    match answer {
        Answer::Busy => Rejection::unavailable("too many tasks wait to be sent to the broker; try again later", 5),
        Answer::NotWritten(why) => {
            Rejection::unavailable("the store cannot take it now (out of space?); try again later", 10)
                .with_cause(String::from(why))
        }
        Answer::Unknown(why) => Rejection::unavailable(MAYBE, 10).with_cause(String::from(why)),
        Answer::Conflict => Rejection::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::IDEMPOTENCY,
            Side::Client,
            "this Idempotency-Key was used for another request: use a new key for a new request",
        ),
        Answer::InProgress => Rejection::new(
            StatusCode::CONFLICT,
            code::IDEMPOTENCY,
            Side::Client,
            "a request with this Idempotency-Key is still being written down; try again in a moment",
        )
        .with_retry_after(1),
        other => Rejection::misplaced("the engine gave an answer to another question").with_cause(format!("{other:?}")),
    }
}

impl tower_service::Service<Submission> for Sender {
    type Response = Uuid;
    type Error = Rejection;
    type Future = BoxFuture<Result<Uuid, Rejection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, submission: Submission) -> Self::Future {
        let desk = self.0.clone();
        Box::pin(async move {
            let trace = submission.trace.clone();
            let accept = accept(&desk.plan.load(), submission)?;
            let service = accept.task.service.clone();
            let span = span!(trace.as_ref(), "store", "internal", gateway.service = &*service, gateway.task = Empty);
            match desk.mailbox.submit(accept).await? {
                Answer::Accepted(id) => {
                    span.record("gateway.task", tracing::field::display(id));
                    Ok(id)
                }
                other => {
                    let refused = refused(other);
                    span.fail(&refused.refusal().detail);
                    Err(refused)
                }
            }
        })
    }
}

/// The task and its message, made once and stored as it will be sent.
fn accept(plan: &Plan, submission: Submission) -> Result<Accept, Rejection> {
    let Submission { service, subject, work, idempotency, trace, .. } = submission;
    let Some(service) = plan.open(&service.name) else {
        return Err(Rejection::client(code::UNKNOWN_SERVICE, "this service was removed from the configuration"));
    };
    let mut task = Task::new(Uuid::now_v7(), service.name(), now());
    task.subject = subject.clone();
    task.trace = trace.map(|trace| trace.to_string().into());
    task.wait_limit = limits::limit("wait_limit", service.config.wait_limit, &work.misc)?;
    task.run_limit = limits::limit("run_limit", service.config.run_limit, &work.misc)?;
    let argument = gateway_celery::argument(
        &request_time(task.submitted),
        service.task_name(),
        work.document_url.as_deref(),
        work.annotations_url.as_deref(),
        work.misc,
    );
    let body = plan.call(service, task.id, task.run_limit).body(plan.protocol, &argument);
    let key = idempotency.map(|said| IdempotencyKey { subject, key: said.key, fingerprint: said.fingerprint });
    Ok(Accept { task, body, key })
}

/// `YYYY-MM-DDThh:mm:ss`, as workers read it.
pub(crate) fn request_time(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at)
        .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

impl Installation {
    /// Everything that is counted.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families = self.0.recorder.load().families();
        families.extend(self.0.meters.families(&self.readiness().parts, now()));
        families.extend(self.0.assessor.families());
        families
    }
}

impl Facts for Installation {
    fn workers(&self, service: &Service) -> BoxFuture<Option<u32>> {
        self.0.broker.workers(&service.name)
    }

    fn stats(&self, service: Option<&Service>) -> BoxFuture<Result<Stats, Rejection>> {
        let broken = self.readiness().parts.into_iter().find(|part| part.essential && part.fault.is_some());
        if let Some(part) = broken {
            let detail = format!("the {} cannot be reached; try again later", part.name);
            return Box::pin(async { Err(Rejection::unavailable(detail, 5)) });
        }
        let answer = self.0.store.stats(service.map(|service| &*service.name));
        Box::pin(async move { Ok(answer.await?) })
    }

    fn needs(&self, service: Option<&Service>) -> BoxFuture<Result<Vec<Needs>, Rejection>> {
        let (desk, service) = (self.0.clone(), service.map(|service| service.name.clone()));
        Box::pin(async move { Ok(desk.assessor.of(service.as_deref()).await?) })
    }

    fn readiness(&self) -> Readiness {
        let failed = self.0.failed.borrow().clone();
        let fault = match failed {
            Some(why) => Some(format!("the store failed ({why}): restart the gateway")),
            None => self.0.store.fault(),
        };
        let mut parts = vec![Part { name: "store", fault, essential: true }];
        parts.extend(self.0.broker.parts());
        parts.extend(self.0.keys.load().as_ref().map(|keys| keys.part()));
        if self.0.refused.load(Relaxed) {
            let fault = "the last reload was refused, the configuration before it is in use: see the log".to_owned();
            parts.push(Part { name: "configuration", fault: Some(fault), essential: false });
        }
        if self.0.draining.is_cancelled() {
            parts.push(Part { name: "server", fault: Some("stopping".into()), essential: true });
        }
        Readiness { parts }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        gateway_metrics::render(&self.families(), &mut text);
        text
    }
}
