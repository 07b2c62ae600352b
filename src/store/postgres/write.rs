//! A batch of writes: read what it touches, apply it in memory, in the batch's order, and write what that came to. All
//! in one transaction and as few round trips as can be; whole columns go in one statement.
//!
//! Rows are locked in an order that is the same for all gateways (tasks by id, keys by scope, counts by service), so
//! that two commits do not wait for each other; where they do all the same, PostgreSQL refuses one and it is repeated.

use super::{
    link::statements,
    row::{Columns, Param, columns, unnest},
    text::escape,
};
use bytes::Bytes;
use gateway_life::{Accept, Change, Fact, IdempotencyKey, KEY_KEPT, Millis, Task, Write, Written, apply};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

/// Bytes of results or messages that go in one statement: PostgreSQL takes at most 1 GiB.
const AT_ONCE: usize = 16 << 20;

statements! {
    /// What a commit needs.
    Writes {
        tasks: concat!("SELECT ", columns!(), " FROM service_gateway.task WHERE id = ANY($1) ORDER BY id \
            FOR NO KEY UPDATE"),
        remember: "INSERT INTO service_gateway.idempotency SELECT * FROM \
            unnest($1::bytea[], $2::bytea[], $3::uuid[], $4::bigint[]) ON CONFLICT DO NOTHING",
        remembered: "SELECT scope, fingerprint, id FROM service_gateway.idempotency WHERE scope = ANY($1)",
        claim: "SELECT id, body FROM service_gateway.outbox WHERE service = $1 AND due BETWEEN $2 AND $3 \
            ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED",
        insert_tasks: concat!("INSERT INTO service_gateway.task (", columns!(), ", deadline) SELECT * FROM ", unnest!()),
        update_tasks: concat!("UPDATE service_gateway.task t SET service = u.service, subject = u.subject, \
            state = u.state, result = u.result, settled = u.settled, attempts = u.attempts, presumed = u.presumed, \
            note = u.note, run_host = u.run_host, run_start = u.run_start, current = u.current, runs = u.runs, \
            seq = u.seq, submitted = u.submitted, sent = u.sent, started = u.started, running = u.running, \
            wait_limit = u.wait_limit, run_limit = u.run_limit, heard = u.heard, ended = u.ended, \
            retries = u.retries, losses = u.losses, trace = u.trace, deadline = u.deadline FROM ", unnest!(),
            " WHERE t.id = u.id"),
        insert_messages: "INSERT INTO service_gateway.outbox (id, service, due, body, owner) \
            SELECT u.*, $5 FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[]) u",
        delete_messages: "DELETE FROM service_gateway.outbox WHERE id = ANY($1)",
        due_messages: "UPDATE service_gateway.outbox o SET due = u.due \
            FROM unnest($1::uuid[], $2::bigint[]) u (id, due) WHERE o.id = u.id",
        count: "INSERT INTO service_gateway.accepted AS a SELECT u.service, $3, u.count \
            FROM unnest($1::text[], $2::bigint[]) u (service, count) \
            ON CONFLICT (service, slot) DO UPDATE SET count = a.count + excluded.count",
        turn: "INSERT INTO service_gateway.gateway AS g VALUES ($1, 0, $3) \
            ON CONFLICT (id) DO UPDATE SET batch = CASE WHEN g.batch = $2 THEN excluded.batch END",
        resolve: "UPDATE service_gateway.gateway SET batch = CASE WHEN batch = $2 THEN $2 + 2 ELSE batch END \
            WHERE id = $1 RETURNING batch",
    }
}

/// What became of the message of a task in this batch.
enum Message {
    /// As it is in the store.
    Kept,
    /// New: its body.
    New(Bytes, Option<Millis>),
    /// Due then, or running.
    Due(Option<Millis>),
    /// It leaves the outbox, or never gets there.
    Gone,
}

struct Entry {
    task: Task,
    new: bool,
    changed: bool,
    message: Message,
}

/// What is known of a batch.
pub(super) struct Batch {
    now: Millis,
    /// By id: the order in which rows are written.
    entries: BTreeMap<Uuid, Entry>,
    accepted: BTreeMap<Arc<str>, i64>,
}

/// SHA-256 over subject and key.
pub(super) type Scope = [u8; 32];

/// The scope of a key.
pub(super) fn scope(key: &IdempotencyKey) -> Scope {
    let subject = key.subject.as_deref().unwrap_or("");
    let mut hash = Sha256::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hash.update((subject.len() as u64).to_be_bytes());
    hash.update(subject);
    hash.update(&*key.key);
    hash.finalize().into()
}

/// What a key in the store stands for: fingerprint and task.
pub(super) type Keys = HashMap<Scope, (Vec<u8>, Uuid)>;

/// What a batch has to read before it can be applied.
#[derive(Default)]
pub(super) struct Needs {
    pub(super) tasks: Vec<Uuid>,
    pub(super) scopes: Vec<Vec<u8>>,
    pub(super) fingerprints: Vec<Vec<u8>>,
    pub(super) ids: Vec<Uuid>,
    pub(super) expires: Vec<Millis>,
}

impl Needs {
    pub(super) fn of(now: Millis, writes: &[Write]) -> Self {
        let mut needs = Self::default();
        let mut keys = Vec::new();
        for write in writes {
            match write {
                Write::Accept(accept) => keys.extend(accept.key.as_ref().map(|key| (scope(key), key, accept.task.id))),
                Write::Apply { id, .. } => needs.tasks.push(*id),
                Write::Claim { .. } => {}
            }
        }
        needs.tasks.sort_unstable();
        needs.tasks.dedup();
        // Stable: of two requests with one key the first gets it.
        keys.sort_by_key(|(scope, ..)| *scope);
        for (scope, key, id) in keys {
            needs.scopes.push(scope.to_vec());
            needs.fingerprints.push(key.fingerprint.to_vec());
            needs.ids.push(id);
            needs.expires.push(now + KEY_KEPT);
        }
        needs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.scopes.is_empty()
    }
}

/// The keys as `remembered` gives them.
pub(super) fn keys(rows: &[Row]) -> Result<Keys, tokio_postgres::Error> {
    let key = |row: &Row| {
        let scope = Scope::try_from(row.try_get::<_, &[u8]>(0)?).unwrap_or_default();
        Ok((scope, (row.try_get(1)?, row.try_get(2)?)))
    };
    rows.iter().map(key).collect()
}

impl Batch {
    pub(super) fn new(now: Millis) -> Self {
        Self { now, entries: BTreeMap::new(), accepted: BTreeMap::new() }
    }

    /// Tasks as they are in the store.
    pub(super) fn know(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            self.entries.insert(task.id, Entry { task, new: false, changed: false, message: Message::Kept });
        }
    }

    /// Applies one write; `None` if its key is not among `keys` although it was put there: somebody has deleted it.
    pub(super) fn write(&mut self, write: &Write, keys: &Keys) -> Option<Written> {
        match write {
            Write::Accept(accept) => self.accept(accept, keys),
            Write::Apply { id, service, fact } => Some(self.apply(*id, service.as_deref(), fact)),
            Write::Claim { .. } => Some(Written::NothingDue),
        }
    }

    fn accept(&mut self, Accept { task, body, key }: &Accept, keys: &Keys) -> Option<Written> {
        if let Some(key) = key {
            let (fingerprint, id) = keys.get(&scope(key))?;
            if *id != task.id {
                let same = *fingerprint == key.fingerprint;
                return Some(if same { Written::Same(*id) } else { Written::Conflict });
            }
        }
        let message = Message::New(body.clone(), Some(self.now));
        self.entries.insert(task.id, Entry { task: task.clone(), new: true, changed: true, message });
        *self.accepted.entry(task.service.clone()).or_insert(0) += 1;
        Some(Written::Accepted(task.clone()))
    }

    fn apply(&mut self, id: Uuid, service: Option<&str>, fact: &Fact) -> Written {
        match self.entries.get_mut(&id) {
            Some(entry) if service.is_none_or(|service| *service == *entry.task.service) => {
                let change = entry.apply(fact, self.now);
                Written::Applied(entry.task.clone(), change)
            }
            _ => Written::NoTask(id),
        }
    }

    /// Applies [`Fact::Claimed`] to a task that is known; `None` if it is not to be run any more.
    pub(super) fn claim(&mut self, id: Uuid) -> Option<Task> {
        let entry = self.entries.get_mut(&id)?;
        let change = entry.apply(&Fact::Claimed, self.now);
        entry.message = if change.settled { Message::Gone } else { Message::Due(None) };
        (!change.settled).then(|| entry.task.clone())
    }
}

impl Entry {
    fn apply(&mut self, fact: &Fact, now: Millis) -> Change {
        let change = apply(&mut self.task, fact, now);
        self.changed |= change.changed;
        if change.settled {
            self.message = Message::Gone;
        } else if let Some(due) = change.due {
            match &mut self.message {
                Message::New(_, at) => *at = Some(due),
                Message::Gone => {}
                message => *message = Message::Due(Some(due)),
            }
        }
        change
    }
}

/// What a batch came to, column by column.
#[derive(Default)]
pub(super) struct Rows<'a> {
    inserts: Vec<Columns<'a>>,
    updates: Vec<Columns<'a>>,
    messages: Vec<Messages<'a>>,
    gone: Vec<Uuid>,
    due: (Vec<Uuid>, Vec<Option<Millis>>),
    counts: (Vec<Cow<'a, str>>, Vec<i64>),
}

#[derive(Default)]
struct Messages<'a> {
    id: Vec<Uuid>,
    service: Vec<Cow<'a, str>>,
    due: Vec<Option<Millis>>,
    body: Vec<&'a [u8]>,
}

/// The last of the chunks, or a new one where that is full.
fn chunk<'c, T: Default>(chunks: &'c mut Vec<T>, filled: &mut usize, size: usize) -> &'c mut T {
    if chunks.is_empty() || *filled > AT_ONCE {
        chunks.push(T::default());
        *filled = 0;
    }
    *filled += size;
    // One was pushed if there was none.
    chunks.last_mut().expect("there is one")
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a Batch) -> Self {
        let mut rows = Self::default();
        let (mut inserted, mut updated, mut sent) = (0, 0, 0);
        for Entry { task, new, changed, message } in batch.entries.values() {
            let size = task.result.as_ref().map_or(0, Bytes::len);
            if *new {
                chunk(&mut rows.inserts, &mut inserted, size).push(task);
            } else if *changed {
                chunk(&mut rows.updates, &mut updated, size).push(task);
            }
            match message {
                Message::New(body, due) => {
                    let messages = chunk(&mut rows.messages, &mut sent, body.len());
                    messages.id.push(task.id);
                    messages.service.push(escape(&task.service));
                    messages.due.push(*due);
                    messages.body.push(body);
                }
                Message::Due(due) => {
                    rows.due.0.push(task.id);
                    rows.due.1.push(*due);
                }
                Message::Gone if !new => rows.gone.push(task.id),
                Message::Gone | Message::Kept => {}
            }
        }
        for (service, count) in &batch.accepted {
            rows.counts.0.push(escape(service));
            rows.counts.1.push(*count);
        }
        rows
    }

    /// A message whose record is gone.
    pub(super) fn drop_message(&mut self, id: Uuid) {
        self.gone.push(id);
    }

    /// The statements that write it. Counts come last: they are what others wait for.
    pub(super) fn requests<'r>(&'r self, statements: &'r Writes, gateway: &'r Uuid, slot: &'r i64) -> Vec<Request<'r>> {
        let mut requests = Vec::new();
        for columns in &self.inserts {
            requests.push(Request(&statements.insert_tasks, columns.params().to_vec()));
        }
        for columns in &self.updates {
            requests.push(Request(&statements.update_tasks, columns.params().to_vec()));
        }
        for Messages { id, service, due, body } in &self.messages {
            requests.push(Request(&statements.insert_messages, vec![id, service, due, body, gateway]));
        }
        if !self.gone.is_empty() {
            requests.push(Request(&statements.delete_messages, vec![&self.gone]));
        }
        if !self.due.0.is_empty() {
            requests.push(Request(&statements.due_messages, vec![&self.due.0, &self.due.1]));
        }
        if !self.counts.0.is_empty() {
            requests.push(Request(&statements.count, vec![&self.counts.0, &self.counts.1, slot]));
        }
        requests
    }
}

/// One statement with its parameters.
pub(super) struct Request<'r>(pub(super) &'r Statement, pub(super) Vec<Param<'r>>);
