//! Tables, and how they came to be.

use super::StoreError;
use rusqlite::{Connection, OptionalExtension, Transaction};
use uuid::Uuid;

/// One entry a version, oldest first; never changed once released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE installation (id BLOB NOT NULL, created INTEGER NOT NULL);

    -- Keys are UUIDv7: new rows go to the end of the tree.
    CREATE TABLE task (
        id BLOB PRIMARY KEY, service TEXT NOT NULL, subject TEXT, state TEXT NOT NULL, result BLOB,
        settled INTEGER NOT NULL, attempts INTEGER NOT NULL, presumed INTEGER NOT NULL, note TEXT,
        run_host TEXT, run_start TEXT, current REAL NOT NULL, runs INTEGER NOT NULL, seq INTEGER NOT NULL,
        submitted INTEGER NOT NULL, sent INTEGER, started INTEGER, running INTEGER, wait_limit INTEGER,
        run_limit INTEGER, deadline INTEGER, heard INTEGER NOT NULL, ended INTEGER
    ) WITHOUT ROWID;
    -- For the sweeper. By id, not by time of the last report: a report then leaves the index alone.
    CREATE INDEX task_open ON task (id) WHERE ended IS NULL;
    CREATE INDEX task_deadline ON task (deadline) WHERE deadline IS NOT NULL;
    CREATE INDEX task_ended ON task (ended) WHERE ended IS NOT NULL;

    -- Messages that are not known to have reached the broker; due is NULL while the embedded broker runs one.
    CREATE TABLE outbox (
        id BLOB PRIMARY KEY, service TEXT NOT NULL, due INTEGER, body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX outbox_due ON outbox (service, due) WHERE due IS NOT NULL;

    -- subject is '' where the token has none: NULL would not be unique.
    CREATE TABLE idempotency (
        subject TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, id BLOB NOT NULL,
        expires INTEGER NOT NULL, PRIMARY KEY (subject, key)
    ) WITHOUT ROWID;
    CREATE INDEX idempotency_expires ON idempotency (expires);

    CREATE TABLE accepted (service TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
    ",
    "
    -- What runs were repeated for, counted apart.
    ALTER TABLE task ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE task ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
    ",
    "
    -- A task's place in a trace, as its message tells the worker (W3C Trace Context).
    ALTER TABLE task ADD COLUMN trace TEXT;
",
    "
    -- For the sweeper: results that are still kept. Most records have none any more, and are kept for much longer.
    CREATE INDEX task_kept ON task (ended) WHERE ended IS NOT NULL AND state <> 'EXPIRED';
",
];

/// Brings the file to the newest schema and returns the installation's id.
pub(super) fn migrate(connection: &mut Connection, now: i64) -> Result<Uuid, StoreError> {
    let known = MIGRATIONS.len() as i64;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(super::failed)?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    let transaction = connection.transaction().map_err(super::failed)?;
    for (version, sql) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        transaction.execute_batch(sql).map_err(super::failed)?;
        transaction.pragma_update(None, "user_version", version as i64 + 1).map_err(super::failed)?;
    }
    let id = installation(&transaction, now).map_err(super::failed)?;
    transaction.commit().map_err(super::failed)?;
    Ok(id)
}

fn installation(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<Uuid> {
    let known: Option<Vec<u8>> =
        transaction.query_row("SELECT id FROM installation", [], |row| row.get(0)).optional()?;
    if let Some(id) = known.and_then(|id| Uuid::from_slice(&id).ok()) {
        return Ok(id);
    }
    let id = Uuid::now_v7();
    transaction.execute("INSERT INTO installation VALUES (?1, ?2)", (id.as_bytes(), now))?;
    Ok(id)
}
