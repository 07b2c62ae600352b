//! A task as a row, and many as columns: a whole batch goes in one statement.

use super::text::{escape, unescape};
use bytes::Bytes;
use gateway_life::{Delivery, Run, State, Task};
use std::{borrow::Cow, sync::Arc};
use tokio_postgres::{Error, Row, types::ToSql};
use uuid::Uuid;

/// The columns of a task, in the order of [`from_row`].
macro_rules! columns {
    () => {
        "id, service, subject, state, result, settled, attempts, presumed, note, run_host, run_start, current, runs, \
         seq, submitted, sent, started, running, wait_limit, run_limit, heard, ended, retries, losses, trace"
    };
}

/// The parameters of [`Columns::params`], as a table `u`.
macro_rules! unnest {
    () => {
        "unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::boolean[], $7::bigint[], \
         $8::boolean[], $9::text[], $10::text[], $11::text[], $12::double precision[], $13::bigint[], $14::bigint[], \
         $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], \
         $22::bigint[], $23::bigint[], $24::bigint[], $25::text[], $26::bigint[]) AS u (id, service, subject, state, result, settled, attempts, presumed, note, \
         run_host, run_start, current, runs, seq, submitted, sent, started, running, wait_limit, run_limit, heard, \
         ended, retries, losses, trace, deadline)"
    };
}
pub(super) use {columns, unnest};

pub(super) fn from_row(row: &Row) -> Result<Task, Error> {
    let text = |index| row.try_get::<_, Option<&str>>(index).map(|text| text.map(|text| unescape(text).into_owned()));
    let count = |index| row.try_get::<_, i64>(index).map(|count| u32::try_from(count).unwrap_or_default());
    let run = match (text(9)?, text(10)?) {
        (Some(host), Some(start)) => Some(Run { host: host.into(), start: start.into() }),
        _ => None,
    };
    Ok(Task {
        id: row.try_get(0)?,
        service: Arc::from(unescape(row.try_get(1)?)),
        subject: text(2)?.map(Arc::from),
        state: State::from_name(&unescape(row.try_get(3)?)),
        result: row.try_get::<_, Option<Vec<u8>>>(4)?.map(Bytes::from),
        delivery: if row.try_get(5)? { Delivery::Settled } else { Delivery::Owned },
        attempts: count(6)?,
        presumed: row.try_get(7)?,
        note: text(8)?.map(String::into_boxed_str),
        run,
        current: row.try_get(11)?,
        runs: count(12)?,
        seq: row.try_get::<_, i64>(13)? as u64,
        submitted: row.try_get(14)?,
        sent: row.try_get(15)?,
        started: row.try_get(16)?,
        running: row.try_get(17)?,
        wait_limit: row.try_get(18)?,
        run_limit: row.try_get(19)?,
        heard: row.try_get(20)?,
        ended: row.try_get(21)?,
        retries: count(22)?,
        losses: count(23)?,
        trace: text(24)?.map(String::into_boxed_str),
    })
}

type Text<'a> = Cow<'a, str>;
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// Many tasks, column by column.
#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    service: Vec<Text<'a>>,
    subject: Vec<Option<Text<'a>>>,
    state: Vec<Text<'a>>,
    result: Vec<Option<&'a [u8]>>,
    settled: Vec<bool>,
    attempts: Vec<i64>,
    presumed: Vec<bool>,
    note: Vec<Option<Text<'a>>>,
    run_host: Vec<Option<Text<'a>>>,
    run_start: Vec<Option<Text<'a>>>,
    current: Vec<f64>,
    runs: Vec<i64>,
    seq: Vec<i64>,
    submitted: Vec<i64>,
    sent: Vec<Option<i64>>,
    started: Vec<Option<i64>>,
    running: Vec<Option<i64>>,
    wait_limit: Vec<Option<i64>>,
    run_limit: Vec<Option<i64>>,
    heard: Vec<i64>,
    ended: Vec<Option<i64>>,
    retries: Vec<i64>,
    losses: Vec<i64>,
    trace: Vec<Option<&'a str>>,
    deadline: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    pub(super) fn push(&mut self, task: &'a Task) {
        let run = task.run.as_ref();
        self.id.push(task.id);
        self.service.push(escape(&task.service));
        self.subject.push(task.subject.as_deref().map(escape));
        self.state.push(escape(task.state.name()));
        self.result.push(task.result.as_deref());
        self.settled.push(task.delivery == Delivery::Settled);
        self.attempts.push(task.attempts.into());
        self.presumed.push(task.presumed);
        self.note.push(task.note.as_deref().map(escape));
        self.run_host.push(run.map(|run| escape(&run.host)));
        self.run_start.push(run.map(|run| escape(&run.start)));
        self.current.push(task.current);
        self.runs.push(task.runs.into());
        self.seq.push(task.seq as i64);
        self.submitted.push(task.submitted);
        self.sent.push(task.sent);
        self.started.push(task.started);
        self.running.push(task.running);
        self.wait_limit.push(task.wait_limit);
        self.run_limit.push(task.run_limit);
        self.heard.push(task.heard);
        self.ended.push(task.ended);
        self.retries.push(task.retries.into());
        self.losses.push(task.losses.into());
        // Printable ASCII: there is nothing to escape.
        self.trace.push(task.trace.as_deref());
        self.deadline.push(task.deadline());
    }

    pub(super) fn params(&self) -> [Param<'_>; 26] {
        [
            &self.id,
            &self.service,
            &self.subject,
            &self.state,
            &self.result,
            &self.settled,
            &self.attempts,
            &self.presumed,
            &self.note,
            &self.run_host,
            &self.run_start,
            &self.current,
            &self.runs,
            &self.seq,
            &self.submitted,
            &self.sent,
            &self.started,
            &self.running,
            &self.wait_limit,
            &self.run_limit,
            &self.heard,
            &self.ended,
            &self.retries,
            &self.losses,
            &self.trace,
            &self.deadline,
        ]
    }
}
