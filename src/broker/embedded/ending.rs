//! What becomes of a task when its run is over: its end, or another run.
//!
//! Failures, losses and restarts are counted apart: none of them uses up what is granted to another.

use crate::{engine::now, plan::ServicePlan, store::Orphan};
use gateway_config::OnLost;
use gateway_life::{Cause, DUE_MOST, Fact, Millis, Raised, Report, Source, State, Task};
use gateway_worker::Ending;

/// Another run waits so long, doubled each time up to [`RETRY_MOST`].
const RETRY_FIRST: Millis = 1_000;
const RETRY_MOST: Millis = DUE_MOST;

/// A task that was running when the last process ended; `service` if it is still configured.
pub(super) fn orphaned(service: Option<&ServicePlan>, orphan: &Orphan) -> Fact {
    const WHY: &str = "the gateway or its machine stopped while the task ran";
    match service {
        // The first time it is begun again at once: most often it was not to blame.
        Some(service) if orphan.losses == 0 => lost(service, 0, WHY, now()),
        Some(service) => lost(service, orphan.losses, WHY, now() + pause(orphan.losses)),
        // It waits until its service is back.
        None => Fact::Requeued { due: now(), why: Raised::new("WorkerLostError", WHY), cause: Cause::Lost },
    }
}

fn failure(why: Raised) -> Fact {
    Fact::Heard(Report { result: Some(why.to_json()), ..Report::new(State::Failure, Source::Slot) })
}

/// What becomes of a task whose run ended so.
pub(super) fn end_of(service: &ServicePlan, task: &Task, ending: Ending) -> Fact {
    match ending {
        Ending::Success(result) => {
            let result = Some(result.get().to_owned().into());
            Fact::Heard(Report { result, ..Report::new(State::Success, Source::Slot) })
        }
        Ending::Failure { class, message } => failed(service, task, Raised::new(class, message)),
        Ending::Unstarted { message } => failed(service, task, Raised::new(Ending::SUBPROCESS, message)),
        Ending::Cancelled => {
            let why = Raised::new("TaskRevokedError", "terminated");
            Fact::Heard(Report { result: Some(why.to_json()), ..Report::new(State::Revoked, Source::Slot) })
        }
        Ending::Aborted => {
            let why = Raised::new("WorkerShutdown", "the gateway was stopped while the task ran");
            Fact::Requeued { due: now(), why, cause: Cause::Stopped }
        }
        // A program that kills its guard each time must not keep us busy with nothing else.
        Ending::Lost { message } => lost(service, task.losses, &message, now() + pause(task.losses + 1)),
    }
}

/// A failure, or another try if there is one left.
fn failed(service: &ServicePlan, task: &Task, why: Raised) -> Fact {
    let retries = service.config.worker.as_ref().map_or(0, |worker| worker.retries);
    if task.retries >= retries {
        return failure(why);
    }
    Fact::Requeued { due: now() + pause(task.retries + 1), why, cause: Cause::Failed }
}

/// How long a task waits for its next run, after so many of this kind.
fn pause(runs: u32) -> Millis {
    (RETRY_FIRST << runs.saturating_sub(1).min(6)).min(RETRY_MOST)
}

/// What becomes of a task one more run of which was lost, after so many `losses`; it may run again at `due`.
fn lost(service: &ServicePlan, losses: u32, message: &str, due: Millis) -> Fact {
    let lost = |message: &str| Raised::new("WorkerLostError", message);
    match service.config.worker.as_ref().map(|worker| (worker.on_lost, worker.losses)) {
        Some((OnLost::Fail, _)) => failure(lost(message)),
        Some((OnLost::Retry, most)) if losses + 1 >= most => {
            failure(lost(&format!("the task was lost {} times while it ran; the last time: {message}", losses + 1)))
        }
        Some((OnLost::Retry, _)) | None => Fact::Requeued { due, why: lost(message), cause: Cause::Lost },
    }
}
