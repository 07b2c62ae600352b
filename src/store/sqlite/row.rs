//! A task as a row.

use bytes::Bytes;
use gateway_life::{Delivery, Run, State, Task};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;
use uuid::Uuid;

pub(super) const COLUMNS: &str = "id, service, subject, state, result, settled, attempts, presumed, note, run_host, \
     run_start, current, runs, seq, submitted, sent, started, running, wait_limit, run_limit, heard, ended, \
     retries, losses, trace";

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Task> {
    let text = |index| row.get::<_, Option<String>>(index).map(|text| text.map(String::into_boxed_str));
    let run = match (text(9)?, text(10)?) {
        (Some(host), Some(start)) => Some(Run { host, start }),
        _ => None,
    };
    Ok(Task {
        id: Uuid::from_bytes(row.get(0)?),
        service: Arc::from(row.get::<_, String>(1)?),
        subject: text(2)?.map(Arc::from),
        state: State::from_name(row.get_ref(3)?.as_str()?),
        result: row.get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from),
        delivery: if row.get(5)? { Delivery::Settled } else { Delivery::Owned },
        attempts: row.get(6)?,
        presumed: row.get(7)?,
        note: text(8)?,
        run,
        current: row.get(11)?,
        runs: row.get(12)?,
        seq: row.get::<_, i64>(13)? as u64,
        submitted: row.get(14)?,
        sent: row.get(15)?,
        started: row.get(16)?,
        running: row.get(17)?,
        wait_limit: row.get(18)?,
        run_limit: row.get(19)?,
        heard: row.get(20)?,
        ended: row.get(21)?,
        retries: row.get(22)?,
        losses: row.get(23)?,
        trace: text(24)?,
    })
}

pub(super) fn load(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Task>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM task WHERE id = ?1"))?;
    statement.query_row([id.as_bytes()], from_row).optional()
}

/// Writes a whole task, new or known.
pub(super) fn save(connection: &Connection, task: &Task, new: bool) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(if new {
        "INSERT INTO task (id, service, subject, state, result, settled, attempts, presumed, note, run_host, run_start, \
         current, runs, seq, submitted, sent, started, running, wait_limit, run_limit, heard, ended, retries, losses, \
         deadline, trace) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26)"
    } else {
        "UPDATE task SET service=?2, subject=?3, state=?4, result=?5, settled=?6, attempts=?7, presumed=?8, note=?9, \
         run_host=?10, run_start=?11, current=?12, runs=?13, seq=?14, submitted=?15, sent=?16, started=?17, running=?18, \
         wait_limit=?19, run_limit=?20, heard=?21, ended=?22, retries=?23, losses=?24, deadline=?25, trace=?26 \
         WHERE id=?1"
    })?;
    let run = task.run.as_ref();
    statement.execute(params![
        task.id.as_bytes(),
        &*task.service,
        task.subject.as_deref(),
        task.state.name(),
        task.result.as_deref(),
        task.delivery == Delivery::Settled,
        task.attempts,
        task.presumed,
        task.note.as_deref(),
        run.map(|run| &*run.host),
        run.map(|run| &*run.start),
        task.current,
        task.runs,
        task.seq as i64,
        task.submitted,
        task.sent,
        task.started,
        task.running,
        task.wait_limit,
        task.run_limit,
        task.heard,
        task.ended,
        task.retries,
        task.losses,
        task.deadline(),
        task.trace.as_deref(),
    ])?;
    Ok(())
}
