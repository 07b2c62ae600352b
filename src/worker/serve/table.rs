//! What a worker knows of its tasks: those it has, those that are revoked, those that wait with the broker.

use super::{copies::Run, lately::Lately};
use gateway_amqp::TaskReceipt;
use gateway_celery::{Message, serve::Request};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// As many revoked ids are kept, and so long: what Celery's workers keep.
const REVOKED: usize = 50_000;
const REVOKED_FOR: Duration = Duration::from_secs(3 * 3600);
/// As many tasks are known to be dealt with although the broker may not know it.
const DEALT_WITH: usize = 10_000;
const DEALT_WITH_FOR: Duration = Duration::from_secs(24 * 3600);
/// As many waiting tasks are told to those who ask.
const WAITING: usize = 1000;

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is here and was not begun.
    Reserved,
    /// It runs.
    Active,
    /// It goes round once more: a copy of it waits with the broker, or will.
    Leaving,
    /// Its result is with the broker; only its receipt is still to be given back.
    Done,
}

/// A task that this worker has.
#[derive(Debug)]
struct Entry<R> {
    shown: Shown,
    stage: Stage,
    /// Stops it.
    cancel: CancellationToken,
    /// Which message of the task it is.
    run: Run,
    /// Tells it from a later delivery of the same task.
    number: u64,
    /// Oldest first. Those of a connection that was lost are worth nothing, and harm nothing.
    receipts: Vec<R>,
}

/// A delivery that is attended to.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The task's id.
    pub(crate) id: String,
    /// What tells a message that was dealt with from a copy of it.
    run: Run,
    number: u64,
    /// Stops it.
    pub(crate) cancel: CancellationToken,
}

/// A task as those who ask are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) task: String,
    pub(crate) args: String,
    pub(crate) kwargs: String,
    pub(crate) routing_key: String,
    pub(crate) redelivered: bool,
    /// Seconds since 1970 (UTC), once it is begun.
    pub(crate) began: Option<f64>,
}

/// What became of a delivery.
pub(crate) enum Entered<R> {
    /// It is new: to be attended to.
    New(Held),
    /// It is here already: its receipt goes with the one that is here.
    Known,
    /// It was dealt with, only the broker did not hear of it.
    DealtWith(R),
}

struct Inner<R> {
    entries: HashMap<String, Entry<R>>,
    /// Receipts of those that are leaving, and whose copy is here already.
    left: HashMap<u64, Vec<R>>,
    numbers: u64,
    revoked: Lately<String>,
    dealt_with: Lately<(String, Run)>,
    waiting: VecDeque<(i64, Shown)>,
    totals: BTreeMap<String, u64>,
    processed: u64,
}

impl<R> Inner<R> {
    fn entry(&mut self, held: &Held) -> Option<&mut Entry<R>> {
        self.entries.get_mut(&held.id).filter(|entry| entry.number == held.number)
    }

    fn forget(&mut self, held: &Held) {
        self.left.remove(&held.number);
        if self.entry(held).is_some() {
            self.entries.remove(&held.id);
        }
    }
}

impl Shown {
    pub(crate) fn new(request: &Request, routing_key: &str, redelivered: bool) -> Self {
        Self {
            id: request.id.clone(),
            task: request.task.clone(),
            args: request.shown.0.clone(),
            kwargs: request.shown.1.clone(),
            routing_key: routing_key.to_owned(),
            redelivered,
            began: None,
        }
    }
}

/// All of it. Nothing is done under its lock but looking and changing.
pub(crate) struct Table<R = TaskReceipt>(Mutex<Inner<R>>);

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            entries: HashMap::new(),
            left: HashMap::new(),
            numbers: 0,
            revoked: Lately::default(),
            dealt_with: Lately::default(),
            waiting: VecDeque::new(),
            totals: BTreeMap::new(),
            processed: 0,
        }))
    }
}

impl<R> Table<R> {
    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        // Whole even if a holder panicked: each change is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task was delivered.
    ///
    /// What is delivered again while it is here lost its connection, or was sent twice: neither is run twice. Only the copy
    /// of one that is leaving is new.
    pub(crate) fn enter(&self, request: &Request, message: &Message, redelivered: bool, receipt: R) -> Entered<R> {
        let mut inner = self.lock();
        let run = Run::of(request, message);
        if let Some(entry) = inner.entries.get_mut(&request.id)
            && (entry.stage != Stage::Leaving || run <= entry.run)
        {
            entry.receipts.push(receipt);
            return Entered::Known;
        }
        if redelivered && inner.dealt_with.take(&(request.id.clone(), run)) {
            return Entered::DealtWith(receipt);
        }
        inner.waiting.retain(|(_, waits)| waits.id != request.id);
        inner.numbers += 1;
        let held = Held { id: request.id.clone(), run, number: inner.numbers, cancel: CancellationToken::new() };
        let entry = Entry {
            shown: Shown::new(request, &message.routing_key, redelivered),
            stage: Stage::Reserved,
            cancel: held.cancel.clone(),
            run,
            number: held.number,
            receipts: vec![receipt],
        };
        if let Some(left) = inner.entries.insert(request.id.clone(), entry) {
            inner.left.insert(left.number, left.receipts);
        }
        Entered::New(held)
    }

    /// It begins; `now` in seconds since 1970.
    pub(crate) fn begin(&self, held: &Held, now: f64) {
        let mut inner = self.lock();
        inner.processed += 1;
        let Some(entry) = inner.entry(held) else { return };
        (entry.stage, entry.shown.began) = (Stage::Active, Some(now));
        let task = entry.shown.task.clone();
        *inner.totals.entry(task).or_default() += 1;
    }

    /// It is done, or leaves.
    pub(crate) fn stage(&self, held: &Held, stage: Stage) {
        if let Some(entry) = self.lock().entry(held) {
            entry.stage = stage;
        }
    }

    /// The oldest receipt that was not given back yet. With the last the task is forgotten: it goes to others.
    pub(crate) fn receipt(&self, held: &Held) -> Option<R> {
        let mut inner = self.lock();
        let receipts = match inner.entry(held) {
            Some(entry) => Some(&mut entry.receipts),
            None => inner.left.get_mut(&held.number),
        };
        let receipt = receipts.filter(|receipts| !receipts.is_empty()).map(|receipts| receipts.remove(0));
        if receipt.is_none() {
            inner.forget(held);
        }
        receipt
    }

    /// Should the broker give it out again, there is nothing to be done for it.
    pub(crate) fn deal_with(&self, held: &Held) {
        self.lock().dealt_with.put((held.id.clone(), held.run), DEALT_WITH, DEALT_WITH_FOR);
    }

    /// Notes revoked tasks.
    pub(crate) fn revoke(&self, ids: impl IntoIterator<Item = String>) {
        let mut inner = self.lock();
        for id in ids {
            inner.revoked.put(id, REVOKED, REVOKED_FOR);
        }
    }

    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        self.lock().revoked.holds(id)
    }

    pub(crate) fn revoked(&self) -> Vec<String> {
        self.lock().revoked.all()
    }

    /// Stops those of these tasks that are here; gives their ids.
    pub(crate) fn terminate(&self, ids: &[String]) -> Vec<String> {
        let inner = self.lock();
        let here = ids.iter().filter(|id| match inner.entries.get(*id) {
            Some(entry) if matches!(entry.stage, Stage::Reserved | Stage::Active) => {
                entry.cancel.cancel();
                true
            }
            _ => false,
        });
        here.cloned().collect()
    }

    /// A task lies with the broker until `due` (milliseconds since 1970).
    pub(crate) fn wait(&self, due: i64, shown: Shown, now: i64) {
        let mut inner = self.lock();
        inner.waiting.retain(|(due, known)| *due > now && known.id != shown.id);
        if inner.waiting.len() == WAITING {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back((due, shown));
    }

    /// Those that wait, and until when.
    pub(crate) fn waiting(&self, now: i64) -> Vec<(i64, Shown)> {
        let mut inner = self.lock();
        inner.waiting.retain(|(due, _)| *due > now);
        inner.waiting.iter().cloned().collect()
    }

    pub(crate) fn at(&self, stage: Stage) -> Vec<Shown> {
        let inner = self.lock();
        inner.entries.values().filter(|entry| entry.stage == stage).map(|entry| entry.shown.clone()).collect()
    }

    pub(crate) fn get(&self, id: &str) -> Option<(Stage, Shown)> {
        self.lock().entries.get(id).map(|entry| (entry.stage, entry.shown.clone()))
    }

    pub(crate) fn active(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.stage == Stage::Active).count()
    }

    pub(crate) fn processed(&self) -> u64 {
        self.lock().processed
    }

    /// Begun so far, by task.
    pub(crate) fn totals(&self) -> BTreeMap<String, u64> {
        self.lock().totals.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::copies, *};
    use gateway_celery::{Call, Protocol};
    use uuid::Uuid;

    /// A task's message, and the copy of it.
    fn messages() -> (Message, Message) {
        let call = Call::new(Uuid::from_u128(7), "worker.stub", "stub", "replies", "gateway@host");
        let message = call.message(Protocol::Two, call.body(Protocol::Two, &serde_json::json!({})));
        let copy = copies::copy(&message, 0, 0, None).unwrap();
        (message, copy)
    }

    fn enter(table: &Table<u8>, message: &Message, redelivered: bool, receipt: u8) -> Entered<u8> {
        table.enter(&Request::read(message, 1000).unwrap(), message, redelivered, receipt)
    }

    #[test]
    fn a_copy_is_acknowledged_for_itself_however_it_comes() {
        for redelivered in [false, true] {
            let (table, (message, copy)) = (Table::default(), messages());
            let Entered::New(first) = enter(&table, &message, false, 1) else { panic!("it is new") };
            assert!(matches!(enter(&table, &message, true, 2), Entered::Known));
            table.stage(&first, Stage::Leaving);
            let Entered::New(second) = enter(&table, &copy, redelivered, 3) else { panic!("another message") };
            assert!(matches!(enter(&table, &copy, true, 4), Entered::Known));
            let all = |held| std::iter::from_fn(|| table.receipt(held)).collect::<Vec<_>>();
            assert_eq!((all(&first), all(&second)), (vec![1, 2], vec![3, 4]));
            // The broker did not hear the first: what comes again of it is done with, and the copy is not.
            table.deal_with(&first);
            let Entered::New(second) = enter(&table, &copy, true, 5) else { panic!("it was not done") };
            assert_eq!(all(&second), [5]);
            assert!(matches!(enter(&table, &message, true, 6), Entered::DealtWith(6)));
        }
    }

    #[test]
    fn only_what_still_waits_is_told_and_only_so_much() {
        let table = Table::<()>::default();
        let shown = |n: usize| Shown {
            id: n.to_string(),
            task: "t".into(),
            args: String::new(),
            kwargs: String::new(),
            routing_key: String::new(),
            redelivered: false,
            began: None,
        };
        for n in 0..WAITING + 2 {
            table.wait(100 + n as i64, shown(n), 0);
        }
        table.wait(5000, shown(7), 0);
        let waiting = table.waiting(0);
        assert_eq!(waiting.len(), WAITING);
        assert_eq!(waiting.last().map(|(due, shown)| (*due, shown.id.as_str())), Some((5000, "7")));
        assert_eq!(table.waiting(4000).len(), 1);
    }
}
