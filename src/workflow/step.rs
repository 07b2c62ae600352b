//! One step, from its submission to its end.

use super::{
    chain::{Chain, Given},
    door::{Door, State, Trouble, class_of, cut},
};
use gateway_worker::{Failure, HandlerTask};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// Between two questions about a step: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// How long cancelling a step may take.
const CANCELLING: Duration = Duration::from_secs(60);

/// Runs step `index`, which comes after a step with the result `before`; tells how far it is, in per cent.
pub(super) async fn run(
    door: &Arc<Door>,
    task: &HandlerTask,
    chain: &Chain,
    index: usize,
    before: &Value,
    tell: impl Fn(f64),
) -> Result<Value, Failure> {
    let step = &chain.steps[index];
    let mut running = Running {
        door: door.clone(),
        task: task.clone(),
        service: step.service.clone(),
        given: Arc::new(step.given(before, &chain.gateway)),
        key: format!("{}-{}", task.id, index + 1),
        uuid: None,
        ended: false,
        unknown: false,
    };
    let uuid = match door.submit(&running.service, &running.given, &running.key).await {
        Ok(uuid) => uuid,
        Err(Trouble { failure, passes }) => {
            running.unknown = passes && task.is_last_try();
            running.ended = !passes;
            return Err(failure);
        }
    };
    running.uuid = Some(uuid.clone());
    let mut pause = PAUSES[0];
    loop {
        let state = door.state(&step.service, &uuid).await.inspect_err(|_| running.unknown = task.is_last_try())?;
        if let Some(state) = state
            && let Some(end) = end(state, &tell)
        {
            running.ended = true;
            return end;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// What a state says about the step: its end, or how far it is.
fn end(state: State, tell: &impl Fn(f64)) -> Option<Result<Value, Failure>> {
    let State { status, result } = state;
    match &*status {
        "SUCCESS" => Some(Ok(result)),
        "FAILURE" | "REVOKED" | "REJECTED" | "IGNORED" => {
            let code = result.get("code").and_then(Value::as_u64).unwrap_or_default();
            let message = result.get("message").and_then(Value::as_str).unwrap_or(&status);
            Some(Err(Failure::new(class_of(code), cut(message))))
        }
        "EXPIRED" => Some(Err(Failure::new("RuntimeError", "its result is no longer kept, or it was never heard of"))),
        "PROGRESS" => {
            let number = |key: &str| result.get(key).and_then(Value::as_f64);
            if let (Some(current), Some(total)) = (number("current"), number("total"))
                && total > 0.0
            {
                tell((100.0 * current / total).clamp(0.0, 100.0));
            }
            None
        }
        _ => None,
    }
}

/// A step that is not known to have ended.
struct Running {
    door: Arc<Door>,
    task: HandlerTask,
    service: String,
    given: Arc<Given>,
    key: String,
    /// Not known before the gateway has answered.
    uuid: Option<String>,
    ended: bool,
    /// The gateway does not say what became of it, and its chain fails for that, for good: another try asks again.
    unknown: bool,
}

impl Drop for Running {
    /// Cancels the step, if its chain has ended without it.
    fn drop(&mut self) {
        if self.ended || !(self.unknown || self.task.is_given_up()) {
            return;
        }
        // Without a runtime the process is ending.
        let Ok(runtime) = Handle::try_current() else { return };
        let (door, given) = (self.door.clone(), self.given.clone());
        let (chain, service, key) = (self.task.id, std::mem::take(&mut self.service), std::mem::take(&mut self.key));
        let uuid = self.uuid.take();
        runtime.spawn(async move {
            let cancels = async {
                let uuid = match uuid {
                    Some(uuid) => uuid,
                    // It may have been accepted: the same key gives the same task.
                    None => door.submit(&service, &given, &key).await.map_err(|trouble| trouble.failure)?,
                };
                door.cancel(&service, &uuid).await
            };
            match timeout(CANCELLING, cancels).await {
                Ok(Ok(())) => tracing::info!(task = %chain, service, "the running step of a chain is cancelled"),
                Ok(Err(failure)) => {
                    tracing::warn!(task = %chain, service, why = failure.message, "a step cannot be cancelled");
                }
                Err(_) => tracing::warn!(task = %chain, service, "a step could not be cancelled in time"),
            }
        });
    }
}
