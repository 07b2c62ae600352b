//! What the need for workers is concluded from. Each statement walks an index, and a bounded part of it.

use super::{link::Session, read::Reads, text::unescape};
use crate::store::{Counts, Due, LATEST, OPEN, Tally, Took, first_id};
use gateway_life::Millis;
use std::{collections::BTreeMap, sync::Arc};
use tokio_postgres::{Error, Row};

pub(super) async fn tally(session: &Session<Reads>, now: Millis, since: Millis) -> Result<Tally, Error> {
    let (client, statements) = (session.client(), &session.statements);
    let mut counts = BTreeMap::<Arc<str>, Counts>::new();
    for row in client.query(&statements.tally_accepted, &[]).await? {
        counts.entry(service(&row)?).or_default().accepted = number(&row, 1)?;
    }
    for row in client.query(&statements.tally_due, &[&now]).await? {
        let counts = counts.entry(service(&row)?).or_default();
        (counts.due, counts.due_since) = (number(&row, 1)?, row.try_get(2)?);
    }
    for row in client.query(&statements.tally_open, &[&(OPEN as i64)]).await? {
        let counts = counts.entry(service(&row)?).or_default();
        (counts.open, counts.running, counts.oldest) = (number(&row, 1)?, number(&row, 2)?, row.try_get(3)?);
    }
    let ended = client.query(&statements.tally_ended, &[&since, &(LATEST as i64)]).await?;
    let ended =
        ended.iter().map(|row| Ok(Took { service: service(row)?, ended: row.try_get(1)?, took: row.try_get(2)? }));
    Ok(Tally { counts, ended: ended.collect::<Result<_, Error>>()? })
}

pub(super) async fn arrivals(session: &Session<Reads>, since: Millis) -> Result<Vec<Due>, Error> {
    let first = first_id(since);
    let rows = session.client().query(&session.statements.tally_arrivals, &[&first, &(LATEST as i64)]).await?;
    rows.iter().map(|row| Ok((service(row)?, row.try_get(1)?))).collect()
}

fn service(row: &Row) -> Result<Arc<str>, Error> {
    Ok(Arc::from(unescape(row.try_get(0)?)))
}

fn number(row: &Row, at: usize) -> Result<u64, Error> {
    Ok(row.try_get::<_, i64>(at)?.max(0) as u64)
}
