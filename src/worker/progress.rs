//! What programs say about how far they are.

use crate::Event;
use regex::Regex;
use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// At most one event in this time.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the last event waits for room in the receiver's queue.
const LAST: Duration = Duration::from_secs(5);
/// Below every progress: nothing was told yet.
const NOTHING: f64 = -1.0;

/// The way that every program may use.
static COMMON: LazyLock<Regex> = LazyLock::new(|| {
    // A constant expression: the tests below compile it.
    Regex::new(r"(?i)^\s*progress:\s*(\d{1,3}(?:\.\d{1,15})?)\s*%?\s*$").expect("the expression is valid")
});

/// What is wrong with an expression, if anything.
pub(crate) fn fault(expression: &Regex) -> Option<String> {
    match expression.captures_len() - 1 {
        1 | 2 => None,
        groups => Some(format!(
            "progress needs one group (per cent) or two (done, total), and {:?} has {groups}",
            expression.as_str()
        )),
    }
}

/// Hears progress from standard output and standard error, and passes it on as events: rising, and not too often.
pub(crate) struct Progress {
    expression: Option<Regex>,
    /// What a line said that told a total alone: a length that is known before the work begins.
    total: Mutex<Option<f64>>,
    latest: watch::Sender<f64>,
}

/// What a line means to an expression.
enum Heard {
    /// So far, in per cent.
    Done(f64),
    /// So much there is to do.
    Total(f64),
}

impl Progress {
    pub(crate) fn new(expression: Option<Regex>) -> Self {
        Self { expression, total: Mutex::default(), latest: watch::Sender::new(NOTHING) }
    }

    /// Whether lines of standard output can be progress at all.
    pub(crate) fn listens_to_output(&self) -> bool {
        self.expression.is_some()
    }

    /// Takes a line of standard error; says whether it was progress.
    pub(crate) fn hear_error(&self, line: &str) -> bool {
        let own = self.expression.as_ref().and_then(|expression| self.meaning(&expression.captures(line)?));
        let heard = own.or_else(|| self.meaning(&COMMON.captures(line)?));
        self.take(heard)
    }

    /// Takes a line of standard output; says whether it was progress, and so not part of the result.
    pub(crate) fn hear_output(&self, line: &str) -> bool {
        let captures = self.expression.as_ref().and_then(|expression| expression.captures(line));
        let whole = captures.filter(|captures| captures[0].len() == line.len());
        self.take(whole.and_then(|captures| self.meaning(&captures)))
    }

    /// What the groups say; nothing if that is not between 0 and 100 per cent.
    fn meaning(&self, captures: &regex::Captures<'_>) -> Option<Heard> {
        let group = |number| captures.get(number).map(|group| quantity(group.as_str()));
        let done = match (group(1), group(2)) {
            (Some(done), None) if captures.len() == 2 => done?,
            // Of what was told before; the last steps of a program may go a little beyond the total that it told.
            (Some(done), None) => (100.0 * done? / self.told_total()?).min(100.0),
            (Some(done), Some(total)) => 100.0 * done? / total?,
            (None, Some(total)) => return Some(Heard::Total(total.filter(|total| *total > 0.0)?)),
            (None, None) => return None,
        };
        (0.0..=100.0).contains(&done).then_some(Heard::Done(done))
    }

    fn told_total(&self) -> Option<f64> {
        // A number is whole whatever happened to who held the lock.
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, heard: Option<Heard>) -> bool {
        match heard {
            Some(Heard::Done(done)) => self.rise(done),
            Some(Heard::Total(total)) => *self.total.lock().unwrap_or_else(PoisonError::into_inner) = Some(total),
            None => return false,
        }
        true
    }

    /// It is so far, in per cent; less than before, or beyond the bounds, changes nothing.
    pub(crate) fn rise(&self, done: f64) {
        if !(0.0..=100.0).contains(&done) {
            return;
        }
        self.latest.send_if_modified(|latest| {
            let rises = done > *latest;
            if rises {
                *latest = done;
            }
            rises
        });
    }

    /// Sends events until `finished`, and then the last one if it was not sent yet.
    pub(crate) async fn forward(&self, events: &mpsc::Sender<Event>, finished: &CancellationToken) {
        let mut latest = self.latest.subscribe();
        let mut sent = NOTHING;
        loop {
            select! {
                biased;
                () = finished.cancelled() => break,
                // The sender is ours: it is not closed.
                _ = latest.changed() => {}
            }
            let done = *latest.borrow_and_update();
            select! {
                biased;
                // A receiver that is gone wants no events.
                _ = events.send(Event::Progress { done }) => sent = done,
                () = finished.cancelled() => break,
            }
            select! {
                biased;
                () = finished.cancelled() => break,
                () = sleep(INTERVAL) => {}
            }
        }
        let done = *latest.borrow();
        if done > sent && timeout(LAST, events.send(Event::Progress { done })).await.is_err() {
            tracing::debug!("nobody took the last progress of a task");
        }
    }
}

/// A number, or a time as clocks show it (`1:02:03.5`, `02:03`), in seconds.
fn quantity(text: &str) -> Option<f64> {
    let parts: Vec<f64> = text.trim().split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (parts.len() <= 3).then(|| parts.iter().fold(0.0, |sum, part| 60.0 * sum + part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heard(progress: &Progress, line: &str) -> Option<f64> {
        let before = progress.latest.send_replace(NOTHING);
        assert_eq!(before, NOTHING);
        let was = progress.hear_error(line);
        let latest = progress.latest.send_replace(NOTHING);
        assert_eq!(was, latest != NOTHING, "{line}");
        was.then_some(latest)
    }

    #[test]
    fn the_common_way() {
        let progress = Progress::new(None);
        for (line, done) in [
            ("progress: 0", Some(0.0)),
            ("progress: 42", Some(42.0)),
            ("  Progress:12.5 % ", Some(12.5)),
            ("progress: 100", Some(100.0)),
            ("progress: 101", None),
            ("progress: -1", None),
            ("progress: nan", None),
            ("progress: 1e1", None),
            ("my progress: 5", None),
            ("progress: 5 of 10", None),
            ("progress:", None),
        ] {
            assert_eq!(heard(&progress, line), done, "{line}");
        }
        assert!(!progress.hear_output("progress: 5"), "standard output is the result");
    }

    #[test]
    fn a_programs_own_way() {
        let one = Progress::new(Some(Regex::new(r"(\d+)%").unwrap()));
        assert_eq!(heard(&one, "done 7% of it"), Some(7.0));
        assert_eq!(heard(&one, "progress: 8"), Some(8.0));
        assert_eq!(heard(&one, "700%"), None);
        assert!(one.hear_output("9%"));
        assert!(!one.hear_output("accuracy: 95%"));
        let two = Progress::new(Some(Regex::new(r"frame (\d+)(?: of (\d+))?").unwrap()));
        assert_eq!(heard(&two, "frame 1 of 4"), Some(25.0));
        assert_eq!(heard(&two, "frame 1 of 0"), None);
        assert_eq!(heard(&two, "frame 0 of 0"), None);
        assert_eq!(heard(&two, "frame 1"), None);
    }

    #[test]
    fn a_total_that_is_told_before() {
        let ffmpeg = Progress::new(Some(Regex::new(r"time=([\d:.]+)|Duration: ([\d:.]+)").unwrap()));
        assert_eq!(heard(&ffmpeg, "size= 1kB time=00:00:01.00 bitrate=64.4kbits/s"), None, "of what?");
        assert!(ffmpeg.hear_error("  Duration: 00:02:05.00, start: 0.000000, bitrate: 256 kb/s"));
        for (line, done) in [
            ("size= 1kB time=00:00:12.50 bitrate=64.4kbits/s", Some(10.0)),
            ("time=1:40", Some(80.0)),
            ("time=00:02:05.04", Some(100.0)),
            ("time=::", None),
            ("time=0:0:0:1", None),
            ("time=N/A", None),
            ("Duration: 0", None),
        ] {
            assert_eq!(heard(&ffmpeg, line), done, "{line}");
        }
        assert!(ffmpeg.hear_output("Duration: 10") && !ffmpeg.hear_output("Duration: 10 s"));
        assert_eq!(heard(&ffmpeg, "time=5"), Some(50.0));
    }

    #[tokio::test(start_paused = true)]
    async fn rises_and_is_rare_and_the_last_one_comes() {
        let progress = Progress::new(None);
        let (events, mut received) = mpsc::channel(100);
        let finished = CancellationToken::new();
        let start = tokio::time::Instant::now();
        let speak = async {
            for n in 0..=100 {
                progress.hear_error(&format!("progress: {n}"));
                progress.hear_error("progress: 0");
                sleep(Duration::from_millis(10)).await;
            }
            finished.cancel();
        };
        tokio::join!(speak, progress.forward(&events, &finished));
        let seconds = start.elapsed().as_secs_f64();
        drop(events);
        let mut told = Vec::new();
        while let Some(Event::Progress { done }) = received.recv().await {
            told.push(done);
        }
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&100.0));
        assert!(told.len() > 3 && told.len() as f64 <= seconds * 5.0 + 2.0, "{told:?} in {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_does_not_listen_holds_nobody_for_long() {
        let progress = Progress::new(None);
        let (events, _received) = mpsc::channel(1);
        let finished = CancellationToken::new();
        progress.hear_error("progress: 1");
        let speak = async {
            sleep(Duration::from_secs(1)).await;
            progress.hear_error("progress: 2");
            sleep(Duration::from_secs(1)).await;
            finished.cancel();
        };
        let both = async { tokio::join!(speak, progress.forward(&events, &finished)) };
        timeout(Duration::from_secs(10), both).await.expect("it gives up");
    }

    proptest! {
        #[test]
        fn no_line_is_progress_beyond_its_bounds(line in "(progress: ?)?[0-9.eE%+ -]{0,12}") {
            let progress = Progress::new(None);
            progress.hear_error(&line);
            let latest = *progress.latest.borrow();
            prop_assert!(latest == NOTHING || (0.0..=100.0).contains(&latest));
        }
    }
}
