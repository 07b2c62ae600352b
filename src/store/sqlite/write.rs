//! A batch of writes in one transaction.

use super::row;
use gateway_life::{Accept, Change, DUE_MOST, Fact, IdempotencyKey, KEY_KEPT, Millis, Task, Write, Written, apply};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// All or nothing; what is returned is durable.
pub(super) fn commit(connection: &mut Connection, now: Millis, writes: Vec<Write>) -> rusqlite::Result<Vec<Written>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut accepted = BTreeMap::<Arc<str>, i64>::new();
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        written.push(match write {
            Write::Accept(accept) => accept_task(&transaction, now, *accept, &mut accepted)?,
            Write::Apply { id, service, fact } => apply_fact(&transaction, now, id, service.as_deref(), &fact)?,
            Write::Claim { service } => claim(&transaction, now, &service)?,
        });
    }
    for (service, count) in accepted {
        transaction
            .prepare_cached("INSERT INTO accepted VALUES (?1, ?2) ON CONFLICT DO UPDATE SET count = count + ?2")?
            .execute(params![&*service, count])?;
    }
    transaction.commit()?;
    Ok(written)
}

fn accept_task(
    transaction: &Transaction<'_>,
    now: Millis,
    accept: Accept,
    accepted: &mut BTreeMap<Arc<str>, i64>,
) -> rusqlite::Result<Written> {
    let Accept { task, body, key } = accept;
    if let Some(key) = key
        && let Some(known) = remember(transaction, now, &key, task.id)?
    {
        return Ok(known);
    }
    row::save(transaction, &task, true)?;
    transaction.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        task.id.as_bytes(),
        &*task.service,
        now,
        &body[..]
    ])?;
    *accepted.entry(task.service.clone()).or_insert(0) += 1;
    Ok(Written::Accepted(task))
}

/// Keeps the key for this task, or says what it stands for already.
fn remember(
    transaction: &Transaction<'_>,
    now: Millis,
    key: &IdempotencyKey,
    id: Uuid,
) -> rusqlite::Result<Option<Written>> {
    let subject = key.subject.as_deref().unwrap_or("");
    let inserted = transaction
        .prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?
        .execute(params![subject, &*key.key, &key.fingerprint[..], id.as_bytes(), now + KEY_KEPT])?;
    if inserted == 1 {
        return Ok(None);
    }
    let (fingerprint, known): (Vec<u8>, [u8; 16]) = transaction
        .prepare_cached("SELECT fingerprint, id FROM idempotency WHERE subject = ?1 AND key = ?2")?
        .query_row(params![subject, &*key.key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let same = fingerprint == key.fingerprint;
    Ok(Some(if same { Written::Same(Uuid::from_bytes(known)) } else { Written::Conflict }))
}

fn apply_fact(
    transaction: &Transaction<'_>,
    now: Millis,
    id: Uuid,
    service: Option<&str>,
    fact: &Fact,
) -> rusqlite::Result<Written> {
    let Some(mut task) = row::load(transaction, id)? else { return Ok(Written::NoTask(id)) };
    if service.is_some_and(|service| *service != *task.service) {
        return Ok(Written::NoTask(id));
    }
    let change = apply(&mut task, fact, now);
    save_change(transaction, &task, change)?;
    Ok(Written::Applied(task, change))
}

fn save_change(transaction: &Transaction<'_>, task: &Task, change: Change) -> rusqlite::Result<()> {
    if change.changed {
        row::save(transaction, task, false)?;
    }
    if change.settled {
        transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([task.id.as_bytes()])?;
    } else if let Some(due) = change.due {
        transaction
            .prepare_cached("UPDATE outbox SET due = ?2 WHERE id = ?1")?
            .execute(params![task.id.as_bytes(), due])?;
    }
    Ok(())
}

fn claim(transaction: &Transaction<'_>, now: Millis, service: &str) -> rusqlite::Result<Written> {
    loop {
        let due = match first(transaction, service, Millis::MIN, now)? {
            // One that lies far ahead was written before the clock was set back.
            None => first(transaction, service, now.saturating_add(DUE_MOST + 1), Millis::MAX)?,
            due => due,
        };
        let Some((id, body)) = due else { return Ok(Written::NothingDue) };
        let Some(mut task) = row::load(transaction, Uuid::from_bytes(id))? else {
            // A message whose record is gone has no owner left.
            transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
            continue;
        };
        let change = apply(&mut task, &Fact::Claimed, now);
        save_change(transaction, &task, change)?;
        if !change.settled {
            transaction.prepare_cached("UPDATE outbox SET due = NULL WHERE id = ?1")?.execute([id])?;
            return Ok(Written::Claimed(task, body.into()));
        }
        transaction.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([id])?;
    }
}

/// The first message that is due between the two.
fn first(
    transaction: &Transaction<'_>,
    service: &str,
    from: Millis,
    to: Millis,
) -> rusqlite::Result<Option<([u8; 16], Vec<u8>)>> {
    transaction
        .prepare_cached(
            "SELECT id, body FROM outbox WHERE service = ?1 AND due BETWEEN ?2 AND ?3 ORDER BY due, id LIMIT 1",
        )?
        .query_row(params![service, from, to], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}
