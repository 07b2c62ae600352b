//! What is asked of the store.

use super::{
    link::{Link, Session, explain, statements},
    row::{columns, from_row},
    text::{escape, unescape},
};
use crate::store::{Cancelled, Due, Keep, OPEN, Orphan, StoreError, Swept, Unsettled};
use bytes::Bytes;
use gateway_contract::Stats;
use gateway_life::{CANCELLED, Fact, Millis, Task, Waiting};
use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};
use tokio_postgres::{Error, Row};
use uuid::Uuid;

/// How long a read may take before its client is told that the store does not answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Tasks read by one statement.
const AT_ONCE: usize = 64;
/// A gateway that is gone is forgotten after a day.
const FORGOTTEN: Millis = 24 * 60 * 60 * 1000;

statements! {
    /// What is asked of the store.
    Reads {
        tasks: concat!("SELECT ", columns!(), " FROM service_gateway.task WHERE id = ANY($1)"),
        body: "SELECT body FROM service_gateway.outbox WHERE id = $1",
        outbox: "SELECT o.id, o.service, t.attempts, t.run_limit, t.trace FROM service_gateway.outbox o \
            JOIN service_gateway.task t ON t.id = o.id WHERE o.owner = $1 ORDER BY o.id",
        orphans: "SELECT o.id, o.service, t.losses FROM service_gateway.outbox o \
            JOIN service_gateway.task t ON t.id = o.id WHERE o.due IS NULL ORDER BY o.id",
        revoked: "SELECT id, service FROM service_gateway.task WHERE ended > $1 \
            AND (state = 'REVOKED' OR (state = 'EXPIRED' AND NOT presumed AND note = $3)) ORDER BY ended DESC LIMIT $2",
        unsettled: "(SELECT id, ended FROM service_gateway.task WHERE ended IS NULL AND id > $1 ORDER BY id LIMIT $2) \
            UNION ALL (SELECT id, ended FROM service_gateway.task WHERE ended > $3 AND presumed AND id > $1) \
            ORDER BY id LIMIT $2",
        due: "SELECT service, min(due) FROM service_gateway.outbox WHERE due IS NOT NULL GROUP BY service",
        next_due: "SELECT min(due) FROM service_gateway.outbox WHERE service = $1 AND due IS NOT NULL",
        stats: "SELECT (SELECT created FROM service_gateway.installation), \
            (SELECT coalesce(sum(count), 0)::bigint FROM service_gateway.accepted WHERE $1::text IS NULL OR service = $1)",
        tally_accepted: "SELECT service, sum(count)::bigint FROM service_gateway.accepted GROUP BY service",
        tally_due: "SELECT service, count(*), min(due) FROM service_gateway.outbox \
            WHERE due IS NOT NULL AND due <= $1 GROUP BY service",
        tally_open: "SELECT service, count(*), count(running), min(submitted) FILTER (WHERE started IS NULL) FROM \
            (SELECT service, running, started, submitted FROM service_gateway.task WHERE ended IS NULL \
            ORDER BY id LIMIT $1) oldest GROUP BY service",
        tally_ended: "SELECT service, ended, ended - started FROM service_gateway.task \
            WHERE ended > $1 AND started < ended AND NOT presumed AND state IN ('SUCCESS', 'FAILURE') \
            ORDER BY ended DESC LIMIT $2",
        tally_arrivals: "SELECT service, submitted FROM service_gateway.task WHERE id >= $1 ORDER BY id DESC LIMIT $2",
        forget: "SELECT id FROM service_gateway.task WHERE ended < $1 AND state <> 'EXPIRED' ORDER BY ended LIMIT $2",
        late: "SELECT id, coalesce(running, submitted), ahead FROM service_gateway.task, LATERAL ( \
            SELECT coalesce(sum(jump.ahead), 0)::bigint AS ahead \
            FROM unnest($2::bigint[], $3::bigint[]) AS jump(since, ahead) \
            WHERE coalesce(running, submitted) <= since) AS jumps \
            WHERE deadline <= $1 AND deadline <= $1 - ahead ORDER BY deadline LIMIT $4",
        silent: concat!("SELECT ", columns!(), " FROM (SELECT * FROM service_gateway.task \
            WHERE ended IS NULL AND id > $2 ORDER BY id LIMIT $4) open WHERE heard < $1 ORDER BY id LIMIT $3"),
        slice: "SELECT id FROM service_gateway.task WHERE ended IS NULL AND id > $1 ORDER BY id LIMIT 1 OFFSET $2",
        delete_tasks: "DELETE FROM service_gateway.task WHERE id IN (SELECT id FROM service_gateway.task \
            WHERE ended < $1 ORDER BY ended LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id",
        delete_keys: "DELETE FROM service_gateway.idempotency WHERE scope IN ( \
            SELECT i.scope FROM service_gateway.idempotency i LEFT JOIN service_gateway.task t ON t.id = i.id \
            WHERE i.expires < $1 AND (t.id IS NULL OR t.ended IS NOT NULL) LIMIT $2 FOR UPDATE OF i SKIP LOCKED)",
        delete_gateways: "DELETE FROM service_gateway.gateway g WHERE lease_until < \
            (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 \
            AND NOT EXISTS (SELECT FROM service_gateway.outbox o WHERE o.owner = g.id)",
    }
}

pub(super) fn unreachable(why: &str) -> StoreError {
    StoreError::Failed(format!("PostgreSQL cannot be reached: {why}").into())
}

/// Asks on a connection, under the deadline; once more if the connection was lost meanwhile.
pub(super) async fn ask<S, T, F>(link: &Link<S>, question: impl Fn(Arc<Session<S>>) -> F) -> Result<T, StoreError>
where
    S: super::link::Statements,
    F: Future<Output = Result<T, Error>>,
{
    let asking = async {
        let mut last = false;
        loop {
            let session = link.session().await.map_err(|why| unreachable(&why))?;
            match timeout(DEADLINE, question(session.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !last && error.as_db_error().is_none() => session.retire(),
                Ok(Err(error)) => return Err(StoreError::Failed(explain(&error).into())),
                Err(_) => {
                    session.retire();
                    return Err(StoreError::TimedOut);
                }
            }
            last = true;
        }
    };
    timeout(DEADLINE + DEADLINE / 2, asking).await.unwrap_or(Err(StoreError::TimedOut))
}

/// A task that is asked for.
pub(super) struct Load {
    pub(super) id: Uuid,
    pub(super) answer: oneshot::Sender<Result<Option<Task>, StoreError>>,
}

/// Answers many waiting loads by one statement, until there is nobody left to ask.
pub(super) async fn loads(links: [Link<Reads>; 2], waiting: Arc<Mutex<mpsc::Receiver<Load>>>) {
    let mut batch = Vec::with_capacity(AT_ONCE);
    loop {
        // One reader collects while the other waits for the database.
        if waiting.lock().await.recv_many(&mut batch, AT_ONCE).await == 0 {
            return;
        }
        let ids: Vec<Uuid> = batch.iter().map(|load| load.id).collect();
        let found = ask(usable(&links), |session| {
            let ids = ids.clone();
            async move { tasks(&session, &ids).await }
        });
        let found = found.await;
        for Load { id, answer } in batch.drain(..) {
            // Whoever asked may have gone away.
            let _ = answer.send(match &found {
                Ok(tasks) => Ok(tasks.get(&id).cloned()),
                Err(error) => Err(error.clone()),
            });
        }
    }
}

/// The first of two that has a connection.
pub(super) fn usable(links: &[Link<Reads>; 2]) -> &Link<Reads> {
    let [preferred, other] = links;
    if preferred.fault().is_some() && other.fault().is_none() { other } else { preferred }
}

async fn tasks(session: &Session<Reads>, ids: &[Uuid]) -> Result<HashMap<Uuid, Task>, Error> {
    let rows = session.client().query(&session.statements.tasks, &[&ids]).await?;
    rows.iter().map(|row| from_row(row).map(|task| (task.id, task))).collect()
}

pub(super) async fn body(session: &Session<Reads>, id: Uuid) -> Result<Option<Bytes>, Error> {
    let row = session.client().query_opt(&session.statements.body, &[&id]).await?;
    row.map(|row| row.try_get::<_, Vec<u8>>(0).map(Bytes::from)).transpose()
}

pub(super) async fn outbox(session: &Session<Reads>, owner: Uuid) -> Result<Vec<Waiting>, Error> {
    let rows = session.client().query(&session.statements.outbox, &[&owner]).await?;
    rows.iter().map(waiting).collect()
}

/// A message from the columns id, service, attempts, run_limit and trace.
pub(super) fn waiting(row: &Row) -> Result<Waiting, Error> {
    let (id, service) = named(row)?;
    let attempts = u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default();
    let trace = row.try_get::<_, Option<String>>(4)?.map(String::into_boxed_str);
    Ok(Waiting { id, service, attempts, run_limit: row.try_get(3)?, trace, body: None })
}

fn named(row: &Row) -> Result<(Uuid, Arc<str>), Error> {
    Ok((row.try_get(0)?, Arc::from(unescape(row.try_get(1)?))))
}

pub(super) async fn orphans(session: &Session<Reads>) -> Result<Vec<Orphan>, Error> {
    let rows = session.client().query(&session.statements.orphans, &[]).await?;
    let orphan = |row: &Row| {
        let (id, service) = named(row)?;
        Ok(Orphan { id, service, losses: u32::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default() })
    };
    rows.iter().map(orphan).collect()
}

pub(super) async fn revoked(session: &Session<Reads>, since: Millis, limit: i64) -> Result<Vec<Cancelled>, Error> {
    let rows = session.client().query(&session.statements.revoked, &[&since, &limit, &CANCELLED]).await?;
    rows.iter().rev().map(named).collect()
}

pub(super) async fn unsettled(
    session: &Session<Reads>,
    since: Millis,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Unsettled>, Error> {
    let rows = session.client().query(&session.statements.unsettled, &[&after, &limit, &since]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

pub(super) async fn due(session: &Session<Reads>) -> Result<Vec<Due>, Error> {
    let rows = session.client().query(&session.statements.due, &[]).await?;
    rows.iter().map(|row| Ok((Arc::from(unescape(row.try_get(0)?)), row.try_get(1)?))).collect()
}

pub(super) async fn next_due(session: &Session<Reads>, service: String) -> Result<Option<Millis>, Error> {
    session.client().query_one(&session.statements.next_due, &[&escape(&service)]).await?.try_get(0)
}

pub(super) async fn stats(session: &Session<Reads>, service: Option<String>) -> Result<Stats, Error> {
    let service = service.as_deref().map(escape);
    let row = session.client().query_one(&session.statements.stats, &[&service]).await?;
    let count: i64 = row.try_get(1)?;
    Ok(Stats { invocations: count.max(0) as u64, since: row.try_get(0)? })
}

/// Finds what is over its time; the records that are over their last are deleted at once, at most `limit` of them.
/// Other gateways may sweep at the same time: what one deletes the others skip, and facts are judged anew when they
/// are applied.
pub(super) async fn sweep(
    session: &Session<Reads>,
    now: Millis,
    keep: Keep,
    after: Uuid,
    limit: i64,
) -> Result<Swept, Error> {
    let (client, statements) = (session.client(), &session.statements);
    let mut swept = Swept::default();
    for row in client.query(&statements.forget, &[&(now - keep.results), &limit]).await? {
        swept.facts.push((row.try_get(0)?, Fact::Forgotten));
    }
    let (since, ahead): (Vec<_>, Vec<_>) = keep.jumps.iter().map(|jump| (jump.from, jump.ahead)).unzip();
    for row in client.query(&statements.late, &[&now, &since, &ahead, &limit]).await? {
        swept.facts.push((row.try_get(0)?, Fact::Late { began: row.try_get(1)?, ahead: row.try_get(2)? }));
    }
    let open = OPEN as i64;
    for row in client.query(&statements.silent, &[&(now - keep.silence), &after, &limit, &open]).await? {
        swept.silent.push(from_row(&row)?);
    }
    let slice = client.query_opt(&statements.slice, &[&after, &(open - 1)]).await?;
    let slice = slice.map(|row| row.try_get(0)).transpose()?;
    swept.next = swept.goes_on_after(limit as usize, slice);
    for row in client.query(&statements.delete_tasks, &[&(now - keep.records), &limit]).await? {
        swept.deleted.push(row.try_get(0)?);
    }
    client.execute(&statements.delete_keys, &[&(now - keep.keys), &limit]).await?;
    client.execute(&statements.delete_gateways, &[&FORGOTTEN]).await?;
    Ok(swept)
}
