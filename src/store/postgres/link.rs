//! One connection, made again for ever.

use super::tls::Target;
use futures_util::future::BoxFuture;
use rand::random;
use std::{error::Error as _, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_postgres::{Client, Error, error::SqlState};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection that was lost may be away before nobody waits for it any more.
const GRACE: Duration = Duration::from_secs(1);
/// The first pause between two attempts, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(3);
/// How long a server that ends a connection may take from saying so to ending it.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// What each session is told. Somebody else's locks, or a process of ours that was stopped in the middle of a
/// transaction, must not hold up the others; and a commit is durable, whatever the server's default is.
const SETTINGS: &str = "
    SET statement_timeout = '10s'; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '10s';
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// A connection just made. Dropped, it is closed at once.
pub(super) struct Opened {
    pub(super) client: Client,
    closed: CancellationToken,
    retire: CancellationToken,
    _close_when_dropped: DropGuard,
}

impl Opened {
    /// After an error: is that because the connection has ended? A server that ends it may say so first.
    pub(super) async fn is_lost(&self) -> bool {
        timeout(LAST_WORDS, self.closed.cancelled()).await.is_ok()
    }
}

/// Connects and sets the session up, on the current runtime.
pub(super) async fn connect(target: &Target) -> Result<Opened, Refusal> {
    let connecting = async {
        let (client, connection) = target.config.connect(target.tls.clone()).await?;
        let (closed, retire) = (CancellationToken::new(), CancellationToken::new());
        let guard = retire.clone().drop_guard();
        tokio::spawn({
            let (closed, retire) = (closed.clone().drop_guard(), retire.clone());
            async move {
                tokio::select! {
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(error = explain(&error), "a connection to PostgreSQL ended");
                    },
                    () = retire.cancelled() => {}
                }
                drop(closed);
            }
        });
        client.batch_execute(SETTINGS).await?;
        Ok(Opened { client, closed, retire, _close_when_dropped: guard })
    };
    match timeout(CONNECT, connecting).await {
        Ok(opened) => opened.map_err(|error: Error| Refusal { is_final: is_final(&error), why: explain(&error) }),
        Err(_) => Err(Refusal { is_final: false, why: format!("no answer within {} s", CONNECT.as_secs()) }),
    }
}

/// Why there is no connection.
pub(super) struct Refusal {
    pub(super) why: String,
    /// The server is there and says no (user, password, database), or is not the one that we want.
    pub(super) is_final: bool,
}

fn is_final(error: &Error) -> bool {
    let refused = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    error.code().is_some_and(|code| refused.contains(code)) || is_about_certificate(error)
}

fn is_about_certificate(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error with its causes, in one line: the library's own text names the first alone.
pub(super) fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The statements that a connection is made for.
pub(super) trait Statements: Sized + Send + Sync + 'static {
    fn prepare(client: &Client) -> BoxFuture<'_, Result<Self, Error>>;
}

/// Declares a set of prepared statements.
macro_rules! statements {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $sql:expr,)* }) => {
        $(#[$doc])*
        pub(super) struct $name { $(pub(super) $field: tokio_postgres::Statement,)* }

        impl super::link::Statements for $name {
            fn prepare(
                client: &tokio_postgres::Client,
            ) -> futures_util::future::BoxFuture<'_, Result<Self, tokio_postgres::Error>> {
                Box::pin(async move { Ok(Self { $($field: client.prepare($sql).await?,)* }) })
            }
        }
    };
}
pub(super) use statements;

/// A connection in use.
pub(super) struct Session<S> {
    opened: Opened,
    pub(super) statements: S,
}

impl<S> Session<S> {
    pub(super) fn client(&self) -> &Client {
        &self.opened.client
    }

    /// Closes it at once: what was asked of it last may never be answered.
    pub(super) fn retire(&self) {
        self.opened.retire.cancel();
    }
}

enum State<S> {
    Up(Arc<Session<S>>),
    Down { since: Instant, why: Arc<str>, is_final: bool },
}

/// Has a connection, or is making one.
pub(super) struct Link<S>(watch::Receiver<State<S>>);

impl<S> Clone for Link<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Statements> Link<S> {
    /// Begins to connect, on the current runtime, until that ends.
    pub(super) fn start(target: Arc<Target>) -> Self {
        // The first connection is waited for as long as one attempt may take.
        let since = Instant::now() + CONNECT;
        let down = State::Down { since, why: "connecting".into(), is_final: false };
        let (sender, state) = watch::channel(down);
        tokio::spawn(keep(target, sender));
        Self(state)
    }

    /// The connection. While one is being made it is waited for, for a second after the last was lost; then it is
    /// said at once why there is none.
    pub(super) async fn session(&self) -> Result<Arc<Session<S>>, Arc<str>> {
        let mut state = self.0.clone();
        loop {
            let until = match &*state.borrow_and_update() {
                State::Up(session) if !session.opened.closed.is_cancelled() => return Ok(session.clone()),
                State::Up(_) => Instant::now() + GRACE,
                State::Down { since, .. } => *since + GRACE,
            };
            if !matches!(timeout_at(until, state.changed()).await, Ok(Ok(()))) {
                return match &*state.borrow() {
                    State::Up(session) if !session.opened.closed.is_cancelled() => Ok(session.clone()),
                    State::Up(_) => Err("the connection was lost".into()),
                    State::Down { why, .. } => Err(why.clone()),
                };
            }
        }
    }

    /// Waits for the connection, as a start does: up to the deadline for a server that is away or takes its time, and no
    /// longer for one that says no.
    pub(super) async fn by(&self, deadline: Instant) -> Result<(), Arc<str>> {
        let mut state = self.0.clone();
        let settled = state.wait_for(|state| match state {
            State::Up(session) => !session.opened.closed.is_cancelled(),
            State::Down { is_final, .. } => *is_final,
        });
        let _ = timeout_at(deadline, settled).await;
        self.fault().map_or(Ok(()), Err)
    }

    /// The connection, however long that takes.
    pub(super) async fn up(&self) -> Arc<Session<S>> {
        loop {
            let mut state = self.0.clone();
            state.mark_unchanged();
            match self.session().await {
                Ok(session) => return session,
                // What became of the next attempt; the pause is for a link that ends, and this soon with it.
                Err(_) => drop(timeout(LAST_PAUSE, state.changed()).await),
            }
        }
    }

    /// Why there is no connection.
    pub(super) fn fault(&self) -> Option<Arc<str>> {
        match &*self.0.borrow() {
            State::Up(_) => None,
            State::Down { why, .. } => Some(why.clone()),
        }
    }
}

async fn keep<S: Statements>(target: Arc<Target>, state: watch::Sender<State<S>>) {
    let mut pause = FIRST_PAUSE;
    let mut since = Instant::now();
    loop {
        match open(&target).await {
            Ok(session) => {
                pause = FIRST_PAUSE;
                let closed = session.opened.closed.clone();
                state.send_replace(State::Up(Arc::new(session)));
                closed.cancelled().await;
                since = Instant::now();
                state.send_replace(State::Down { since, why: "the connection was lost".into(), is_final: false });
            }
            Err(Refusal { why, is_final }) => {
                tracing::debug!(why, "PostgreSQL cannot be reached; it is tried again");
                state.send_replace(State::Down { since, why: why.into(), is_final });
            }
        }
        // Spread, so that many gateways do not come back at the same moment.
        sleep(pause.mul_f64(0.5 + random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn open<S: Statements>(target: &Target) -> Result<Session<S>, Refusal> {
    let opened = connect(target).await?;
    match timeout(CONNECT, S::prepare(&opened.client)).await {
        Ok(Ok(statements)) => Ok(Session { opened, statements }),
        Ok(Err(error)) => Err(Refusal { why: explain(&error), is_final: is_final(&error) }),
        Err(_) => Err(Refusal { why: format!("no answer within {} s", CONNECT.as_secs()), is_final: false }),
    }
}
