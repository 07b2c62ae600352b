//! The admin listener: probes, metrics, and what this process does. For operators alone, so it asks for no token and
//! must not be where clients are.

use crate::{
    Gateway,
    stack::{Nothing, Stack},
};
use bytes::Bytes;
use gateway_contract::{Reply, plain};
use gateway_server::{Counters, Inbound};
use http::{HeaderValue, Method, Request, StatusCode, header::ALLOW};
use http_body_util::Empty;
use serde_json::{Value, json};
use std::{collections::BTreeMap, convert::Infallible, fs, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tower_service::Service;

/// How long threads may be watched.
const LONGEST: u64 = 30;
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HELP: &str = "\
/livez            the process answers
/readyz /healthz  what works, and what does not; 503 also while it stops
/metrics          Prometheus text
/debug/runtime    connections, requests, memory and open files of this process
/debug/threads    what each thread has used of a processor in the next second (?seconds=1 to 30)
";

/// Answers on the admin listener.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) gateway: Gateway,
    /// Of the listener for clients.
    pub(super) counters: Arc<Counters>,
    pub(super) started: Instant,
}

impl Admin {
    /// As a service for a server.
    pub(super) fn service(
        self,
    ) -> impl Service<
        Request<Inbound>,
        Response = Reply<Empty<Bytes>>,
        Error = Infallible,
        Future = impl Future<Output = Result<Reply<Empty<Bytes>>, Infallible>> + Send + 'static,
    > + Clone
    + Send
    + 'static {
        let stack = self.gateway.service();
        tower::service_fn(move |request| {
            let (admin, stack) = (self.clone(), stack.clone());
            async move { Ok(admin.answer(stack, request).await) }
        })
    }

    async fn answer(&self, stack: Stack<Nothing>, request: Request<Inbound>) -> Reply<Empty<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut reply = told(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return reply;
        }
        match request.uri().path() {
            "/livez" | "/readyz" | "/healthz" => probe(stack, request).await,
            // Here whatever `telemetry.metrics` says, which is about clients.
            "/metrics" => plain(self.gateway.metrics(), METRICS),
            "/debug/runtime" => shown(&self.runtime()),
            "/debug/threads" => match seconds(request.uri().query()) {
                Some(seconds) => shown(&threads(seconds).await),
                None => told(StatusCode::BAD_REQUEST, "seconds: 1 to 30\n"),
            },
            "/" => told(StatusCode::OK, HELP),
            _ => told(StatusCode::NOT_FOUND, HELP),
        }
    }

    fn runtime(&self) -> Value {
        let http = &self.counters;
        let (tasks, waiting) = self.gateway.load();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "memory_bytes": memory(),
            "open_files": fs::read_dir("/proc/self/fd").map(Iterator::count).ok(),
            "threads": fs::read_dir("/proc/self/task").map(Iterator::count).ok(),
            "gateway_thread": { "tasks": tasks, "waiting": waiting },
            "http": {
                "connections": http.connections(), "requests_open": http.open(), "requests_busy": http.busy(),
                "answered": http.answered(), "shed": http.shed(), "malformed": http.malformed(),
                "timed_out": http.timed_out(), "turned_away": http.turned_away(),
            },
        })
    }
}

async fn probe(mut stack: Stack<Nothing>, request: Request<Inbound>) -> Reply<Empty<Bytes>> {
    let answer = async {
        std::future::poll_fn(|cx| Service::<Request<Inbound>>::poll_ready(&mut stack, cx)).await?;
        stack.call(request).await
    };
    answer.await.unwrap_or_else(|never: Infallible| match never {})
}

fn told(status: StatusCode, text: &'static str) -> Reply<Empty<Bytes>> {
    let mut reply = plain(text, "text/plain; charset=utf-8");
    *reply.status_mut() = status;
    reply
}

fn shown(value: &Value) -> Reply<Empty<Bytes>> {
    plain(format!("{value:#}\n"), "application/json")
}

/// `?seconds=N`; 1 where it is not said.
fn seconds(query: Option<&str>) -> Option<Duration> {
    let said = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "seconds");
    let seconds = said.map_or(Some(1), |(_, text)| text.parse().ok())?;
    (1..=LONGEST).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// What each thread uses of a processor, the busiest first.
async fn threads(time: Duration) -> Value {
    let (start, before) = (Instant::now(), times());
    sleep(time).await;
    let (took, after) = (start.elapsed(), times());
    let share = |id: &u32, ran: u64| {
        let ran = ran.saturating_sub(before.get(id).map_or(0, |(_, ran)| *ran));
        (ran as f64 / took.as_nanos() as f64 * 1000.0).round() / 1000.0
    };
    let mut busy: Vec<_> = after.iter().map(|(id, (name, ran))| (share(id, *ran), name, id)).collect();
    busy.sort_by(|one, other| other.0.total_cmp(&one.0));
    let threads: Vec<_> =
        busy.into_iter().map(|(share, name, id)| json!({ "thread": name, "id": id, "processor": share })).collect();
    json!({ "seconds": took.as_secs_f64(), "threads": threads })
}

/// By thread: its name, and the nanoseconds that it ran.
fn times() -> BTreeMap<u32, (String, u64)> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let times = threads.flatten().filter_map(|thread| {
        let id = thread.file_name().to_str()?.parse().ok()?;
        // A thread may end while we look.
        let name = fs::read_to_string(thread.path().join("comm")).ok()?.trim().to_owned();
        let ran = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((id, (name, ran.split(' ').next()?.parse().ok()?)))
    });
    times.collect()
}

/// What is resident.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kilobytes.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
