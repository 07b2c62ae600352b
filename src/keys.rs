//! The public keys of the issuer of tokens (`auth.jwks_url`): fetched beside the requests, never by one.
//!
//! The set is fetched at start, every [`PERIOD`], and, when a token names a key that is not in it, at most every
//! [`SPACING`]. A server that is away or that answers nonsense changes nothing: the last good set is kept.

use crate::setup::StartError;
use arc_swap::{ArcSwap, ArcSwapOption};
use gateway_auth::{KeySet, Keys};
use gateway_contract::Part;
use gateway_outside::{Client, Limits, Policy, redact};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How old a set may become.
const PERIOD: Duration = Duration::from_secs(300);
/// How long after an attempt the next one may begin, however many unknown keys are asked for.
const SPACING: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer that is read: a hundred keys are about 100 KiB.
const LARGEST: usize = 512 << 10;

/// Keys that are fetched. Clones are handles of the same; once the last one outside the task is dropped, it ends.
#[derive(Clone)]
pub(crate) struct Published(Arc<Ring>);

struct Ring {
    url: String,
    set: ArcSwapOption<KeySet>,
    /// What the last answer said, as it came: the same text changes nothing.
    text: ArcSwap<Vec<u8>>,
    fault: ArcSwapOption<String>,
    wanted: Notify,
    tried: Notify,
    client: Client,
}

impl Keys for Published {
    fn current(&self) -> Option<Arc<KeySet>> {
        self.0.set.load_full()
    }

    fn missed(&self) {
        self.0.wanted.notify_one();
    }
}

impl Published {
    /// Keys from this URL, which an operator gave: its host is admitted wherever it is.
    pub(crate) fn new(url: &str) -> Result<Self, StartError> {
        let fault = |fault: &dyn std::fmt::Display| StartError::Keys(fault.to_string());
        let policy = Policy::default().always(url).map_err(|error| fault(&error))?;
        let limits = Limits { retries: 0, ..Limits::default() };
        let client = Client::new(policy, limits).map_err(|error| fault(&error))?;
        Ok(Self(Arc::new(Ring {
            url: url.to_owned(),
            set: ArcSwapOption::empty(),
            text: ArcSwap::default(),
            fault: ArcSwapOption::empty(),
            wanted: Notify::new(),
            tried: Notify::new(),
            client,
        })))
    }

    /// What `/readyz` says of them. Not ready without any key; with an old set that could not be renewed, a warning.
    pub(crate) fn part(&self) -> Part {
        let fault = self.0.fault.load_full().map(|why| format!("auth.jwks_url: {why}"));
        let none = self.0.set.load().is_none();
        let waiting = || "auth.jwks_url: the public keys are being fetched".to_owned();
        Part { name: "keys", fault: if none { fault.or_else(|| Some(waiting())) } else { fault }, essential: none }
    }

    /// Resolves when the first attempt has ended, whatever became of it.
    pub(crate) async fn tried(&self) {
        let tried = self.0.tried.notified();
        if self.0.set.load().is_none() && self.0.fault.load().is_none() {
            tried.await;
        }
    }

    /// Fetches until `stop`.
    pub(crate) async fn tend(self, stop: CancellationToken) {
        let ring = self.0;
        let work = async {
            loop {
                let begun = Instant::now();
                ring.fetch().await;
                ring.tried.notify_waiters();
                // While there is no set, every attempt is worth it.
                let period = if ring.set.load().is_some() { PERIOD } else { SPACING };
                tokio::select! {
                    () = sleep_until(begun + period) => {}
                    () = ring.wanted.notified() => sleep_until(begun + SPACING).await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }
}

impl Ring {
    async fn fetch(&self) {
        match self.ask().await {
            Ok(None) => {}
            Ok(Some((text, set))) => {
                tracing::info!(keys = ?set, "the issuer's public keys were read");
                self.text.store(Arc::new(text));
                self.set.store(Some(Arc::new(set)));
            }
            Err(why) => {
                let kept = if self.set.load().is_some() { "the last good ones are used" } else { "there are none" };
                tracing::warn!(url = redact(&self.url), %why, "the issuer's public keys could not be read; {kept}");
                return self.fault.store(Some(Arc::new(why)));
            }
        }
        self.fault.store(None);
    }

    /// A new set; `None`: the same as before.
    async fn ask(&self) -> Result<Option<(Vec<u8>, KeySet)>, String> {
        let answer = timeout(DEADLINE, self.client.get_json(&self.url, LARGEST)).await;
        let reply = answer.map_err(|_| format!("no answer within {DEADLINE:?}"))?.map_err(|error| error.to_string())?;
        if reply.status != 200 {
            return Err(format!("{} answered with status {}, not 200", redact(&self.url), reply.status));
        }
        if self.set.load().is_some() && **self.text.load() == reply.body {
            return Ok(None);
        }
        let set = KeySet::from_jwks(&reply.body).map_err(|error| format!("{}: {error}", redact(&self.url)))?;
        Ok(Some((reply.body, set)))
    }
}
