//! Tables, and how they came to be.
//!
//! They stand in a schema of their own, `service_gateway`, and every statement names it: a `search_path` has no say.

use super::{failed, link::Opened};
use crate::store::StoreError;
use gateway_life::Millis;
use tokio_postgres::Transaction;
use uuid::Uuid;

/// One entry a version, oldest first; never changed once released.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE service_gateway.installation (id uuid NOT NULL, created bigint NOT NULL);

    -- Texts are escaped: see text.rs. Keys are UUIDv7: new rows go to the end of the index.
    CREATE TABLE service_gateway.task (
        id uuid PRIMARY KEY, service text NOT NULL, subject text, state text NOT NULL, result bytea,
        settled boolean NOT NULL, attempts bigint NOT NULL, presumed boolean NOT NULL, note text,
        run_host text, run_start text, current double precision NOT NULL, runs bigint NOT NULL, seq bigint NOT NULL,
        submitted bigint NOT NULL, sent bigint, started bigint, running bigint, wait_limit bigint,
        run_limit bigint, deadline bigint, heard bigint NOT NULL, ended bigint
    ) WITH (fillfactor = 85);
    -- For the sweeper. By id, not by time of the last report: a report then leaves the index alone.
    CREATE INDEX task_open ON service_gateway.task (id) WHERE ended IS NULL;
    CREATE INDEX task_deadline ON service_gateway.task (deadline) WHERE deadline IS NOT NULL;
    CREATE INDEX task_ended ON service_gateway.task (ended) WHERE ended IS NOT NULL;

    -- Messages that are not known to have reached the broker. due is NULL while an embedded broker runs one. owner is
    -- the gateway that publishes it, NULL once that has released it; untried: it says it never has.
    CREATE TABLE service_gateway.outbox (
        id uuid PRIMARY KEY, service text NOT NULL, due bigint, body bytea NOT NULL, owner uuid,
        untried boolean NOT NULL DEFAULT false
    );
    CREATE INDEX outbox_due ON service_gateway.outbox (service, due) WHERE due IS NOT NULL;
    CREATE INDEX outbox_owner ON service_gateway.outbox (owner);

    -- scope is SHA-256 over subject and key: both may be longer than an index takes.
    CREATE TABLE service_gateway.idempotency (
        scope bytea PRIMARY KEY, fingerprint bytea NOT NULL, id uuid NOT NULL, expires bigint NOT NULL
    );
    CREATE INDEX idempotency_expires ON service_gateway.idempotency (expires);

    -- In slots, so that gateways do not wait for each other to count.
    CREATE TABLE service_gateway.accepted (
        service text NOT NULL, slot bigint NOT NULL, count bigint NOT NULL, PRIMARY KEY (service, slot)
    ) WITH (fillfactor = 50);

    -- Each gateway's lease, by the database's clock, and the number of its last commit: NOT NULL is what refuses a
    -- commit that comes out of turn (see commit.rs).
    CREATE TABLE service_gateway.gateway (
        id uuid PRIMARY KEY, lease_until bigint NOT NULL, batch bigint NOT NULL
    ) WITH (fillfactor = 50);
    ",
    "
    -- What runs were repeated for, counted apart.
    ALTER TABLE service_gateway.task ADD COLUMN retries bigint NOT NULL DEFAULT 0,
        ADD COLUMN losses bigint NOT NULL DEFAULT 0;
    ",
    "
    -- A task's place in a trace, as its message tells the worker (W3C Trace Context).
    ALTER TABLE service_gateway.task ADD COLUMN trace text;
",
    "
    -- For the sweeper: results that are still kept. Most records have none any more, and are kept for much longer.
    CREATE INDEX task_kept ON service_gateway.task (ended) WHERE ended IS NOT NULL AND state <> 'EXPIRED';
",
];

/// Two gateways that start at the same time wait for each other here. An arbitrary number, ours alone.
const LOCK: i64 = 0x5347_4d49_4752_4154;

/// Brings the database to the newest schema and returns the installation's id.
pub(super) async fn migrate(connection: &mut Opened, now: Millis) -> Result<Uuid, StoreError> {
    let encoding: String = connection
        .client
        .query_one("SHOW server_encoding", &[])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    if encoding != "UTF8" {
        let why = format!("the database's encoding is {encoding}: expected UTF8 (CREATE DATABASE … ENCODING 'UTF8')");
        return Err(StoreError::Failed(why.into()));
    }
    let transaction = connection.client.transaction().await.map_err(failed)?;
    // Large tables take their time.
    const PATIENCE: &str = "SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = 0";
    transaction.batch_execute(PATIENCE).await.map_err(failed)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let found = version(&transaction).await.map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for sql in MIGRATIONS.iter().skip(found.max(0) as usize) {
        transaction.batch_execute(sql).await.map_err(failed)?;
    }
    if found < known {
        transaction.execute("UPDATE service_gateway.version SET version = $1", &[&known]).await.map_err(failed)?;
    }
    let id = installation(&transaction, now).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(id)
}

/// Makes the schema if there is none; 0 is an empty one.
async fn version(transaction: &Transaction<'_>) -> Result<i64, tokio_postgres::Error> {
    // Asked for first: to make one takes a privilege that a gateway need not have where an administrator has made it.
    let known: bool =
        transaction.query_one("SELECT to_regnamespace('service_gateway') IS NOT NULL", &[]).await?.try_get(0)?;
    if !known {
        transaction.batch_execute("CREATE SCHEMA service_gateway").await?;
    }
    let begun: bool =
        transaction.query_one("SELECT to_regclass('service_gateway.version') IS NOT NULL", &[]).await?.try_get(0)?;
    if !begun {
        const FIRST: &str = "CREATE TABLE service_gateway.version (version bigint NOT NULL); \
                             INSERT INTO service_gateway.version VALUES (0)";
        transaction.batch_execute(FIRST).await?;
    }
    transaction.query_one("SELECT version FROM service_gateway.version", &[]).await?.try_get(0)
}

async fn installation(transaction: &Transaction<'_>, now: Millis) -> Result<Uuid, tokio_postgres::Error> {
    if let Some(row) = transaction.query_opt("SELECT id FROM service_gateway.installation", &[]).await? {
        return row.try_get(0);
    }
    let id = Uuid::now_v7();
    transaction.execute("INSERT INTO service_gateway.installation VALUES ($1, $2)", &[&id, &now]).await?;
    Ok(id)
}
