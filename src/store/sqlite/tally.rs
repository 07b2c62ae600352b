//! What the need for workers is concluded from. Each statement walks an index, and a bounded part of it.

use crate::store::{Counts, Due, LATEST, OPEN, Tally, Took, first_id};
use gateway_life::Millis;
use rusqlite::{Connection, Row, params};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn tally(connection: &Connection, now: Millis, since: Millis) -> rusqlite::Result<Tally> {
    let mut counts = BTreeMap::<Arc<str>, Counts>::new();
    let mut accepted = connection.prepare_cached("SELECT service, count FROM accepted")?;
    for row in accepted.query_map([], |row| Ok((service(row)?, number(row, 1)?)))? {
        let (service, accepted) = row?;
        counts.entry(service).or_default().accepted = accepted;
    }
    let mut due = connection.prepare_cached(
        "SELECT service, count(*), min(due) FROM outbox INDEXED BY outbox_due WHERE due IS NOT NULL AND due <= ?1 \
         GROUP BY service",
    )?;
    for row in due.query_map([now], |row| Ok((service(row)?, number(row, 1)?, row.get(2)?)))? {
        let (service, due, since) = row?;
        let counts = counts.entry(service).or_default();
        (counts.due, counts.due_since) = (due, since);
    }
    let mut open = connection.prepare_cached(
        "SELECT service, count(*), count(running), min(CASE WHEN started IS NULL THEN submitted END) FROM \
         (SELECT service, running, started, submitted FROM task INDEXED BY task_open WHERE ended IS NULL \
          ORDER BY id LIMIT ?1) GROUP BY service",
    )?;
    let rows =
        open.query_map([OPEN as i64], |row| Ok((service(row)?, number(row, 1)?, number(row, 2)?, row.get(3)?)))?;
    for row in rows {
        let (service, open, running, oldest) = row?;
        let counts = counts.entry(service).or_default();
        (counts.open, counts.running, counts.oldest) = (open, running, oldest);
    }
    // A task that is first heard of at its end starts then: that says nothing.
    let mut ended = connection.prepare_cached(
        "SELECT service, ended, ended - started FROM task INDEXED BY task_ended \
         WHERE ended > ?1 AND started < ended AND NOT presumed AND state IN ('SUCCESS', 'FAILURE') \
         ORDER BY ended DESC LIMIT ?2",
    )?;
    let ended = ended.query_map(params![since, LATEST as i64], |row| {
        Ok(Took { service: service(row)?, ended: row.get(1)?, took: row.get(2)? })
    })?;
    Ok(Tally { counts, ended: ended.collect::<rusqlite::Result<_>>()? })
}

pub(super) fn arrivals(connection: &Connection, since: Millis) -> rusqlite::Result<Vec<Due>> {
    let mut latest =
        connection.prepare_cached("SELECT service, submitted FROM task WHERE id >= ?1 ORDER BY id DESC LIMIT ?2")?;
    let rows =
        latest.query_map(params![first_id(since).as_bytes(), LATEST as i64], |row| Ok((service(row)?, row.get(1)?)))?;
    rows.collect()
}

fn service(row: &Row<'_>) -> rusqlite::Result<Arc<str>> {
    Ok(Arc::from(row.get::<_, String>(0)?))
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.max(0) as u64)
}
