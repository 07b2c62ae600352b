//! Commits, and what became of one whose answer was lost.
//!
//! Each commit of a gateway has a number, written by its transaction into the gateway's row, and only over the number
//! before it. So a commit whose answer was lost can be asked for: the row has its number, or it never will, because
//! the question itself takes the number away. Nothing is written twice, and nothing that was is taken for lost.

use super::{
    link::{Link, Session, explain},
    transaction::{Failure, Transaction},
    write::Writes,
};
use gateway_life::{CommitFault, Millis, Write, Written};
use rand::random;
use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// How long one transaction may take before its connection is given up.
const DEADLINE: Duration = Duration::from_secs(12);
/// How often a batch is repeated that PostgreSQL refused for the moment, or whose connection was lost.
const TRIES: usize = 5;
/// How long before the store is asked again what became of a commit.
const PAUSE: Duration = Duration::from_millis(200);
/// Counts are spread over so many rows a service.
const SLOTS: i64 = 16;

const STRANGER: &str = "PostgreSQL does not know this gateway's last commit";

/// Writes, one batch at a time.
pub(super) struct Writer {
    link: Link<Writes>,
    gateway: Uuid,
    one_at_a_time: Mutex<()>,
    /// The number of the last commit.
    turn: AtomicI64,
    /// It is not known what became of the last one.
    unresolved: AtomicBool,
}

impl Writer {
    pub(super) fn new(link: Link<Writes>, gateway: Uuid) -> Self {
        Self {
            link,
            gateway,
            one_at_a_time: Mutex::new(()),
            turn: AtomicI64::new(0),
            unresolved: AtomicBool::new(false),
        }
    }

    pub(super) fn link(&self) -> &Link<Writes> {
        &self.link
    }

    /// Why nothing can be written now.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(why) = self.link.fault() {
            return Some(format!("PostgreSQL cannot be reached: {why}"));
        }
        let unresolved = self.unresolved.load(SeqCst);
        unresolved.then(|| "the connection to PostgreSQL was lost in a commit: asking what became of it".to_owned())
    }

    /// The number of the last commit.
    pub(super) fn turn(&self) -> i64 {
        self.turn.load(SeqCst)
    }

    /// All or nothing; what is returned is durable.
    pub(super) async fn commit(&self, now: Millis, writes: Vec<Write>) -> Result<Vec<Written>, CommitFault> {
        let _one = self.one_at_a_time.lock().await;
        let mut why = String::new();
        for _ in 0..TRIES {
            let session = match self.link.session().await {
                Ok(session) => session,
                Err(why) => {
                    return Err(CommitFault::NotWritten(format!("PostgreSQL cannot be reached: {why}").into()));
                }
            };
            match self.attempt(&session, now, &writes).await {
                Ok(written) => return Ok(written),
                Err(Outcome::Refused(why)) => return Err(CommitFault::NotWritten(why.into())),
                // Restored from a backup: what was committed may be gone. The next process takes up what is there.
                Err(Outcome::Stranger) => return Err(CommitFault::Unknown(STRANGER.into())),
                Err(Outcome::Again(reason)) => why = reason,
                Err(Outcome::Unknown(written)) => {
                    tracing::warn!("the answer to a commit was lost: asking PostgreSQL what became of it");
                    self.unresolved.store(true, SeqCst);
                    let resolved = self.resolve().await;
                    self.unresolved.store(false, SeqCst);
                    if resolved? {
                        return Ok(written);
                    }
                    why = "the connection was lost".into();
                }
            }
            sleep(Duration::from_millis(10 + random::<u64>() % 40)).await;
        }
        Err(CommitFault::NotWritten(why.into()))
    }

    async fn attempt(&self, session: &Session<Writes>, now: Millis, writes: &[Write]) -> Result<Vec<Written>, Outcome> {
        let turn = self.turn();
        let slot = (self.gateway.as_u128() % SLOTS as u128) as i64;
        let mut transaction = Transaction::new(session, now, self.gateway, slot, turn);
        let ended = timeout(DEADLINE, transaction.run(writes)).await;
        let sent = transaction.sent.take();
        let failure = match (ended, sent) {
            (Ok(Ok(())), Some(written)) => {
                self.turn.store(turn + 1, SeqCst);
                return Ok(written);
            }
            // Without COMMIT there is no end without a failure.
            (Ok(Ok(())), None) => Failure::Lost("nothing was committed".into()),
            (Ok(Err(Failure::Lost(_))) | Err(_), Some(written)) => {
                session.retire();
                return Err(Outcome::Unknown(written));
            }
            (Ok(Err(failure)), _) => failure,
            (Err(_), None) => Failure::Lost(format!("no answer within {} s", DEADLINE.as_secs())),
        };
        match failure {
            Failure::Lost(why) => {
                // With its connection goes whatever the transaction did.
                session.retire();
                Err(Outcome::Again(why))
            }
            Failure::Again(why) => {
                roll_back(session).await;
                Err(Outcome::Again(why))
            }
            Failure::Refused(why) => {
                roll_back(session).await;
                Err(Outcome::Refused(why))
            }
            Failure::Stranger => {
                roll_back(session).await;
                Err(Outcome::Stranger)
            }
        }
    }

    /// Was the commit after the last known one written? From now on that does not change any more. Asks until there is
    /// an answer.
    async fn resolve(&self) -> Result<bool, CommitFault> {
        let turn = self.turn();
        loop {
            let session = self.link.up().await;
            let (client, statement) = (session.client(), &session.statements.resolve);
            match timeout(DEADLINE, client.query_opt(statement, &[&self.gateway, &turn])).await {
                Ok(Ok(row)) => {
                    let found = row.and_then(|row| row.try_get::<_, i64>(0).ok());
                    return self.resolved(turn, found);
                }
                Ok(Err(error)) if error.as_db_error().is_some() => {
                    // The transaction may still be under way and hold the row, or the server may be starting.
                    tracing::debug!(error = explain(&error), "not known yet what became of a commit");
                }
                _ => session.retire(),
            }
            sleep(PAUSE).await;
        }
    }

    fn resolved(&self, turn: i64, found: Option<i64>) -> Result<bool, CommitFault> {
        let (committed, taken_away) = (turn + 1, turn + 2);
        match found {
            Some(found) if found == committed || found == taken_away => {
                self.turn.store(found, SeqCst);
                Ok(found == committed)
            }
            // Another database than before: restored from a backup, or a standby that had not heard of us.
            _ => Err(CommitFault::Unknown(STRANGER.into())),
        }
    }
}

/// What became of an attempt that did not succeed.
enum Outcome {
    /// Not written, and it makes no sense to repeat it now.
    Refused(String),
    /// Not written, and never: it is another database than before.
    Stranger,
    /// Not written.
    Again(String),
    /// Nobody knows; that is what it comes to if it was.
    Unknown(Vec<Written>),
}

async fn roll_back(session: &Session<Writes>) {
    const PATIENCE: Duration = Duration::from_secs(2);
    if !matches!(timeout(PATIENCE, session.client().batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
        session.retire();
    }
}
