//! One task: from its delivery to its receipt.

use super::{
    OnLost, Work, copies,
    desk::{Desk, Handed, Served},
    events::{now, seconds},
    table::{Entered, Held, Shown, Stage},
};
use crate::{Ending, Event, Job, Verdict};
use gateway_amqp::IncomingTask;
use gateway_celery::{
    Field, Message,
    serve::{Request, iso, raised},
};
use gateway_contract::{Span, TraceContext, span};
use serde_json::{Value, json, value::RawValue};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{select, sync::mpsc, time::Instant};
use uuid::Uuid;

/// The longest message that is read: what RabbitMQ 4 takes.
const LARGEST: usize = 16 << 20;
/// So long a task that is nearly due is kept here rather than sent round.
const SHORT: Duration = Duration::from_secs(1);
/// A retry waits so long, doubled each time up to [`RETRY_MOST`].
const RETRY_FIRST: i64 = 1_000;
const RETRY_MOST: i64 = 60_000;
/// A task that was interrupted by others than us comes back after a moment.
const INTERRUPTED: Duration = Duration::from_secs(1);
/// The longest text about a result or an exception in an event, in characters.
const SHOWN: usize = 1024;

/// Does what there is to be done for a task.
pub(crate) async fn attend(desk: Arc<Desk>, incoming: IncomingTask) {
    let IncomingTask { queue, message, redelivered, receipt } = incoming;
    let request = match Request::read(&message, LARGEST) {
        Ok(request) => request,
        Err(unreadable) => {
            tracing::error!(queue = message.routing_key, %unreadable, "a message is rejected");
            if let Some(Field::Text(id)) = message.header("id") {
                desk.events.task("task-rejected", id, json!({ "requeue": false }));
            }
            receipt.reject().await;
            return;
        }
    };
    let held = match desk.table.enter(&request, &message, redelivered, receipt) {
        Entered::New(held) => held,
        Entered::Known => {
            tracing::info!(uuid = request.id, redelivered, "delivered once more while it is here: it goes on");
            return;
        }
        Entered::DealtWith(receipt) => {
            tracing::info!(uuid = request.id, "delivered again, and dealt with already");
            receipt.ack().await;
            return;
        }
    };
    let Some(service) = desk.service(&request.task).cloned() else {
        return unknown(&desk, &request, &message, &held, queue).await;
    };
    let task = Attended {
        desk: &desk,
        queue,
        message: &message,
        request: &request,
        service: &service,
        held: &held,
        trace: OnceLock::new(),
    };
    match task.attend(redelivered).await {
        Next::Ended => desk.settle(&held).await,
        Next::Round => desk.acknowledge(&held).await,
        Next::Back => desk.put_back(&held, queue, &request, &message).await,
    }
}

/// A task that nobody here knows.
async fn unknown(desk: &Desk, request: &Request, message: &Message, held: &Held, queue: usize) {
    tracing::error!(uuid = request.id, name = request.task, known = ?desk.tasks(), "a task is not one of ours: it fails");
    let result = raised("NotRegistered", &request.task);
    let exception = format!("NotRegistered({:?})", request.task);
    desk.events.task("task-failed", &request.id, json!({ "exception": exception, "traceback": null }));
    match desk.report_end(request, "FAILURE", &result).await {
        true => desk.settle(held).await,
        false => desk.put_back(held, queue, request, message).await,
    }
}

/// What becomes of a task's message.
enum Next {
    /// It is done with.
    Ended,
    /// A copy of it waits with the broker.
    Round,
    /// It goes back.
    Back,
}

struct Attended<'a> {
    desk: &'a Arc<Desk>,
    queue: usize,
    message: &'a Message,
    request: &'a Request,
    service: &'a Arc<Served>,
    held: &'a Held,
    /// The context of its run, once there is one.
    trace: OnceLock<TraceContext>,
}

impl Attended<'_> {
    async fn attend(&self, redelivered: bool) -> Next {
        let request = self.request;
        if let Some(next) = self.discarded().await {
            return next;
        }
        if redelivered && self.service.service.on_lost == OnLost::Fail {
            let why = "the task was given to a worker before, which was lost; it may have been begun";
            return self.fail("WorkerLostError", why).await;
        }
        let received = json!({
            "name": request.task, "args": request.shown.0, "kwargs": request.shown.1, "root_id": request.root_id,
            "parent_id": request.parent_id, "retries": request.retries, "eta": request.eta.map(iso),
            "expires": request.expires.map(iso),
        });
        self.tell("task-received", received);
        if !request.wanted_after.is_empty() {
            let wanted = &request.wanted_after;
            tracing::warn!(
                uuid = request.id,
                ?wanted,
                "its sender wants more done after it, which this worker does not do"
            );
        }
        let (id, argument) = match (Uuid::try_parse(&request.id), request.argument()) {
            (_, Err(why)) => return self.fail("TypeError", &why).await,
            (Err(_), _) => return self.fail("ValueError", "the task's id is not a UUID").await,
            (Ok(id), Ok(argument)) => (id, argument.clone()),
        };
        if let Some(next) = self.wait_for_eta().await {
            return next;
        }
        let slot = select! {
            biased;
            () = self.desk.stop.warm.cancelled() => return Next::Back,
            () = self.held.cancel.cancelled() => return self.revoke("terminated", true, false).await,
            slot = self.service.slots.clone().acquire_owned() => slot,
        };
        // The semaphore is never closed.
        let Ok(_slot) = slot else { return Next::Back };
        if let Some(next) = self.discarded().await {
            return next;
        }
        if self.desk.stop.warm.is_cancelled() {
            return Next::Back;
        }
        let service = &self.service.service;
        let trace = trace(self.message);
        let span = self.processing(trace.as_ref());
        let job = Job::new(id, &*service.name, request.retries.saturating_add(1), argument);
        let mut job = job.versioned(&*service.version);
        (job.trace, job.last) = (span.context().cloned(), request.retries >= service.retries);
        if let Some(trace) = &job.trace {
            self.trace.get_or_init(|| trace.clone());
        }
        self.run(job, span).await
    }

    /// A task that was revoked, or is too late, is not begun.
    async fn discarded(&self) -> Option<Next> {
        if self.desk.table.is_revoked(&self.request.id) {
            return Some(self.revoke("revoked", false, false).await);
        }
        if self.request.expires.is_some_and(|expires| expires <= now()) {
            return Some(self.revoke("expired", false, true).await);
        }
        None
    }

    /// A task that is not due lies with the broker until then; one that nearly is, here.
    async fn wait_for_eta(&self) -> Option<Next> {
        let eta = self.request.eta?;
        loop {
            let left = Duration::from_millis(u64::try_from(eta - now()).unwrap_or(0));
            if left.is_zero() {
                return None;
            }
            if left > SHORT {
                return Some(self.go_round(self.request.retries, copies::losses(self.message), eta).await);
            }
            self.desk.pause(left, &self.held.cancel).await;
            if let Some(next) = self.discarded().await {
                return Some(next);
            }
            if self.desk.stop.warm.is_cancelled() {
                return Some(Next::Back);
            }
        }
    }

    /// A copy of the task waits with the broker until `due`, retried and lost so often.
    async fn go_round(&self, retries: u32, losses: u32, due: i64) -> Next {
        self.desk.table.stage(self.held, Stage::Leaving);
        let parked = match copies::copy(self.message, retries, losses, Some(due)) {
            Ok(copy) => self.desk.delay(self.queue, copy, due).await,
            Err(unreadable) => Handed::Refused(unreadable.to_string()),
        };
        match parked {
            Handed::Over => {
                let shown = Shown::new(self.request, &self.message.routing_key, false);
                self.desk.table.wait(due, shown, now());
                Next::Round
            }
            Handed::Not => Next::Back,
            Handed::Refused(why) => self.fail("ValueError", &format!("the task cannot wait: {why}")).await,
        }
    }

    /// The span of a run: below the sender's, as its message says.
    fn processing(&self, trace: Option<&TraceContext>) -> Span {
        let queue = self.message.routing_key.as_str();
        span!(
            trace,
            "process",
            "consumer",
            otel.name = format!("process {queue}"),
            messaging.system = "rabbitmq",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = queue,
            messaging.message.id = self.request.id.as_str(),
            messaging.message.body.size = self.message.body.len(),
            gateway.service = self.service.service.name.as_str(),
            gateway.attempt = self.request.retries.saturating_add(1),
        )
    }

    async fn run(&self, job: Job, span: Span) -> Next {
        let (desk, request, service) = (self.desk, self.request, &self.service.service);
        let trace_id = job.trace.as_ref().map(|trace| tracing::field::display(trace.shown()));
        desk.table.begin(self.held, seconds());
        self.tell("task-started", json!({}));
        tracing::info!(uuid = request.id, service = service.name, trace_id, retries = request.retries, "begun");
        let began = Instant::now();
        let limit = request.time_limit.and_then(|limit| Duration::try_from_secs_f64(limit).ok());
        let limit = limit.map_or(service.work.timeout(), |limit| limit.min(service.work.timeout()));
        let (events, heard) = mpsc::channel(16);
        let run = service.work.run(&desk.runner, job, limit, events, self.held.cancel.clone());
        let (ending, ()) = tokio::join!(Box::pin(run), self.tell_progress(heard));
        let runtime = began.elapsed();
        let ended = ending.name();
        tracing::info!(uuid = request.id, service = service.name, trace_id, ending = ended, ?runtime, "ended");
        if let Some(why) = ending.fault() {
            span.fail(&why);
        }
        if ending.starts() == Some(true) {
            desk.started(self.queue);
        }
        // The span holds the report of the end, too.
        let next = self.conclude(ending, runtime).await;
        drop(span);
        next
    }

    /// Somebody may want to know that the task has ended: a part of the run's trace, or of the sender's if it never ran.
    fn call_back(&self, status: &'static str) {
        let (Ok(id), Ok(argument)) = (Uuid::try_parse(&self.request.id), self.request.argument()) else { return };
        let (desk, argument) = (self.desk.clone(), argument.clone());
        let trace = self.trace.get().cloned().or_else(|| trace(self.message));
        let tracker = desk.tracker.clone();
        tracker.spawn(async move { desk.runner.call_back(id, trace, &argument, status).await });
    }

    /// Reports what a run tells, in order: each report is confirmed before the next is sent, since they may take
    /// different channels.
    async fn tell_progress(&self, mut events: mpsc::Receiver<Event>) {
        let service = &self.service.service;
        let mut meta = json!({});
        while let Some(event) = events.recv().await {
            let (state, result) = match event {
                Event::Started { host, start_time } => {
                    meta = json!({
                        "worker_id_version": service.version, "start_time": start(start_time), "host": host,
                        "type": service.task,
                    });
                    ("STARTED", json!({ "pid": std::process::id(), "hostname": self.desk.node }))
                }
                Event::Progress { done } => {
                    let mut result = json!({ "current": done.floor() as u8, "total": 100 });
                    if let (Some(result), Value::Object(meta)) = (result.as_object_mut(), &meta) {
                        result.extend(meta.clone());
                    }
                    ("PROGRESS", result)
                }
                Event::Storing => ("STORING", meta.clone()),
            };
            self.desk.report(self.request, state, &raw(&result)).await;
        }
    }

    /// What becomes of a run.
    async fn conclude(&self, ending: Ending, runtime: Duration) -> Next {
        match ending {
            Ending::Success(result) => {
                let fields = json!({ "result": shown(result.get()), "runtime": runtime.as_secs_f64() });
                let reported = self.desk.report_end(self.request, "SUCCESS", &result).await;
                self.tell("task-succeeded", fields);
                self.ended(reported, "SUCCESS")
            }
            Ending::Failure { class, message } => self.failed(&class, &message).await,
            Ending::Unstarted { message } => match self.desk.unstarted(self.queue, &message) {
                Verdict::Back => Next::Back,
                Verdict::Fails | Verdict::Last => self.failed(Ending::SUBPROCESS, &message).await,
            },
            Ending::Cancelled => self.revoke("terminated", true, false).await,
            Ending::Aborted => {
                if !self.desk.stop.cold.is_cancelled() {
                    self.desk.pause(INTERRUPTED, &self.held.cancel).await;
                }
                Next::Back
            }
            Ending::Lost { message } => self.lost(&message).await,
        }
    }

    /// The run was lost, and this worker was not.
    async fn lost(&self, message: &str) -> Next {
        const LOST: &str = "WorkerLostError";
        let (losses, service) = (copies::losses(self.message).saturating_add(1), &self.service.service);
        if service.on_lost == OnLost::Fail {
            return self.fail(LOST, message).await;
        }
        if losses >= service.losses {
            let message = format!("the task was lost {losses} times while it ran; the last time: {message}");
            return self.fail(LOST, &message).await;
        }
        self.retry(LOST, message, self.request.retries, losses).await
    }

    /// An end was reported, or could not be.
    fn ended(&self, reported: bool, status: &'static str) -> Next {
        if !reported {
            return Next::Back;
        }
        if let (Work::Handler { .. }, Ok(id)) = (&self.service.service.work, Uuid::try_parse(&self.request.id)) {
            self.desk.runner.forget(id);
        }
        self.call_back(status);
        Next::Ended
    }

    /// A failure, or another try if there is one left.
    async fn failed(&self, class: &str, message: &str) -> Next {
        if self.request.retries < self.service.service.retries {
            return self.retry(class, message, self.request.retries + 1, copies::losses(self.message)).await;
        }
        self.fail(class, message).await
    }

    async fn fail(&self, class: &str, message: &str) -> Next {
        let reported = self.desk.report_end(self.request, "FAILURE", &raised(class, message)).await;
        let exception = format!("{class}({:?})", shown(message));
        self.tell("task-failed", json!({ "exception": exception, "traceback": null }));
        self.ended(reported, "FAILURE")
    }

    /// Another try: the task goes round once more, retried and lost so often.
    async fn retry(&self, class: &str, message: &str, retries: u32, losses: u32) -> Next {
        let before = self.request.retries.saturating_add(copies::losses(self.message));
        let wait = (RETRY_FIRST << before.min(6)).min(RETRY_MOST);
        let due = now() + wait;
        self.desk.report(self.request, "RETRY", &raised(class, message)).await;
        let exception = format!("{class}({:?})", shown(message));
        self.tell("task-retried", json!({ "exception": exception, "traceback": null }));
        self.go_round(retries, losses, due).await
    }

    async fn revoke(&self, reason: &str, terminated: bool, expired: bool) -> Next {
        tracing::info!(uuid = self.request.id, reason, "revoked");
        let reported = self.desk.report_end(self.request, "REVOKED", &raised("TaskRevokedError", reason)).await;
        let signum = terminated.then_some(15);
        self.tell("task-revoked", json!({ "terminated": terminated, "signum": signum, "expired": expired }));
        self.ended(reported, "REVOKED")
    }

    fn tell(&self, kind: &str, fields: Value) {
        self.desk.events.task(kind, &self.request.id, fields);
    }
}

/// What the sender wrote into the headers, as opentelemetry-instrumentation-celery does.
fn trace(message: &Message) -> Option<TraceContext> {
    let text = |name: &str| match message.header(name) {
        Some(Field::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    TraceContext::read(text("traceparent")?, text("tracestate"))
}

fn raw(value: &Value) -> Box<RawValue> {
    // Every value serialises.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// When a run began, as the original's workers write it: `2026-01-02T03:04:05`.
fn start(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = iso(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    text.chars().take("2026-01-02T03:04:05".len()).collect()
}
