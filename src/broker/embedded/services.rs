//! The slots of each service: as many as it is configured with, also after a reload.

use super::{AGAIN, Alarm, Shared, work};
use crate::{broker::Reload, engine::Stopped, setup::StartError, store::StoreError, workflow};
use gateway_contract::BoxFuture;
use gateway_life::Answer;
use gateway_outside::{Client, Limits};
use gateway_worker::{Runner, RunnerSettings};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Starts the slots of every service that has a worker and no slots yet, and tells them what is due.
pub(super) async fn begin(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let fresh = {
        let (plan, known) = (shared.plan.load(), shared.alarms.load());
        let with_workers = plan.services().iter().filter(|service| service.config.worker.is_some());
        let fresh = with_workers.map(|service| service.name()).filter(|name| !known.contains_key(name));
        fresh.map(|name| (name, Arc::<Alarm>::default())).collect::<Vec<_>>()
    };
    let mut alarms = (**shared.alarms.load()).clone();
    alarms.extend(fresh.iter().cloned());
    // Before the store is asked: what becomes due meanwhile is not missed.
    shared.alarms.store(Arc::new(alarms));
    let due = shared.store.due().await;
    for (name, alarm) in fresh {
        match &due {
            Ok(due) => due.iter().filter(|(service, _)| *service == name).for_each(|(_, at)| alarm.set(*at)),
            Err(_) => alarm.set(crate::engine::now()), // the slot looks by itself
        }
        shared.tracker.spawn(slots(shared.clone(), name, alarm));
    }
    due.map(drop)
}

/// Another configuration: what fetches documents is made now, slots are started once the new plan is in use.
pub(super) fn prepare(shared: Arc<Shared>, reload: Reload) -> Result<BoxFuture<()>, StartError> {
    let fault = |error: &dyn std::fmt::Display| StartError::Workers(error.to_string());
    let client = Client::new(reload.policy, Limits::default()).map_err(|error| fault(&error))?;
    let settings = RunnerSettings { client, ..shared.settings.clone() };
    let runner = Runner::new(settings).map_err(|error| fault(&error))?;
    let chains = workflow::handler(reload.steps).map_err(|error| fault(&error))?;
    Ok(Box::pin(async move {
        shared.chains.store(Arc::new(chains));
        // A run that is under way ends with the one that it began with.
        shared.runner.store(Arc::new(runner));
        if let Err(error) = begin(&shared).await {
            tracing::warn!(%error, "what is due is looked for again");
        }
        shared.reloads.send_modify(|reloads| *reloads += 1);
    }))
}

/// The slots of one service: claims whatever is due while a slot is free. They outlive a service that a reload takes
/// out: what it had accepted is worked on, and then nothing is due any more.
async fn slots(shared: Arc<Shared>, name: Arc<str>, alarm: Arc<Alarm>) {
    let free = Arc::new(Semaphore::new(0));
    let (mut slots, mut reloads) = (0, shared.reloads.subscribe());
    let mut look = false;
    loop {
        let wanted = shared.wanted(&name);
        if wanted > slots {
            free.add_permits(wanted - slots);
            slots = wanted;
        }
        let ready = async {
            if !look {
                alarm.due().await;
            }
            let permit = free.clone().acquire_owned().await;
            if let Some(service) = shared.plan.load().service(&name).cloned() {
                shared.disk.until_room(&service, &shared.runner.load_full(), &*shared.store).await;
            }
            shared.healths.until_well(&name).await;
            permit
        };
        let permit = tokio::select! {
            biased; // what is claimed after the end would count as an attempt
            () = shared.closing.cancelled() => return,
            _ = reloads.changed() => {
                // `due` may have been waited for already, and forgets what it told.
                look = true;
                continue;
            }
            permit = ready => permit,
        };
        // The semaphore is never closed.
        let Ok(permit) = permit else { return };
        look = true;
        if slots > shared.wanted(&name) {
            // One too many: whatever ran in it has ended.
            shared.healths.untold(&name);
            permit.forget();
            slots -= 1;
            continue;
        }
        let Some(service) = shared.plan.load().service(&name).cloned() else { return };
        match shared.mailbox.claim(name.clone()).await {
            Ok(Answer::Claimed(task, body)) => {
                shared.tracker.spawn(work(shared.clone(), service, *task, body, permit));
            }
            Ok(Answer::NothingDue) => {
                look = false;
                shared.healths.untold(&name);
                shared.rearm(&name, &alarm).await;
            }
            Ok(_) => {
                shared.healths.untold(&name);
                tokio::time::sleep(AGAIN).await;
            }
            Err(Stopped) => return,
        }
    }
}

impl Shared {
    /// How many slots the service is to have: none if it has no worker any more.
    fn wanted(&self, service: &str) -> usize {
        let plan = self.plan.load();
        let worker = plan.service(service).and_then(|service| service.config.worker.as_ref());
        worker.map_or(0, |worker| worker.concurrency as usize)
    }
}
