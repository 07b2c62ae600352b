//! One attempt to commit a batch: its statements, and what an error among them means.

use super::{
    link::{Session, explain},
    row::from_row,
    write::{Batch, Keys, Needs, Request, Rows, Writes, keys},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, MaybeDone, maybe_done},
    poll, try_join,
};
use gateway_life::{DUE_MOST, Millis, Write, Written};
use tokio_postgres::{
    Error,
    error::{Severity, SqlState},
};
use uuid::Uuid;

/// Why nothing, or nothing certain, came of it.
pub(super) enum Failure {
    /// Not written: out of space, or something that would be refused again.
    Refused(String),
    /// Not written: it got into another's way.
    Again(String),
    /// Not written, and never: it is not the database that took the last commit.
    Stranger,
    /// The connection is of no more use. Written only if COMMIT was sent, and perhaps.
    Lost(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let why = explain(&error);
        let Some(refusal) = error.as_db_error() else { return Failure::Lost(why) };
        let again =
            [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE];
        // Statements that the session does not know any more: somebody between us and the server changed it.
        let stale = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED];
        match refusal.parsed_severity() {
            Some(Severity::Fatal | Severity::Panic) => Failure::Lost(why),
            _ if stale.contains(refusal.code()) => Failure::Lost(why),
            _ if again.contains(refusal.code()) => Failure::Again(why),
            // The one column that we write no value to is the number of a commit that comes out of turn.
            _ if *refusal.code() == SqlState::NOT_NULL_VIOLATION => Failure::Stranger,
            _ => Failure::Refused(why),
        }
    }
}

/// A transaction that is being made.
pub(super) struct Transaction<'s> {
    session: &'s Session<Writes>,
    now: Millis,
    gateway: Uuid,
    slot: i64,
    turn: i64,
    begun: bool,
    /// COMMIT is on its way: what the batch comes to if it arrives.
    pub(super) sent: Option<Vec<Written>>,
}

impl<'s> Transaction<'s> {
    pub(super) fn new(session: &'s Session<Writes>, now: Millis, gateway: Uuid, slot: i64, turn: i64) -> Self {
        Self { session, now, gateway, slot, turn, begun: false, sent: None }
    }

    /// Carries the batch out. A claim looks at what the writes before it have left: these are written first.
    pub(super) async fn run(&mut self, writes: &[Write]) -> Result<(), Failure> {
        let mut written = Vec::with_capacity(writes.len());
        let mut rest = writes;
        loop {
            let claim = rest.iter().position(|write| matches!(write, Write::Claim { .. })).unwrap_or(rest.len());
            let (segment, more) = rest.split_at(claim);
            let mut batch = Batch::new(self.now);
            let keys = self.read(&Needs::of(self.now, segment), &mut batch).await?;
            for write in segment {
                let gone = || Failure::Again("an idempotency key was forgotten meanwhile".into());
                written.push(batch.write(write, &keys).ok_or_else(gone)?);
            }
            let rows = Rows::of(&batch);
            let Some((Write::Claim { service }, more)) = more.split_first() else {
                return self.send(&rows, Some(written)).await;
            };
            self.send(&rows, None).await?;
            written.push(self.claim(service).await?);
            rest = more;
        }
    }

    /// Reads and locks what a segment touches, in one round trip: `try_join!` asks in the order in which it is written,
    /// and the server answers in that order. So the last question sees whose the keys are now.
    async fn read(&mut self, needs: &Needs, batch: &mut Batch) -> Result<Keys, Failure> {
        if needs.is_empty() {
            return Ok(Keys::new());
        }
        let (client, statements) = (self.session.client(), &self.session.statements);
        let Needs { tasks, scopes, fingerprints, ids, expires } = needs;
        let begun = std::mem::replace(&mut self.begun, true);
        let begin = async { if begun { Ok(()) } else { client.batch_execute("BEGIN").await } };
        let tasks =
            async { if tasks.is_empty() { Ok(Vec::new()) } else { client.query(&statements.tasks, &[tasks]).await } };
        let remember = async {
            if scopes.is_empty() {
                return Ok(0);
            }
            client.execute(&statements.remember, &[scopes, fingerprints, ids, expires]).await
        };
        let remembered = async {
            if scopes.is_empty() { Ok(Vec::new()) } else { client.query(&statements.remembered, &[scopes]).await }
        };
        let ((), tasks, _, found) = try_join!(begin, tasks, remember, remembered)?;
        batch.know(tasks.iter().map(from_row).collect::<Result<Vec<_>, _>>()?);
        Ok(keys(&found)?)
    }

    async fn begin(&mut self) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.begun, true) {
            self.session.client().batch_execute("BEGIN").await?;
        }
        Ok(())
    }

    /// Takes the message that has been due for longest.
    async fn claim(&mut self, service: &str) -> Result<Written, Failure> {
        let service = super::text::escape(service);
        loop {
            self.begin().await?;
            let (client, statements) = (self.session.client(), &self.session.statements);
            let (claim, now) = (&statements.claim, self.now);
            let row = match client.query_opt(claim, &[&service, &Millis::MIN, &now]).await? {
                // One that lies far ahead was written before the clock was set back.
                None => client.query_opt(claim, &[&service, &now.saturating_add(DUE_MOST + 1), &Millis::MAX]).await?,
                row => row,
            };
            let Some(row) = row else { return Ok(Written::NothingDue) };
            let (id, body): (Uuid, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let mut batch = Batch::new(self.now);
            let tasks = client.query(&statements.tasks, &[&vec![id]]).await?;
            batch.know(tasks.iter().map(from_row).collect::<Result<Vec<_>, _>>()?);
            let claimed = batch.claim(id);
            let mut rows = Rows::of(&batch);
            if tasks.is_empty() {
                // A message whose record is gone has no owner left.
                rows.drop_message(id);
            }
            self.send(&rows, None).await?;
            if let Some(task) = claimed {
                return Ok(Written::Claimed(task, body.into()));
            }
        }
    }

    /// Writes the rows; with what the batch comes to, in turn and to the end.
    async fn send(&mut self, rows: &Rows<'_>, written: Option<Vec<Written>>) -> Result<(), Failure> {
        let (client, statements) = (self.session.client(), &self.session.statements);
        let (slot, gateway, turn, next) = (self.slot, self.gateway, self.turn, self.turn + 1);
        let mut requests = rows.requests(statements, &gateway, &slot);
        if written.is_some() {
            requests.push(Request(&statements.turn, vec![&gateway, &turn, &next]));
        }
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(requests.len() + 1);
        if !std::mem::replace(&mut self.begun, true) {
            steps.push(maybe_done(client.batch_execute("BEGIN").boxed()));
        }
        for Request(statement, parameters) in &requests {
            steps.push(maybe_done(async { client.execute(*statement, parameters).await.map(|_| ()) }.boxed()));
        }
        // All on their way before the first answer: a statement is sent when it is polled first.
        for step in &mut steps {
            if poll!(&mut *step).is_ready() {
                // It was not even sent: then COMMIT must not be.
                ended(step).await?;
                return Err(Failure::Lost("an answer came before its question".into()));
            }
        }
        let mut commit = None;
        if let Some(written) = written {
            self.sent = Some(written);
            let mut step: Step<'_> = maybe_done(client.batch_execute("COMMIT").boxed());
            let _ = poll!(&mut step);
            commit = Some(step);
        }
        // What the server refuses is rolled back, and COMMIT with it: that counts more than a connection lost later.
        let mut lost = None;
        for step in steps.iter_mut().chain(commit.as_mut()) {
            match ended(step).await {
                Err(Failure::Lost(why)) => lost = Some(why),
                other => other?,
            }
        }
        lost.map_or(Ok(()), |why| Err(Failure::Lost(why)))
    }
}

type Step<'r> = MaybeDone<BoxFuture<'r, Result<(), Error>>>;

async fn ended(step: &mut Step<'_>) -> Result<(), Failure> {
    (&mut *step).await;
    // Taken once: `None` would be a step that was asked twice.
    std::pin::Pin::new(step).take_output().map_or(Ok(()), |output| output.map_err(Failure::from))
}
