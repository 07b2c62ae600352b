//! Follows a task to its end.

use super::http::{Http, segment};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::time::Duration;

/// How often is asked; a task that takes hours is asked less often.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Asks until the task has ended; gives its last status. With `bar`, a person sees how far it is.
pub(in crate::cli) async fn follow(http: &Http, service: &str, uuid: &str, bar: bool) -> Result<Value, String> {
    let path = format!("{}/status?uuid={uuid}", segment(service));
    let progress = if bar { ProgressBar::new(100) } else { ProgressBar::hidden() };
    // The template is a literal that the crate knows to read.
    let style = ProgressStyle::with_template("{msg:>10} [{bar:40}] {pos:>3}%  {elapsed}").expect("a valid template");
    progress.set_style(style.progress_chars("=> "));
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = http.get(&path).await?;
        let state = answer["status"].as_str().unwrap_or_default().to_owned();
        progress.set_message(state.clone());
        if let Some(current) = answer["result"]["current"].as_f64() {
            progress.set_position(current.clamp(0.0, 100.0) as u64);
        }
        if matches!(state.as_str(), "SUCCESS" | "FAILURE" | "REVOKED" | "EXPIRED") {
            if state == "SUCCESS" {
                progress.set_position(100);
            }
            progress.abandon();
            return Ok(answer);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 11 / 10).min(LAST_PAUSE);
    }
}

/// JSON for people.
pub(in crate::cli) fn pretty(answer: &Value) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_else(|_| answer.to_string())
}
