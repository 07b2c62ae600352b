//! Follows a task to its end.

use super::{
    super::say,
    http::{Http, segment},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// How often is asked; a task that takes hours is asked less often.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// A gateway that restarts, or a task that a worker of another version has, is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks until the task has ended; gives its last status. With `shown`, a person sees how far it is.
pub(in crate::cli) async fn follow(http: &Http, service: &str, uuid: &str, shown: bool) -> Result<Value, String> {
    let path = format!("{}/status?uuid={uuid}", segment(service));
    let mut show = if shown { Show::new() } else { Show::Nothing };
    let (mut pause, mut answered) = (FIRST_PAUSE, Instant::now());
    loop {
        let answer = match http.look(&path).await {
            Ok(answer) => answer,
            Err(failed) if failed.passing && answered.elapsed() < PATIENCE => {
                tokio::time::sleep(LAST_PAUSE).await;
                continue;
            }
            Err(failed) => return Err(failed.into()),
        };
        answered = Instant::now();
        let state = answer["status"].as_str().unwrap_or_default();
        let ended = matches!(state, "SUCCESS" | "FAILURE" | "REVOKED" | "EXPIRED");
        let current = if state == "SUCCESS" { Some(100.0) } else { answer["result"]["current"].as_f64() };
        show.status(state, current.map(|current| current.clamp(0.0, 100.0) as u64));
        if ended {
            show.end();
            return Ok(answer);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 11 / 10).min(LAST_PAUSE);
    }
}

/// A bar where somebody watches, a line a change where the output goes to a file.
enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines(Option<String>),
}

impl Show {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        // The template is a literal that the crate knows to read.
        let style =
            ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos:>3}%  {elapsed}").expect("a valid template");
        Self::Bar(ProgressBar::new(100).with_style(style.progress_chars("=> ")))
    }

    fn status(&mut self, state: &str, current: Option<u64>) {
        match self {
            Self::Nothing => {}
            Self::Bar(bar) => {
                bar.set_message(state.to_owned());
                bar.set_position(current.unwrap_or(bar.position()));
            }
            Self::Lines(last) => {
                let line = match current {
                    Some(current) => format!("{state:>10} {current:>3}%"),
                    None => format!("{state:>10}"),
                };
                if last.as_ref() != Some(&line) {
                    say(&line);
                    *last = Some(line);
                }
            }
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}

/// JSON for people.
pub(in crate::cli) fn pretty(answer: &Value) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_else(|_| answer.to_string())
}
