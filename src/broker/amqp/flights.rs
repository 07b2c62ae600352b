//! Publications on their way: since when, and the span of each whose trace is recorded.

use crate::meters::{Landed, Meters};
use gateway_contract::{Span, TraceContext, span};
use gateway_life::Fate;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use uuid::Uuid;

/// No more than the engine's window: each publication has exactly one fate.
#[derive(Debug)]
pub(super) struct Flights {
    meters: Meters,
    out: Mutex<HashMap<Uuid, (Instant, Span)>>,
}

impl Flights {
    pub(super) fn new(meters: Meters) -> Self {
        Self { meters, out: Mutex::default() }
    }

    fn out(&self) -> MutexGuard<'_, HashMap<Uuid, (Instant, Span)>> {
        // Whole even if a holder panicked: each change is one call.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A publication leaves. Gives its place in its task's trace, for the message's headers.
    pub(super) fn leave(
        &self,
        id: Uuid,
        queue: &str,
        attempt: u32,
        size: usize,
        trace: Option<&str>,
    ) -> Option<TraceContext> {
        let parent = trace.and_then(TraceContext::of_text);
        let span = span!(
            parent.as_ref(),
            "publish",
            "producer",
            otel.name = format!("publish {queue}"),
            messaging.system = "rabbitmq",
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.name = queue,
            messaging.message.id = tracing::field::display(id),
            messaging.message.body.size = size,
            gateway.attempt = attempt,
        );
        let context = span.context().cloned();
        self.out().insert(id, (Instant::now(), span));
        context
    }

    /// It landed.
    pub(super) fn land(&self, id: Uuid, fate: &Fate) {
        let Some((since, span)) = self.out().remove(&id) else { return };
        let (landed, why) = match fate {
            Fate::Sent => (Landed::Sent, None),
            Fate::NotSent => (Landed::Unsent, Some("it never left the gateway")),
            Fate::Unroutable(why) => (Landed::Unroutable, Some(&**why)),
            Fate::Refused(why) => (Landed::Refused, Some(&**why)),
            Fate::Unknown(why) => (Landed::Unknown, Some(&**why)),
        };
        if let Some(why) = why {
            span.fail(&why);
        }
        self.meters.landed(landed, since.elapsed());
    }
}
