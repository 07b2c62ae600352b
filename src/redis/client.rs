//! The handle, and the connection kept for ever.

use crate::address::Address;
use crate::ear::{Ear, Heard, Lapse, PATTERN, WAITING, WAITING_KIB, key};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, RedisResult};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long dialling, or one answer, may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often the server is asked for a sign of life.
const PULSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is heard. Whoever holds it must read it: if more waits than is allowed, the connection begins anew.
pub type Inbox = mpsc::Receiver<Heard>;

/// Everything a [`Client`] is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the server is, and who we are.
    pub address: Address,
    /// Whose results are heard: the others' are dropped unread. Default: everybody's.
    pub ours: fn(Uuid) -> bool,
    /// The longest body, in bytes; a longer one is cut one byte above. Default 16 MiB.
    pub limit: usize,
}

impl Settings {
    /// Settings with the usual bounds.
    pub fn new(address: Address) -> Self {
        Self { address, ours: |_| true, limit: 16 << 20 }
    }
}

/// A handle to the supervised connection. Cheap to clone; when the last one is dropped the connection is closed at once.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fault: watch::Receiver<Option<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _guard: DropGuard,
}

impl Client {
    /// Begins to connect, and keeps on for ever; see [`Client::fault`]. Must be called in a tokio runtime with I/O and
    /// time, in which the supervisor then runs.
    pub fn start(settings: Settings) -> (Self, Inbox) {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Somebody else may have been quicker: either will do.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let (heard, inbox) = mpsc::channel(WAITING);
        let (tell, fault) = watch::channel(Some("not connected yet".to_owned()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let room = Arc::new(Semaphore::new(WAITING_KIB));
        tasks.spawn(Supervisor { settings, heard, room, tell, stop: stop.clone() }.run());
        tasks.close();
        let inner = Inner { fault, tasks, _guard: stop.clone().drop_guard(), stop };
        (Self(Arc::new(inner)), inbox)
    }

    /// What is wrong with the connection, if anything, now and whenever it changes. Never holds a password.
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.0.fault.clone()
    }

    /// Closes for all clones.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.wait().await;
    }
}

/// The connection was lost: another [`Heard::Connected`] follows. Or it gave no answer in time: ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection to Redis was lost")]
pub struct Lost;

/// One connection, as long as it lasts.
#[derive(Debug, Clone, Default)]
pub struct Session {
    limit: usize,
    /// Taken out at the end of the session: the connection lives as long as anybody holds it.
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl Session {
    fn connection(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last states of these tasks, in their order; `None` where there is none (any more). Cut one byte above the
    /// limit, like what is heard. Ask for a few dozen at once: their bodies are all in memory.
    ///
    /// # Errors
    /// [`Lost`], after 10 s at most.
    pub async fn fetch(&self, ids: &[Uuid]) -> Result<Vec<Option<Bytes>>, Lost> {
        let mut connection = self.connection().clone().ok_or(Lost)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in ids {
            // Both ends count; a key that does not exist reads as an empty text.
            pipe.cmd("GETRANGE").arg(key(*id)).arg(0).arg(self.limit);
        }
        let asked = pipe.ignore_errors().query_async::<Vec<RedisResult<Vec<u8>>>>(&mut connection);
        let answers = timeout(DEADLINE, asked).await.map_err(|_| Lost)?.map_err(|_| Lost)?;
        // A key of another type is not a result.
        let body = |answer: RedisResult<Vec<u8>>| answer.ok().filter(|body| !body.is_empty()).map(Bytes::from);
        Ok(answers.into_iter().map(body).collect())
    }
}

struct Supervisor {
    settings: Settings,
    heard: mpsc::Sender<Heard>,
    room: Arc<Semaphore>,
    tell: watch::Sender<Option<String>>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(self) {
        let (mut failures, mut told) = (0, String::new());
        loop {
            let since = Instant::now();
            let session = Session { limit: self.settings.limit, ..Session::default() };
            let ended = tokio::select! {
                () = self.stop.cancelled() => None,
                () = self.heard.closed() => None,
                why = self.session(&session) => Some(why),
            };
            // Whoever still holds the session cannot use it any more, and the connection ends.
            session.connection().take();
            let Some(why) = ended else { break };
            let why = self.settings.address.scrub(&why);
            if told != why {
                tracing::warn!(server = %self.settings.address, "results are not heard from Redis: {why}");
            }
            self.fault(Some(&why));
            told = why;
            // A connection that did its work for a while does not count as a failed try.
            failures = if since.elapsed() > LONGEST_PAUSE { 0 } else { failures + 1 };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(pause(failures)) => {}
            }
        }
        self.fault(Some("closed"));
    }

    fn fault(&self, fault: Option<&str>) {
        self.tell.send_if_modified(|told| {
            let changed = told.as_deref() != fault;
            if changed {
                *told = fault.map(str::to_owned);
            }
            changed
        });
    }

    /// One connection, to its end; says why it ended.
    async fn session(&self, session: &Session) -> String {
        let lapse = Arc::<Lapse>::default();
        let mut connection = match self.dial(session, &lapse).await {
            Ok(connection) => connection,
            Err(why) => return why,
        };
        session.connection().replace(connection.clone());
        // Answered by a push, upon which the ear says that we are connected.
        match timeout(DEADLINE, connection.psubscribe(PATTERN)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the server did not answer in time".to_owned(),
        }
        self.fault(None);
        tracing::info!(server = %self.settings.address, "hearing results from Redis");
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                why = lapse.wait() => return why.to_owned(),
                _ = pulse.tick() => {}
            }
            let ping = redis::cmd("PING");
            match timeout(DEADLINE, ping.query_async::<()>(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("the server has not answered for {} s", DEADLINE.as_secs()),
            }
        }
    }

    async fn dial(&self, session: &Session, lapse: &Arc<Lapse>) -> Result<MultiplexedConnection, String> {
        let ear = Ear {
            session: session.clone(),
            heard: self.heard.clone(),
            room: self.room.clone(),
            ours: self.settings.ours,
            limit: self.settings.limit,
            lapse: lapse.clone(),
        };
        let hear = move |push: PushInfo| {
            ear.hear(push);
            Ok::<_, redis::aio::SendError>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE))
            .set_push_sender(hear);
        let client = redis::Client::open(self.settings.address.info()).map_err(|error| error.to_string())?;
        let dialling = client.get_multiplexed_async_connection_with_config(&config);
        match timeout(DEADLINE * 2, dialling).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(needed(error.to_string())),
            Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs() * 2)),
        }
    }
}

/// An old server does not know the first thing we say.
fn needed(error: String) -> String {
    if error.contains("HELLO") || error.contains("RESP3") {
        return format!("{error} (Redis 6 or newer is needed)");
    }
    error
}

/// Grows with each failure, with jitter: gateways that lost the same server must not come back in step.
fn pause(failures: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_with_jitter() {
        for (failures, full) in [(0, 0.2), (1, 0.2), (2, 0.4), (5, 3.2), (6, 5.0), (u32::MAX, 5.0)] {
            let pause = pause(failures).as_secs_f64();
            assert!(pause >= full / 2.0 && pause <= full, "{pause} of {full}");
        }
    }

    #[tokio::test]
    async fn a_session_that_ended_answers_at_once() {
        assert_eq!(Session::default().fetch(&[Uuid::nil()]).await, Err(Lost));
    }
}
