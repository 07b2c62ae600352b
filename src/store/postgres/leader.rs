//! Which of several daemons acts: a lock in the database, held by the session that took it.

use super::{link, read::unreachable, tls::Target};
use crate::store::StoreError;
use std::time::Duration;
use tokio::time::timeout;

/// How long a question may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// An arbitrary number, ours alone: the lock of the daemon that scales.
const LOCK: i64 = 0x5347_5343_414c_4531;

/// A lease in a PostgreSQL database. It is held as long as its session lives, by nobody else meanwhile, and given back
/// with it: by `drop`, or when the server sees that the daemon is gone.
pub struct Leader {
    target: Target,
    session: Option<link::Opened>,
}

impl Leader {
    /// In the database of `store.url`; nothing is asked yet.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        Ok(Self { target: Target::parse(url)?, session: None })
    }

    /// Does this daemon hold it, now that we ask? Tries to take it if not.
    pub async fn hold(&mut self) -> Result<bool, StoreError> {
        if let Some(session) = &self.session {
            // The session answers, so it lives, so the lock is ours.
            let answer = timeout(DEADLINE, session.client.simple_query("SELECT 1")).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(true);
            }
            self.session = None;
        }
        let session = link::connect(&self.target).await.map_err(|refusal| unreachable(&refusal.why))?;
        let asked = timeout(DEADLINE, session.client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK])).await;
        let row = asked.map_err(|_| StoreError::TimedOut)?.map_err(super::failed)?;
        if row.try_get(0).map_err(super::failed)? {
            self.session = Some(session);
        }
        Ok(self.session.is_some())
    }
}
