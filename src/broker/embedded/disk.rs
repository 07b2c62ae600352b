//! Where there is little room on the disk, nothing is begun that fetches a document: it would fail half-way, and take the
//! store's own room with it.

use crate::plan::ServicePlan;
use gateway_contract::Part;
use gateway_worker::Runner;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// What has to be free beside the largest document.
const SPARE: u64 = 1 << 30;
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

    /// Waits until there is room for a task of this service.
    pub(super) async fn until_room(&self, service: &ServicePlan, runner: &Runner) {
        while !self.has_room(service, || runner.free_space().ok()) {
            sleep(LOOK).await;
        }
    }

    /// What cannot be asked is no reason to wait.
    fn has_room(&self, service: &ServicePlan, free: impl FnOnce() -> Option<u64>) -> bool {
        let documents = service.program.as_ref().filter(|program| program.wants_document());
        let least = documents.map(|program| program.max_document.saturating_add(SPARE));
        let short = least.filter(|least| free().is_some_and(|free| free < *least));
        let name = service.name();
        match short {
            Some(least) => {
                if self.low().insert(name.clone(), least).is_none() {
                    tracing::warn!(service = &*name, least, "too little disk space for documents: no task is begun");
                }
            }
            None => {
                if self.low().remove(&name).is_some() {
                    tracing::info!(service = &*name, "there is disk space again");
                }
            }
        }
        short.is_none()
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
        let disk = Disk::default();
        assert!(disk.has_room(none, || Some(0)) && disk.has_room(large, || Some(3 << 30)));
        assert!(disk.has_room(large, || None) && disk.part().is_none());
        assert!(!disk.has_room(large, || Some((3 << 30) - 1)));
        let fault = disk.part().and_then(|part| part.fault).expect("a fault");
        assert_eq!(fault, "services.large: its tasks wait for 3072 MiB of free disk space");
        assert!(disk.has_room(large, || Some(3 << 30)) && disk.part().is_none());
    }
}
