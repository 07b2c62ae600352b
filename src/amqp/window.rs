//! What was given to the broker and has not been answered yet.

use crate::publication::{Fate, Job, Outcome, Settled};
use gateway_celery::Message;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

/// Channels of the publishing connection.
pub(crate) const LANES: usize = 2;

/// A publication in the air.
pub(crate) struct Flight {
    pub(crate) id: Uuid,
    pub(crate) lane: usize,
    pub(crate) size: usize,
    pub(crate) exchange: String,
    pub(crate) queue: String,
    attempt: u32,
    since: Instant,
    /// Gone once the outcome is told: the flight goes on (its confirm must be waited for), but nobody asks any more.
    permit: Option<OwnedSemaphorePermit>,
}

/// All flights, by number. Numbers grow, so the first is the oldest.
pub(crate) struct Window {
    flights: BTreeMap<u64, Flight>,
    on: [usize; LANES],
    deadlines: VecDeque<(Instant, u64)>,
    next: u64,
    outcomes: mpsc::Sender<Settled>,
    patience: Duration,
}

impl Window {
    pub(crate) fn new(outcomes: mpsc::Sender<Settled>, patience: Duration) -> Self {
        Self { flights: BTreeMap::new(), on: [0; LANES], deadlines: VecDeque::new(), next: 0, outcomes, patience }
    }

    /// Takes a job into the air on a lane (below [`LANES`]); gives its number and the message to be sent.
    pub(crate) fn enter(&mut self, job: Job, lane: usize) -> (u64, Message) {
        let (number, message) = (self.next, job.publication.message);
        self.next += 1;
        let flight = Flight {
            id: job.publication.id,
            lane,
            size: message.body.len(),
            exchange: message.exchange.clone(),
            queue: message.routing_key.clone(),
            attempt: job.publication.attempt,
            since: job.since,
            permit: Some(job.permit),
        };
        self.deadlines.push_back((job.since + self.patience, number));
        self.flights.insert(number, flight);
        self.on[lane] += 1;
        (number, message)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Flight> {
        self.flights.get(&number)
    }

    /// How many are in the air on a lane.
    pub(crate) fn on(&self, lane: usize) -> usize {
        self.on[lane]
    }

    /// Does anybody still wait for an outcome?
    pub(crate) fn is_settled(&self) -> bool {
        self.flights.values().all(|flight| flight.permit.is_none())
    }

    /// How long the oldest has been in the air.
    pub(crate) fn age(&self) -> Duration {
        self.flights.first_key_value().map_or(Duration::ZERO, |(_, flight)| flight.since.elapsed())
    }

    /// A flight has landed: its outcome is told, unless it was told before.
    pub(crate) fn settle(&mut self, number: u64, fate: Fate) {
        if let Some(mut flight) = self.flights.remove(&number) {
            self.on[flight.lane] -= 1;
            tell(&self.outcomes, &mut flight, fate);
        }
    }

    /// A job that is not taken into the air.
    pub(crate) fn turn_away(&self, job: Job, fate: Fate) {
        let outcome = Outcome { id: job.publication.id, attempt: job.publication.attempt, fate };
        send(&self.outcomes, Settled { outcome, permit: job.permit });
    }

    /// Tells the outcome of those whose time is over; gives their numbers. They stay in the air.
    pub(crate) fn expire(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let mut over = Vec::new();
        while let Some((_, number)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            if let Some(flight) = self.flights.get_mut(&number)
                && flight.permit.is_some()
            {
                let why = format!("the broker did not confirm it within {:?}", self.patience);
                tell(&self.outcomes, flight, Fate::Unknown(why));
                over.push(number);
            }
        }
        over
    }

    /// The broker has begun to read again: everything in the air has all its time before it.
    pub(crate) fn be_patient(&mut self) {
        let now = Instant::now();
        self.deadlines.iter_mut().for_each(|(deadline, _)| *deadline = now + self.patience);
        self.flights.values_mut().for_each(|flight| flight.since = now);
    }

    /// Nothing in the air will land any more.
    pub(crate) fn crash(&mut self, why: &str) {
        self.deadlines.clear();
        self.on = [0; LANES];
        for (_, mut flight) in std::mem::take(&mut self.flights) {
            tell(&self.outcomes, &mut flight, Fate::Unknown(why.to_owned()));
        }
    }
}

fn tell(outcomes: &mpsc::Sender<Settled>, flight: &mut Flight, fate: Fate) {
    if let Some(permit) = flight.permit.take() {
        let outcome = Outcome { id: flight.id, attempt: flight.attempt, fate };
        send(outcomes, Settled { outcome, permit });
    }
}

/// There is room for every permit, and what is sent holds one: it fails only if nobody reads outcomes any more.
fn send(outcomes: &mpsc::Sender<Settled>, settled: Settled) {
    if outcomes.try_send(settled).is_err() {
        tracing::debug!("an outcome was not read: its reader is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publication::{Outcomes, Publication};
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn job(n: u128, permits: &Arc<Semaphore>) -> Job {
        let id = Uuid::from_u128(n);
        let call = gateway_celery::Call::new(id, "t", "q", "r", "o");
        let message = call.message(gateway_celery::Protocol::Two, bytes::Bytes::new());
        let permit = permits.clone().try_acquire_owned().expect("a permit");
        Job { publication: Publication { id, attempt: 1, message }, since: Instant::now(), permit }
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_exactly_one_outcome_and_its_permit_comes_back() {
        let permits = Arc::new(Semaphore::new(4));
        let (tx, rx) = mpsc::channel(4);
        let mut outcomes = Outcomes(rx);
        let mut window = Window::new(tx, Duration::from_secs(5));
        let (late, _) = window.enter(job(1, &permits), 0);
        tokio::time::advance(Duration::from_secs(3)).await;
        let (good, _) = window.enter(job(2, &permits), 1);
        window.turn_away(job(3, &permits), Fate::Unsent("no".into()));
        window.settle(good, Fate::Sent);
        assert!(window.expire().is_empty());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(window.expire(), [late]);
        assert_eq!((window.on(0), window.on(1), window.is_settled()), (1, 0, true));
        assert_eq!(window.age(), Duration::from_secs(5));
        window.settle(late, Fate::Sent);
        window.enter(job(4, &permits), 0);
        window.crash("lost");
        assert_eq!(permits.available_permits(), 0);
        let mut fates = Vec::new();
        while let Some(outcome) = outcomes.try_recv() {
            fates.push((outcome.id.as_u128(), outcome.fate));
        }
        let late = Fate::Unknown("the broker did not confirm it within 5s".into());
        let expected = [(3, Fate::Unsent("no".into())), (2, Fate::Sent), (1, late), (4, Fate::Unknown("lost".into()))];
        assert_eq!(fates, expected);
        assert_eq!((permits.available_permits(), window.age()), (4, Duration::ZERO));
    }
}
