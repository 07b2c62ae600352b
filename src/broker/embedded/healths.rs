//! Services whose command cannot be started are left alone: see [`Health`].

use gateway_contract::Part;
use gateway_worker::{Ending, Health, Verdict};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// The longest wait before somebody who waits looks again.
const LOOK: Duration = Duration::from_secs(1);

/// How each service is here.
#[derive(Debug, Default)]
pub(super) struct Healths(Mutex<BTreeMap<Arc<str>, Health>>);

impl Healths {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Health>> {
        // Whole even if a holder panicked: each change is complete before anything could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a task of this service may be begun: at once, or when one is to be tried, by whoever comes first.
    pub(super) async fn until_well(&self, service: &Arc<str>) {
        loop {
            let wait = self.lock().get_mut(service).and_then(|health| {
                let left_alone = health.fault().is_some() && !health.look();
                left_alone.then(|| health.wait())
            });
            let Some(wait) = wait else { return };
            sleep(wait.clamp(Duration::from_millis(50), LOOK)).await;
        }
    }

    /// What was to be tried was not there.
    pub(super) fn untold(&self, service: &Arc<str>) {
        if let Some(health) = self.lock().get_mut(service) {
            health.untold();
        }
    }

    /// A run ended. `true`: its task goes back, for nobody could do it here now.
    pub(super) fn heard(&self, service: &Arc<str>, ending: &Ending) -> bool {
        let mut all = self.lock();
        match ending {
            Ending::Unstarted { message } => {
                let health = all.entry(service.clone()).or_default();
                let (verdict, next) = (health.unstarted(message), health.wait());
                if verdict != Verdict::Fails {
                    let service = &**service;
                    tracing::error!(service, why = message, ?next, "the service cannot be done here: it is left alone");
                }
                verdict == Verdict::Back
            }
            ending => {
                let Some(health) = all.get_mut(service) else { return false };
                match ending.starts() {
                    Some(true) if health.started() => {
                        tracing::info!(service = &**service, "the service can be done again");
                    }
                    Some(_) => {}
                    None => health.untold(),
                }
                false
            }
        }
    }

    /// What `/readyz` says of them, if there is anything to say.
    pub(super) fn part(&self) -> Option<Part> {
        let all = self.lock();
        let faults = all.iter().filter_map(|(service, health)| {
            let (why, next) = (health.fault()?, health.wait().as_secs());
            Some(format!("services.{service}: {why}; its tasks wait, and one is tried in {next} s"))
        });
        let faults: Vec<_> = faults.collect();
        let fault = (!faults.is_empty()).then(|| faults.join("; "))?;
        Some(Part { name: "workers", fault: Some(fault), essential: false })
    }
}
