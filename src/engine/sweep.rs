//! Sees to it that no task is open for ever and nothing is kept for ever.

use super::{Cache, Mailbox, Stopped, now};
use crate::{
    broker::{Broker, Receipt, SILENT},
    store::{Jump, Keep, Store, Swept},
};
use gateway_life::{Delivery, Fact, KEY_KEPT, Millis, Task};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often.
const PAUSE: Duration = Duration::from_secs(5);
/// How much at once: small steps do not hold up submissions.
const AT_ONCE: usize = 256;
/// How soon the next step comes where there was more than that: in between, submissions have the store for themselves.
const MORE: Duration = Duration::from_millis(100);
/// How long it waits until what it told is written.
const WRITTEN: Duration = Duration::from_secs(10);

/// Sweeps until `shutdown`.
pub async fn sweep(
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    mailbox: Mailbox,
    cache: Arc<Cache>,
    keep: Keep,
    shutdown: CancellationToken,
) {
    let usual = PAUSE.min(Duration::from_millis((keep.results.min(keep.silence) / 4).max(250) as u64));
    let sweeping = async {
        let (mut after, mut pause, mut clock) = (Uuid::nil(), usual, Clock::new(now(), Instant::now()));
        loop {
            sleep(pause).await;
            let at = now();
            let mended = clock.mend(&keep, at, Instant::now());
            // Looked at when half of it is over: what waits in its queue must have time left when a worker takes it.
            let silence = mended.silence;
            let looked_at = Keep { silence: silence / 2, ..mended };
            match store.sweep(at, looked_at, after, AT_ONCE).await {
                Ok(swept) => {
                    let more =
                        [swept.facts.len(), swept.silent.len(), swept.deleted.len()].iter().any(|n| *n >= AT_ONCE);
                    pause = if more { MORE } else { usual };
                    after = swept.next;
                    cache.forget(&swept.deleted);
                    if tell(swept, &*broker, &mailbox, at - silence, &keep).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    pause = usual;
                    tracing::warn!(%error, "the sweep did not finish; it is tried again");
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sweeping => {}
    }
}

/// Tells the engine, and waits until the last of it is written: the next step must not find the same again.
async fn tell(
    swept: Swept,
    broker: &dyn Broker,
    mailbox: &Mailbox,
    heard_since: Millis,
    keep: &Keep,
) -> Result<(), Stopped> {
    let mut facts = swept.facts;
    facts.retain(|(id, _)| !swept.deleted.contains(id));
    // One answer is for all of a service's tasks: there may be many.
    let mut judged = HashMap::<_, Option<String>>::new();
    for task in swept.silent {
        let hopeless = match (task.state.is_running(), task.delivery == Delivery::Settled) {
            (true, _) => Some(SILENT.to_owned()),
            // It waits for its first run, or for the next one: no worker has anything to say of it.
            (false, sent) => match judged.entry((task.service.clone(), sent)) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => new.insert(broker.hopeless(&task).await).clone(),
            },
        };
        facts.extend(overdue(&task, hopeless, heard_since, keep).map(|fact| (task.id, fact)));
    }
    let last = facts.pop();
    for (id, fact) in facts {
        mailbox.heard(id, fact, None).await?;
    }
    if let Some((id, fact)) = last {
        let (sender, written) = oneshot::channel();
        mailbox.heard(id, fact, Some(Receipt::Slot(sender))).await?;
        // What is not written for long is found again; and the records deleted meanwhile make room for it.
        let _ = timeout(WRITTEN, written).await;
    }
    Ok(())
}

/// Waiting in a queue that exists is a sign of life.
fn overdue(task: &Task, hopeless: Option<String>, heard_since: Millis, keep: &Keep) -> Option<Fact> {
    let Some(why) = hopeless else { return Some(Fact::Waits) };
    if task.heard >= heard_since {
        return None;
    }
    let why = format!("{why} for {} s (store.task_timeout)", keep.silence / 1000);
    Some(Fact::Overdue { heard: task.heard, why: why.into() })
}

/// Notices when the clock is set forward: what was written before is not older for that, and must not be taken for it.
/// When it is set back, that mends what it was set forward too far; beyond, everything is kept for longer, which harms
/// nobody. (A machine that slept was set forward too: nothing could happen meanwhile.)
struct Clock {
    wall: Millis,
    steady: Instant,
    /// How it was set forward, and when.
    jumps: Vec<(Jump, Instant)>,
}

impl Clock {
    /// A difference that is no mere correction.
    const JUMP: Millis = 60_000;
    /// Those remembered: of a laptop's naps, what may happen while one task runs.
    const JUMPS: usize = 64;

    fn new(wall: Millis, steady: Instant) -> Self {
        Self { wall, steady, jumps: Vec::new() }
    }

    /// How long what is kept, by the clock of now. A time that is not over since the clock was set began before that,
    /// by the clock of then.
    fn mend(&mut self, keep: &Keep, wall: Millis, steady: Instant) -> Keep {
        let passed = |since: Instant| Millis::try_from((steady - since).as_millis()).unwrap_or(Millis::MAX);
        let from = self.wall.saturating_add(passed(self.steady));
        let ahead = wall.saturating_sub(from);
        (self.wall, self.steady) = (wall, steady);
        if ahead > Self::JUMP {
            tracing::warn!(seconds = ahead / 1000, "the clock was set forward: nothing is over its time for that");
            self.jumps.push((Jump { from, ahead }, steady));
            self.jumps.drain(..self.jumps.len().saturating_sub(Self::JUMPS));
        } else if ahead < -Self::JUMP {
            self.set_back(-ahead);
        }
        let mended = |time: Millis| {
            let since = self.jumps.iter().filter(|(_, since)| passed(*since) < time);
            since.fold(time, |time, (jump, _)| time.saturating_add(jump.ahead))
        };
        Keep {
            results: mended(keep.results),
            records: mended(keep.records),
            silence: mended(keep.silence),
            keys: mended(KEY_KEPT) - KEY_KEPT,
            jumps: self.jumps.iter().map(|(jump, _)| *jump).collect(),
        }
    }

    /// The last jumps went too far, by so much in all.
    fn set_back(&mut self, mut by: Millis) {
        for (jump, _) in self.jumps.iter_mut().rev() {
            let undone = jump.ahead.min(by);
            jump.ahead -= undone;
            by -= undone;
        }
        self.jumps.retain(|(jump, _)| jump.ahead > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::{Queued, Reload},
        engine::mailbox,
        setup::StartError,
        store::StoreError,
    };
    use gateway_contract::{BoxFuture, Part};
    use gateway_life::{Cause, Input, Publish, Raised, Report, Source, State, apply};

    /// Its queues are there, and never empty.
    struct Busy;

    impl Broker for Busy {
        fn begin(&self) -> BoxFuture<Result<(), StoreError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn publish(&self, _: Publish) {}

        fn due(&self, _: &Arc<str>, _: Millis) {}

        fn revoke(&self, _: Uuid, _: &Arc<str>) {}

        fn workers(&self, _: &str) -> BoxFuture<Option<u32>> {
            Box::pin(std::future::ready(None))
        }

        fn queued(&self, _: &str) -> BoxFuture<Option<Queued>> {
            Box::pin(std::future::ready(None))
        }

        fn hopeless(&self, _: &Task) -> BoxFuture<Option<String>> {
            Box::pin(std::future::ready(None))
        }

        fn prepare(&self, _: Reload) -> Result<BoxFuture<()>, StartError> {
            Ok(self.close())
        }

        fn parts(&self) -> Vec<Part> {
            Vec::new()
        }

        fn close(&self) -> BoxFuture<()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_next_run_is_not_silent() {
        let (mailbox, mut letters) = mailbox();
        let keep = Keep { results: 1_000, records: 1_000, silence: 1_000, keys: 0, jumps: Vec::new() };
        let started = Fact::Heard(Report::new(State::Started, Source::Slot));
        let failed = Fact::Requeued { due: 60_000, why: Raised::new("ValueError", "no"), cause: Cause::Failed };
        let task = |facts: &[&Fact]| {
            let mut task = Task::new(Uuid::now_v7(), "s", 0);
            for fact in facts {
                apply(&mut task, fact, 0);
            }
            task
        };
        let silent = vec![task(&[&started]), task(&[&started, &failed])];
        let ids: Vec<_> = silent.iter().map(|task| task.id).collect();
        tell(Swept { silent, ..Swept::default() }, &Busy, &mailbox, 5_000, &keep).await.expect("an engine");
        let mut told = Vec::new();
        while let Ok(Input::Heard(heard)) = letters.0.try_recv() {
            told.push((heard.id, heard.fact));
        }
        assert!(matches!(&told[0], (id, Fact::Overdue { .. }) if *id == ids[0]), "{told:?}");
        assert_eq!(told[1], (ids[1], Fact::Waits));
    }

    #[test]
    fn what_was_written_before_the_clock_was_set_is_not_older_for_that() {
        const HOUR: Millis = 3_600_000;
        let keep = &Keep { results: 2 * HOUR, records: 720 * HOUR, silence: 24 * HOUR, keys: 0, jumps: Vec::new() };
        let start = Instant::now();
        let hours = |n: u64| start + Duration::from_secs(n * 3600);
        let mut clock = Clock::new(0, start);
        let times = |keep: &Keep| [keep.results, keep.records, keep.silence].map(|time| (time + HOUR / 2) / HOUR);
        assert_eq!(times(&clock.mend(keep, HOUR + 5_000, hours(1))), [2, 720, 24], "it is never quite exact");
        // A day forward, within an hour.
        let mended = clock.mend(keep, 26 * HOUR, hours(2));
        assert_eq!(times(&mended), [26, 744, 48]);
        assert_eq!((mended.keys + HOUR / 2) / HOUR, 24);
        let jump = mended.jumps[0];
        assert_eq!((jump.from + jump.ahead, (jump.ahead + HOUR / 2) / HOUR), (26 * HOUR, 24));
        assert_eq!(times(&clock.mend(keep, 27 * HOUR, hours(3))), [26, 744, 48]);
        assert_eq!(times(&clock.mend(keep, 28 * HOUR, hours(4))), [2, 744, 48], "all of it was written since");
        let mended = clock.mend(keep, 50 * HOUR, hours(26));
        assert_eq!((times(&mended), mended.keys), ([2, 744, 24], 0));
        // And back: what was written before is as old as it was, the rest is kept for longer.
        let mended = clock.mend(keep, 0, hours(27));
        assert_eq!((times(&mended), mended.jumps), ([2, 720, 24], Vec::new()));
    }

    #[test]
    fn each_time_the_clock_was_set_counts_for_what_began_before_that() {
        const HOUR: Millis = 3_600_000;
        let keep = &Keep { results: 24 * HOUR, records: 720 * HOUR, silence: 24 * HOUR, keys: 0, jumps: Vec::new() };
        let start = Instant::now();
        let hours = |n: u64| start + Duration::from_secs(n * 3600);
        let mut clock = Clock::new(0, start);
        // A laptop that sleeps for eight hours each night, and whose steady clock sleeps too.
        for night in 0..100 {
            let mended = clock.mend(keep, 24 * HOUR * night + 16 * HOUR, hours(16 * night as u64 + 16));
            assert_eq!(mended.results, (24 + 8 * night.min(1)) * HOUR, "a night and a day of sixteen hours");
            let mended = clock.mend(keep, 24 * HOUR * (night + 1), hours(16 * night as u64 + 16));
            assert_eq!(mended.results, (24 + 8 * (night + 1).min(2)) * HOUR);
            let last = Jump { from: 24 * HOUR * night + 16 * HOUR, ahead: 8 * HOUR };
            assert_eq!((mended.jumps.last(), mended.jumps.len()), (Some(&last), (night as usize + 1).min(64)));
        }
    }

    #[test]
    fn a_clock_that_is_set_right_again_delays_nothing() {
        const HOUR: Millis = 3_600_000;
        let keep = &Keep { results: HOUR, records: HOUR, silence: HOUR, keys: 0, jumps: Vec::new() };
        let start = Instant::now();
        let minutes = |n: u64| start + Duration::from_secs(n * 60);
        let mut clock = Clock::new(0, start);
        assert_eq!(clock.mend(keep, 24 * HOUR, minutes(0)).jumps, [Jump { from: 0, ahead: 24 * HOUR }]);
        assert_eq!(clock.mend(keep, 25 * HOUR, minutes(0)).jumps.len(), 2);
        // Not quite.
        let jumps = clock.mend(keep, 2 * HOUR + 300_000, minutes(5)).jumps;
        assert_eq!(jumps, [Jump { from: 0, ahead: 2 * HOUR }]);
        let mended = clock.mend(keep, 600_000, minutes(10));
        assert_eq!((mended.results, mended.jumps), (HOUR, Vec::new()));
    }
}
