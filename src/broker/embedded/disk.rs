//! Where there is little room on the disk, nothing is begun that fetches a document: it would fail half-way, and take the
//! store's own room with it.

use crate::{plan::ServicePlan, store::Store};
use gateway_contract::Part;
use gateway_worker::Runner;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// How soon it is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Services that wait for room, and how many bytes they need.
#[derive(Debug, Default)]
pub(super) struct Disk(Mutex<BTreeMap<Arc<str>, u64>>);

impl Disk {
    fn low(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, u64>> {
        // Whole even if a holder panicked: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a task of this service, or none is there any more.
    pub(super) async fn until_room(&self, service: &ServicePlan, runner: &Runner, store: &dyn Store) {
        let name = service.name();
        while let Some(least) = lacks(service, || runner.free_space().ok()) {
            // What cannot be asked may wait.
            if matches!(store.next_due(&name).await, Ok(None)) {
                break;
            }
            self.waits(&name, least);
            sleep(LOOK).await;
        }
        self.goes_on(&name);
    }

    fn waits(&self, service: &Arc<str>, least: u64) {
        if self.low().insert(service.clone(), least).is_none() {
            tracing::warn!(service = &**service, least, "too little disk space for documents: no task is begun");
        }
    }

    fn goes_on(&self, service: &Arc<str>) {
        if self.low().remove(service).is_some() {
            tracing::info!(service = &**service, "no task waits for disk space any more");
        }
    }

    /// What `/readyz` says of it, if there is anything to say.
    pub(super) fn part(&self) -> Option<Part> {
        let low = self.low();
        let faults: Vec<_> = low
            .iter()
            .map(|(service, least)| {
                format!("services.{service}: its tasks wait for {} MiB of free disk space", least >> 20)
            })
            .collect();
        (!faults.is_empty()).then(|| Part { name: "disk", fault: Some(faults.join("; ")), essential: false })
    }
}

/// How many bytes would have to be free, if there are fewer. What cannot be asked is no reason to wait.
fn lacks(service: &ServicePlan, free: impl FnOnce() -> Option<u64>) -> Option<u64> {
    let least = service.program.as_ref()?.least_space()?;
    free().is_some_and(|free| free < least).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn only_what_fetches_documents_waits_for_room() {
        let text = "[auth]\nmode = \"none\"\n[services.large.worker]\nmax_document = \"2 GiB\"\n\
                    command = [\"true\", \"{document}\"]\n[services.none.worker]\ncommand = [\"true\"]\n";
        let file = Some((std::path::Path::new("test.toml"), text));
        let config = gateway_config::parse(file, [], &[]).expect("a configuration").config;
        let plan = Plan::new(&config, uuid::Uuid::nil());
        let [large, none] = ["large", "none"].map(|name| plan.service(name).expect("a service"));
        assert_eq!(
            (lacks(none, || Some(0)), lacks(large, || Some(3 << 30)), lacks(large, || None)),
            (None, None, None)
        );
        assert_eq!(lacks(large, || Some((3 << 30) - 1)), Some(3 << 30));
        let disk = Disk::default();
        disk.waits(&large.name(), 3 << 30);
        let fault = disk.part().and_then(|part| part.fault).expect("a fault");
        assert_eq!(fault, "services.large: its tasks wait for 3072 MiB of free disk space");
        disk.goes_on(&large.name());
        assert!(disk.part().is_none());
    }
}
