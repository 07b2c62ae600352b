//! The configuration, read again: at SIGHUP, and where it is wanted, when its file changes.

use super::{super::ConfigFile, notify::Notify};
use crate::Gateway;
use gateway_config::Faults;
use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

/// How often a watched file is looked at. A change counts once it has stayed for as long: editors write in pieces.
const LOOK: Duration = Duration::from_secs(1);

/// Waits for reasons to read the configuration again, and does it.
pub(super) struct Reloads {
    config: ConfigFile,
    overrides: Vec<(&'static str, String)>,
    hangup: Signal,
    watched: Option<Watched>,
}

struct Watched {
    file: PathBuf,
    known: Mark,
    /// How it was when it was last looked at, if that was something new.
    new: Option<Mark>,
    next_look: Instant,
}

impl Watched {
    fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), known: mark(file), new: None, next_look: Instant::now() + LOOK }
    }
}

/// Tells whether a file is still the same.
type Mark = Option<(SystemTime, u64, u64)>;

fn mark(file: &Path) -> Mark {
    let facts = std::fs::metadata(file).ok()?;
    Some((facts.modified().ok()?, facts.len(), facts.ino()))
}

impl Reloads {
    pub(super) fn new(config: ConfigFile, overrides: Vec<(&'static str, String)>) -> io::Result<Self> {
        Ok(Self { config, overrides, hangup: signal(SignalKind::hangup())?, watched: None })
    }

    /// Looks at this file from now on.
    pub(super) fn watch(&mut self, file: &Path) {
        self.watched = Some(Watched::new(file));
    }

    /// Resolves when there is a reason to read the configuration again. May be dropped while it waits.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = changed(&mut self.watched) => {}
        }
    }

    /// Reads it, and takes it into use if there is no fault in it; else the old one stays.
    pub(super) async fn apply(&self, gateway: &Gateway, notify: &Notify) {
        notify.reloading();
        let overrides: Vec<_> = self.overrides.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let status = match self.config.read(&overrides) {
            Err(faults) => {
                gateway.refused(true);
                refused(&faults)
            }
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                match gateway.reload(&loaded.config).await {
                    Err(error) => {
                        tracing::error!(%error, "the configuration was not reloaded: the old one stays in use");
                        "serving; the last configuration was refused, see the log".to_owned()
                    }
                    Ok(reloaded) => {
                        for key in &reloaded.restart {
                            tracing::warn!(key, "a changed key needs a restart: its old value stays in use");
                        }
                        let (changed, restart) = (reloaded.changed.len(), reloaded.restart.len());
                        let keys = reloaded.changed.join(" ");
                        tracing::info!(changed, restart, keys, "the configuration was reloaded");
                        format!("serving; reloaded, {changed} change(s), {restart} wait for a restart")
                    }
                }
            }
        };
        notify.ready(&status);
    }
}

fn refused(faults: &Faults) -> String {
    for fault in faults.to_string().lines().filter(|line| !line.is_empty()) {
        tracing::error!("{fault}");
    }
    let count = faults.len();
    tracing::error!(faults = count, "the configuration was not reloaded: the old one stays in use");
    format!("serving; the last configuration was refused: {count} fault(s), see the log")
}

/// Resolves when the file has changed and stays so. May be dropped while it waits, and goes on where it was.
async fn changed(watched: &mut Option<Watched>) {
    let Some(watched) = watched else { return std::future::pending().await };
    loop {
        sleep_until(watched.next_look).await;
        watched.next_look = Instant::now() + LOOK;
        let found = mark(&watched.file);
        if watched.new.take() == Some(found) {
            watched.known = found;
            return;
        }
        // A file that is away is being replaced.
        watched.new = Some(found).filter(|found| found.is_some() && *found != watched.known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    /// As beside a watchdog: each sign of life interrupts the wait.
    #[tokio::test(start_paused = true)]
    async fn a_change_is_noticed_by_waits_that_are_shorter_than_a_look() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut watched = Some(Watched::new(file.path()));
        let mut changes = 0;
        for round in 0..100 {
            if round == 20 {
                std::fs::write(file.path(), "new").unwrap();
            }
            changes += u32::from(timeout(LOOK / 5, changed(&mut watched)).await.is_ok());
            assert!(round >= 20 || changes == 0);
        }
        assert_eq!(changes, 1);
    }
}
