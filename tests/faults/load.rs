//! Open-loop load: arrivals come at their times, whatever became of those before.

use crate::{
    place::try_submit,
    support::{pause, until},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Clients that may wait for an answer at the same time. An outage that keeps all of them waiting makes those that
/// arrive meanwhile late; none is left out.
const CLIENTS: usize = 48;

/// How long a client goes on asking: longer than the long form.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);

/// Clients that submit, each task under an `Idempotency-Key` of its own, until it is accepted: what has no answer, or
/// one that says "later", is asked again.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Where the gateway is, or will be again: nobody else answers there.
    url: String,
    begun: Instant,
    every: Duration,
    next: AtomicU64,
    over: AtomicBool,
    told: Mutex<Told>,
}

/// What clients were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Keys and the tasks that they stand for.
    pub(crate) accepted: HashMap<String, String>,
    /// What no client should ever hear.
    pub(crate) wrong: Vec<String>,
    /// How often somebody had to ask again.
    pub(crate) again: u64,
}

impl Load {
    /// Begins with so many arrivals a second.
    pub(crate) fn begin(url: String, per_second: u32) -> Self {
        let shared = Arc::new(Shared {
            url,
            begun: Instant::now(),
            every: Duration::from_secs(1) / per_second,
            next: AtomicU64::new(0),
            over: AtomicBool::new(false),
            told: Mutex::default(),
        });
        let client = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.client())
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// How many were accepted by now.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.told.lock().unwrap().accepted.len()
    }

    /// Nobody arrives any more; waits until those who have are answered.
    pub(crate) fn end(self) -> Told {
        self.shared.over.store(true, SeqCst);
        for client in self.clients {
            client.join().unwrap();
        }
        std::mem::take(&mut *self.shared.told.lock().unwrap())
    }
}

impl Shared {
    fn client(&self) {
        loop {
            let number = self.next.fetch_add(1, SeqCst);
            let due = self.begun + self.every * u32::try_from(number).expect("a test is short");
            while Instant::now() < due {
                if self.over.load(SeqCst) {
                    return;
                }
                pause(5);
            }
            if self.over.load(SeqCst) {
                return;
            }
            let key = format!("key-{number}");
            let uuid = self.accepted(&key);
            self.told.lock().unwrap().accepted.insert(key.clone(), uuid.clone());
            // Some clients are not sure that they were answered.
            if number.is_multiple_of(8) {
                let same = self.accepted(&key);
                if same != uuid {
                    self.wrong(format!("{key} stands for {uuid} and for {same}"));
                }
            }
        }
    }

    /// Asks until the task is accepted.
    fn accepted(&self, key: &str) -> String {
        until(PATIENCE, &format!("{key} is accepted"), || {
            match try_submit(&self.url, key, &[]) {
                Ok(uuid) => return Some(uuid),
                Err(why) if ["400", "401", "404", "422", "500"].iter().any(|status| why.starts_with(status)) => {
                    self.wrong(format!("{key} was refused: {why}"));
                }
                Err(_) => {}
            }
            self.told.lock().unwrap().again += 1;
            pause(20);
            None
        })
    }

    fn wrong(&self, what: String) {
        self.told.lock().unwrap().wrong.push(what);
    }
}
