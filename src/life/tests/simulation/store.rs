//! A store with the semantics of `src/store/sqlite/write.rs`: one batch is one transaction.
//!
//! Whether a transaction becomes durable is decided by whoever calls [`Store::execute`]: it does everything or is not
//! called.

use crate::scenario::Plant;
use bytes::Bytes;
use gateway_life::{Accept, Change, DUE_MOST, Fact, IdempotencyKey, Millis, Task, Waiting, Write, Written, apply};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) service: Arc<str>,
    /// `None` while the embedded broker runs it.
    pub(crate) due: Option<Millis>,
    pub(crate) body: Bytes,
}

/// A task before and after one write, for the checks.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) after: Task,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Accepted(Option<IdempotencyKey>),
    /// The task as it was before.
    Learnt(Box<Task>, Fact),
}

/// One that lies far ahead was written before the clock was set back.
pub(crate) fn is_due(due: Millis, now: Millis) -> bool {
    due <= now || due > now + DUE_MOST
}

type Scope = (Option<Arc<str>>, Box<str>);

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) tasks: BTreeMap<Uuid, Task>,
    pub(crate) outbox: BTreeMap<Uuid, Row>,
    pub(crate) keys: HashMap<Scope, ([u8; 32], Uuid)>,
    /// What the last transactions changed.
    pub(crate) seen: Vec<Seen>,
    plant: Option<Plant>,
    /// Planted: written apart, lost with the process.
    late_rows: Vec<(Uuid, Row)>,
    late_keys: Vec<(Scope, [u8; 32], Uuid)>,
}

impl Store {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        Self { plant, ..Self::default() }
    }

    pub(crate) fn execute(&mut self, now: Millis, writes: Vec<Write>) -> Vec<Written> {
        let one = |write| match write {
            Write::Accept(accept) => self.accept(now, *accept),
            Write::Apply { id, service, fact } => self.apply(now, id, service.as_deref(), &fact),
            Write::Claim { service } => self.claim(now, &service),
        };
        writes.into_iter().map(one).collect()
    }

    fn accept(&mut self, now: Millis, accept: Accept) -> Written {
        let Accept { task, body, key } = accept;
        if let Some(IdempotencyKey { subject, key, fingerprint }) = key.clone() {
            let scope = (subject, key);
            if let Some((known, id)) = self.keys.get(&scope) {
                return if *known == fingerprint { Written::Same(*id) } else { Written::Conflict };
            }
            match self.plant {
                Some(Plant::KeyApart) => self.late_keys.push((scope, fingerprint, task.id)),
                _ => drop(self.keys.insert(scope, (fingerprint, task.id))),
            }
        }
        let row = Row { service: task.service.clone(), due: Some(now), body };
        match self.plant {
            Some(Plant::OutboxApart) => self.late_rows.push((task.id, row)),
            _ => drop(self.outbox.insert(task.id, row)),
        }
        self.save(task.clone(), What::Accepted(key));
        Written::Accepted(task)
    }

    /// Planted: the transactions that should have been one.
    pub(crate) fn catch_up(&mut self) {
        self.outbox.extend(self.late_rows.drain(..));
        self.keys.extend(self.late_keys.drain(..).map(|(scope, print, id)| (scope, (print, id))));
    }

    pub(crate) fn process_died(&mut self) {
        self.late_rows.clear();
        self.late_keys.clear();
    }

    fn apply(&mut self, now: Millis, id: Uuid, service: Option<&str>, fact: &Fact) -> Written {
        let Some(before) = self.tasks.get(&id).cloned() else { return Written::NoTask(id) };
        if service.is_some_and(|service| *service != *before.service) {
            return Written::NoTask(id);
        }
        let mut task = before.clone();
        let change = apply(&mut task, fact, now);
        self.save_change(before, &task, change, fact);
        Written::Applied(task, change)
    }

    fn save_change(&mut self, before: Task, task: &Task, change: Change, fact: &Fact) {
        if change.changed {
            self.save(task.clone(), What::Learnt(Box::new(before), fact.clone()));
        }
        if change.settled && self.plant != Some(Plant::NotSettled) {
            self.outbox.remove(&task.id);
        } else if let (Some(due), Some(row)) = (change.due, self.outbox.get_mut(&task.id)) {
            row.due = Some(due);
        }
    }

    fn save(&mut self, mut after: Task, what: What) {
        match (&what, self.plant) {
            (What::Learnt(before, _), Some(Plant::NoSeq)) => after.seq = before.seq,
            (What::Learnt(_, Fact::Sent { .. }), _) => {}
            (What::Learnt(before, _), Some(Plant::AttemptsNotKept)) => after.attempts = before.attempts,
            _ => {}
        }
        self.tasks.insert(after.id, after.clone());
        self.seen.push(Seen { after, what });
    }

    fn claim(&mut self, now: Millis, service: &str) -> Written {
        loop {
            let due = self.outbox.iter().filter(|(_, row)| *row.service == *service);
            let due = due.filter_map(|(id, row)| row.due.filter(|due| is_due(*due, now)).map(|due| (due, *id)));
            let Some((_, id)) = due.min() else { return Written::NothingDue };
            let Some(before) = self.tasks.get(&id).cloned() else {
                self.outbox.remove(&id);
                continue;
            };
            let mut task = before.clone();
            let change = apply(&mut task, &Fact::Claimed, now);
            self.save_change(before, &task, change, &Fact::Claimed);
            if change.settled {
                self.outbox.remove(&id);
                continue;
            }
            let Some(row) = self.outbox.get_mut(&id) else { continue };
            if self.plant != Some(Plant::ClaimedTwice) {
                row.due = None;
            }
            return Written::Claimed(task, row.body.clone());
        }
    }

    /// As `Store::outbox` of the product gives it.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let waiting = |(id, row): (&Uuid, &Row)| {
            let task = self.tasks.get(id)?;
            let (attempts, run_limit) = (task.attempts, task.run_limit);
            let trace = task.trace.clone();
            Some(Waiting { id: *id, service: row.service.clone(), attempts, run_limit, trace, body: None })
        };
        self.outbox.iter().filter_map(waiting).collect()
    }
}
