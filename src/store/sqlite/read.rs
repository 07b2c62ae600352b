//! What is asked of the store.

use crate::store::{Cancelled, Orphan, Unsettled};
use bytes::Bytes;
use gateway_contract::Stats;
use gateway_life::{CANCELLED, Millis, Waiting};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use uuid::Uuid;

pub(super) fn body(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Bytes>> {
    let mut statement = connection.prepare_cached("SELECT body FROM outbox WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes()], |row| row.get::<_, Vec<u8>>(0)).optional()?.map(Bytes::from))
}

pub(super) fn outbox(connection: &Connection) -> rusqlite::Result<Vec<Waiting>> {
    let mut statement = connection.prepare(
        "SELECT o.id, o.service, t.attempts, t.run_limit, t.trace FROM outbox o JOIN task t ON t.id = o.id ORDER BY o.id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Waiting {
            id: Uuid::from_bytes(row.get(0)?),
            service: Arc::from(row.get::<_, String>(1)?),
            attempts: row.get(2)?,
            run_limit: row.get(3)?,
            trace: row.get::<_, Option<String>>(4)?.map(String::into_boxed_str),
            body: None,
        })
    })?;
    rows.collect()
}

pub(super) fn orphans(connection: &Connection) -> rusqlite::Result<Vec<Orphan>> {
    let mut statement = connection.prepare(
        "SELECT o.id, o.service, t.losses FROM outbox o JOIN task t ON t.id = o.id WHERE o.due IS NULL ORDER BY o.id",
    )?;
    let rows = statement.query_map([], |row| {
        let service = Arc::from(row.get::<_, String>(1)?);
        Ok(Orphan { id: Uuid::from_bytes(row.get(0)?), service, losses: row.get(2)? })
    })?;
    rows.collect()
}

pub(super) fn revoked(connection: &Connection, since: Millis, limit: usize) -> rusqlite::Result<Vec<Cancelled>> {
    let mut statement = connection.prepare(
        "SELECT id, service FROM task WHERE ended > ?1 \
         AND (state = 'REVOKED' OR (state = 'EXPIRED' AND NOT presumed AND note = ?3)) ORDER BY ended DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![since, limit as i64, CANCELLED], |row| {
        Ok((Uuid::from_bytes(row.get(0)?), Arc::from(row.get::<_, String>(1)?)))
    })?;
    let mut revoked = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    revoked.reverse();
    Ok(revoked)
}

pub(super) fn unsettled(
    connection: &Connection,
    since: Millis,
    after: Uuid,
    limit: usize,
) -> rusqlite::Result<Vec<Unsettled>> {
    // Few ends are presumed, and only the latest are looked at: by the index of ends, not of ids.
    let mut statement = connection.prepare(
        "SELECT id, ended FROM (SELECT id, ended FROM task WHERE ended IS NULL AND id > ?1 ORDER BY id LIMIT ?2) \
         UNION ALL SELECT id, ended FROM task INDEXED BY task_ended WHERE ended > ?3 AND presumed AND id > ?1 \
         ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after.as_bytes(), limit as i64, since], |row| {
        Ok((Uuid::from_bytes(row.get(0)?), row.get(1)?))
    })?;
    rows.collect()
}

pub(super) fn due(connection: &Connection) -> rusqlite::Result<Vec<(Arc<str>, Millis)>> {
    let mut statement =
        connection.prepare("SELECT service, min(due) FROM outbox WHERE due IS NOT NULL GROUP BY service")?;
    let rows = statement.query_map([], |row| Ok((Arc::from(row.get::<_, String>(0)?), row.get(1)?)))?;
    rows.collect()
}

pub(super) fn next_due(connection: &Connection, service: &str) -> rusqlite::Result<Option<Millis>> {
    let mut statement = connection
        .prepare_cached("SELECT min(due) FROM outbox INDEXED BY outbox_due WHERE service = ?1 AND due IS NOT NULL")?;
    statement.query_row([service], |row| row.get(0))
}

pub(super) fn stats(connection: &Connection, service: Option<&str>) -> rusqlite::Result<Stats> {
    let since = connection.query_row("SELECT created FROM installation", [], |row| row.get(0))?;
    let count: i64 = match service {
        Some(service) => connection
            .query_row("SELECT count FROM accepted WHERE service = ?1", [service], |row| row.get(0))
            .optional()?
            .unwrap_or(0),
        None => connection.query_row("SELECT coalesce(sum(count), 0) FROM accepted", [], |row| row.get(0))?,
    };
    Ok(Stats { invocations: count.max(0) as u64, since })
}
