//! What programs say about how far they are.

use crate::Event;
use regex::Regex;
use std::{sync::LazyLock, time::Duration};
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
    latest: watch::Sender<f64>,
}

impl Progress {
    pub(crate) fn new(expression: Option<Regex>) -> Self {
        Self { expression, latest: watch::Sender::new(NOTHING) }
    }

    /// Whether lines of standard output can be progress at all.
    pub(crate) fn listens_to_output(&self) -> bool {
        self.expression.is_some()
    }

    /// Takes a line of standard error; says whether it was progress.
    pub(crate) fn hear_error(&self, line: &str) -> bool {
        let own = self.expression.as_ref().and_then(|expression| Some(per_cent(&expression.captures(line)?)));
        let heard = own.or_else(|| Some(per_cent(&COMMON.captures(line)?)));
        self.take(heard)
    }

    /// Takes a line of standard output; says whether it was progress, and so not part of the result.
    pub(crate) fn hear_output(&self, line: &str) -> bool {
        let captures = self.expression.as_ref().and_then(|expression| expression.captures(line));
        let whole = captures.filter(|captures| captures[0].len() == line.len());
        self.take(whole.map(|captures| per_cent(&captures)))
    }

    fn take(&self, heard: Option<Option<f64>>) -> bool {
        let Some(Some(done)) = heard else { return false };
        self.rise(done);
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

/// What the groups say; `None` if that is not between 0 and 100 per cent.
fn per_cent(captures: &regex::Captures<'_>) -> Option<f64> {
    let number = |group| captures.get(group)?.as_str().trim().parse::<f64>().ok();
    let done = number(1)?;
    let done = match captures.len() {
        2 => done,
        _ => 100.0 * done / number(2)?,
    };
    (0.0..=100.0).contains(&done).then_some(done)
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
