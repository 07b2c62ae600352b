//! What is over its time. It is looked for where others read, so that submissions never wait for it; what is deleted, and
//! the space that is given back, comes in small steps.

use super::row;
use crate::store::{Keep, OPEN, Swept};
use gateway_life::{Fact, Millis};
use rusqlite::{Connection, Row, params};
use serde_json::json;
use uuid::Uuid;

/// Pages given back at once.
const PAGES: i64 = 256;
/// One page of so many may be free: it is soon used again.
const FREE: i64 = 8;

/// Finds what is over its time, at most `limit` of each; and says whether [`delete`] has something to do.
pub(super) fn find(
    connection: &Connection,
    now: Millis,
    keep: &Keep,
    after: Uuid,
    limit: usize,
) -> rusqlite::Result<(Swept, bool)> {
    let rows = limit as i64;
    let mut swept = Swept::default();
    let mut forget = connection.prepare_cached(
        "SELECT id FROM task INDEXED BY task_kept WHERE ended < ?1 AND state <> 'EXPIRED' ORDER BY ended LIMIT ?2",
    )?;
    for id in forget.query_map(params![now - keep.results, rows], |row| row.get(0))? {
        swept.facts.push((Uuid::from_bytes(id?), Fact::Forgotten));
    }
    swept.facts.extend(late(connection, now, keep, rows)?);
    let mut silent = connection.prepare_cached(&format!(
        "SELECT {columns} FROM (SELECT {columns} FROM task INDEXED BY task_open WHERE ended IS NULL AND id > ?2 \
         ORDER BY id LIMIT ?4) WHERE heard < ?1 ORDER BY id LIMIT ?3",
        columns = row::COLUMNS
    ))?;
    let looked_at = params![now - keep.silence, after.as_bytes(), rows, OPEN as i64];
    for task in silent.query_map(looked_at, row::from_row)? {
        swept.silent.push(task?);
    }
    let mut last = connection.prepare_cached(
        "SELECT id FROM task INDEXED BY task_open WHERE ended IS NULL AND id > ?1 ORDER BY id LIMIT 1 OFFSET ?2",
    )?;
    let slice = last.query_map(params![after.as_bytes(), OPEN as i64 - 1], |row| row.get(0))?.next().transpose()?;
    swept.next = swept.goes_on_after(limit, slice.map(Uuid::from_bytes));
    let over = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM task WHERE ended < ?1) OR EXISTS (SELECT 1 FROM idempotency WHERE expires < ?2)",
        params![now - keep.records, now - keep.keys],
        |row| row.get::<_, bool>(0),
    )?;
    Ok((swept, over || wasted(connection)? > 0))
}

/// Those whose time to wait, or to run, is over, and would be had the clock not been set forward since they began.
fn late(connection: &Connection, now: Millis, keep: &Keep, rows: i64) -> rusqlite::Result<Vec<(Uuid, Fact)>> {
    let jumps: Vec<_> = keep.jumps.iter().map(|jump| [jump.from, jump.ahead]).collect();
    let mut late = connection.prepare_cached(
        "SELECT id, began, ahead FROM (SELECT id, deadline, began, \
         (SELECT coalesce(sum(value ->> 1), 0) FROM json_each(?2) WHERE began <= value ->> 0) AS ahead \
         FROM (SELECT id, deadline, coalesce(running, submitted) AS began FROM task WHERE deadline <= ?1)) \
         WHERE deadline <= ?1 - ahead ORDER BY deadline LIMIT ?3",
    )?;
    let fact = |row: &Row<'_>| {
        let fact = Fact::Late { began: row.get(1)?, ahead: row.get(2)? };
        Ok((Uuid::from_bytes(row.get(0)?), fact))
    };
    late.query_map(params![now, json!(jumps).to_string(), rows], fact)?.collect()
}

/// Deletes the records that are over their last, at most `limit` of them, and gives back some of the space.
pub(super) fn delete(
    connection: &mut Connection,
    now: Millis,
    keep: &Keep,
    limit: usize,
) -> rusqlite::Result<Vec<Uuid>> {
    let rows = limit as i64;
    let mut deleted = Vec::new();
    let transaction = connection.transaction()?;
    {
        let mut delete = transaction.prepare_cached(
            "DELETE FROM task WHERE id IN (SELECT id FROM task WHERE ended < ?1 ORDER BY ended LIMIT ?2) RETURNING id",
        )?;
        for id in delete.query_map(params![now - keep.records, rows], |row| row.get(0))? {
            deleted.push(Uuid::from_bytes(id?));
        }
    }
    transaction.execute(
        "DELETE FROM idempotency WHERE (subject, key) IN (SELECT i.subject, i.key FROM idempotency i \
         LEFT JOIN task t ON t.id = i.id WHERE i.expires < ?1 AND (t.id IS NULL OR t.ended IS NOT NULL) LIMIT ?2)",
        params![now - keep.keys, rows],
    )?;
    transaction.commit()?;
    give_back(connection)?;
    Ok(deleted)
}

/// Free pages beyond those that are soon used again.
fn wasted(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    Ok(number("PRAGMA freelist_count")? - number("PRAGMA page_count")? / FREE)
}

fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let pages = wasted(connection)?.min(PAGES);
    if pages > 0 {
        // It moves one page with each step.
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{prepare, schema, write};
    use super::*;
    use bytes::Bytes;
    use gateway_life::{Accept, Report, Source, State, Task, Write};

    const DAY: Millis = 24 * 3_600_000;
    const KEEP: Keep = Keep { results: DAY, records: 30 * DAY, silence: DAY, keys: 0, jumps: Vec::new() };

    fn store(file: Option<&std::path::Path>) -> Connection {
        let mut connection = match file {
            Some(file) => Connection::open(file).expect("a file"),
            None => Connection::open_in_memory().expect("memory"),
        };
        prepare(&connection).expect("pragmas");
        schema::migrate(&mut connection, 0).expect("a schema");
        connection
    }

    /// Tasks that ended then, with a result of that size.
    fn ended(connection: &mut Connection, count: usize, at: Millis, size: usize) {
        let result = Some(Bytes::from(format!("\"{}\"", "x".repeat(size))));
        let end = Fact::Heard(Report { result, ..Report::new(State::Success, Source::Queue) });
        let tasks: Vec<_> = (0..count).map(|_| Task::new(Uuid::now_v7(), "s", at)).collect();
        let accept = |task: &Task| {
            Write::Accept(Box::new(Accept { task: task.clone(), body: Bytes::from_static(b"[]"), key: None }))
        };
        let tell = |task: &Task| Write::Apply { id: task.id, service: None, fact: end.clone() };
        let writes = tasks.iter().map(accept).chain(tasks.iter().map(tell)).collect();
        write::commit(connection, at, writes).expect("a commit");
    }

    #[test]
    fn space_is_given_back_in_small_steps() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut connection = store(Some(&directory.path().join("store")));
        ended(&mut connection, 100, 0, 100_000);
        let now = 31 * DAY;
        assert_eq!(delete(&mut connection, now, &KEEP, 1000).expect("deleted").len(), 100);
        let mut last = wasted(&connection).expect("a count");
        assert!(last > PAGES, "{last}");
        while last > 0 {
            let (_, over) = find(&connection, now, &KEEP, Uuid::nil(), 10).expect("found");
            assert!(over, "{last} pages are wasted");
            delete(&mut connection, now, &KEEP, 1000).expect("deleted");
            let left = wasted(&connection).expect("a count");
            assert!(left < last && last - left <= PAGES, "{last}, then {left}");
            last = left;
        }
        assert!(!find(&connection, now, &KEEP, Uuid::nil(), 10).expect("found").1);
    }
}
