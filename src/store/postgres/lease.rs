//! This gateway's lease, by the database's clock, and the messages of those whose lease is over.

use super::{
    Inner,
    link::{Session, explain, statements},
    read::{DEADLINE, ask, unreachable, waiting},
};
use crate::store::{Lease, LeaseTimes, Sharing, StoreError};
use gateway_contract::BoxFuture;
use gateway_life::Waiting;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};
use tokio_postgres::Error;
use uuid::Uuid;

/// The database's clock, in milliseconds since 1970; read anew after a wait for a lock.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

statements! {
    /// What a lease needs.
    Leases {
        // `old` is as it was before: was the lease still held?
        renew: concat!("UPDATE service_gateway.gateway g SET lease_until = ", clock!(), " + $2 FROM ( \
            SELECT id, lease_until FROM service_gateway.gateway WHERE id = $1 FOR NO KEY UPDATE) old \
            WHERE g.id = old.id RETURNING old.lease_until > ", clock!()),
        register: concat!("INSERT INTO service_gateway.gateway VALUES ($1, ", clock!(), " + $2, $3) \
            ON CONFLICT DO NOTHING"),
        // Owners that nobody remembers are as good as gone.
        unknown: "INSERT INTO service_gateway.gateway SELECT DISTINCT owner, 0, 0 FROM service_gateway.outbox o \
            WHERE owner IS NOT NULL AND NOT EXISTS (SELECT FROM service_gateway.gateway g WHERE g.id = o.owner) \
            ON CONFLICT DO NOTHING",
        gone: concat!("SELECT id FROM service_gateway.gateway WHERE lease_until <= ", clock!(),
            " AND id <> $1 FOR NO KEY UPDATE SKIP LOCKED"),
        take: "WITH taken AS (UPDATE service_gateway.outbox o SET owner = $1, untried = false \
            FROM (SELECT id, untried FROM service_gateway.outbox WHERE owner IS NULL OR owner = ANY($2) \
                ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) found \
            WHERE o.id = found.id RETURNING o.id, o.service, found.untried) \
            SELECT taken.id, taken.service, CASE WHEN taken.untried THEN t.attempts ELSE greatest(t.attempts, 1) END, \
                t.run_limit, t.trace \
            FROM taken JOIN service_gateway.task t ON t.id = taken.id ORDER BY taken.id",
        release: "WITH released AS (UPDATE service_gateway.outbox SET owner = NULL, untried = id = ANY($2) \
            WHERE owner = $1) DELETE FROM service_gateway.gateway WHERE id = $1",
    }
}

/// Makes a gateway known, with a lease from now on; gives the lease as it is seen here.
pub(super) async fn register(session: &Session<Leases>, gateway: Uuid, times: LeaseTimes) -> Result<Instant, Error> {
    let asked = Instant::now();
    let (client, statements) = (session.client(), &session.statements);
    client.execute(&statements.register, &[&gateway, &milliseconds(times.length), &0_i64]).await?;
    Ok(asked + times.usable())
}

/// Renews the lease in the database; says whether it was still held.
async fn renew(session: &Session<Leases>, gateway: Uuid, times: LeaseTimes, turn: i64) -> Result<bool, Error> {
    let (client, statements) = (session.client(), &session.statements);
    let length = milliseconds(times.length);
    match client.query_opt(&statements.renew, &[&gateway, &length]).await? {
        Some(row) => row.try_get(0),
        None => {
            client.execute(&statements.register, &[&gateway, &length, &turn]).await?;
            Ok(false)
        }
    }
}

/// Takes messages over, those of owners that nobody remembers too. The leases of those that are gone are locked until the
/// messages are ours: a gateway that comes back meanwhile waits, and then finds that its lease was over.
async fn adopt(session: &Session<Leases>, gateway: Uuid, limit: i64) -> Result<Vec<Waiting>, Error> {
    let (client, statements) = (session.client(), &session.statements);
    client.execute(&statements.unknown, &[]).await?;
    client.batch_execute("BEGIN").await?;
    let gone = client.query(&statements.gone, &[&gateway]).await?;
    let gone = gone.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
    let rows = client.query(&statements.take, &[&gateway, &gone, &limit]).await?;
    client.batch_execute("COMMIT").await?;
    rows.iter().map(waiting).collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

impl Sharing for Inner {
    fn lease(&self) -> Lease {
        self.lease.clone()
    }

    fn renew(&self) -> BoxFuture<Result<(), StoreError>> {
        let (link, lease, gateway, times) = (self.leases.clone(), self.lease.clone(), self.gateway, self.times);
        let (writer, released) = (self.writer.clone(), self.released.clone());
        self.run(async move {
            let released = released.lock().await;
            if *released {
                return Ok(());
            }
            let turn = writer.turn();
            // Counted from before the question: the answer may be slow.
            let asked = Instant::now();
            let kept = ask(&link, |session| async move { renew(&session, gateway, times, turn).await }).await?;
            lease.renew(asked + times.usable(), kept);
            Ok(())
        })
    }

    fn adopt(&self, limit: usize) -> BoxFuture<Result<Vec<Waiting>, StoreError>> {
        let (link, lease, gateway) = (self.leases.clone(), self.lease.clone(), self.gateway);
        let released = self.released.clone();
        self.run(async move {
            let released = released.lock().await;
            if *released {
                return Ok(Vec::new());
            }
            let session = link.session().await.map_err(|why| unreachable(&why))?;
            let adopted = timeout(DEADLINE, adopt(&session, gateway, limit as i64)).await;
            let error = match adopted {
                Ok(Ok(messages)) => return Ok(messages),
                Ok(Err(error)) => StoreError::Failed(explain(&error).into()),
                Err(_) => StoreError::TimedOut,
            };
            // They may be ours now, and nobody was told: a new term begins with a look into the store.
            session.retire();
            lease.doubt();
            Err(error)
        })
    }

    fn release(&self, untried: Vec<Uuid>) -> BoxFuture<Result<(), StoreError>> {
        let (link, gateway, released) = (self.leases.clone(), self.gateway, self.released.clone());
        self.run(async move {
            // What is being taken over is released with the rest; and nothing is taken over afterwards.
            let mut released = released.lock().await;
            *released = true;
            let release = |session: Arc<Session<Leases>>| {
                let untried = untried.clone();
                async move {
                    session.client().execute(&session.statements.release, &[&gateway, &untried]).await.map(|_| ())
                }
            };
            ask(&link, release).await
        })
    }
}
