//! What happened, in few words.

use crate::gateway::Asker;
use gateway_life::{Answer, Effect, Fact, Report, Write};
use uuid::Uuid;

pub(crate) fn short(id: Uuid) -> String {
    format!("#{}", id.as_u128() & 0xFFFF)
}

/// A fact in few words.
pub(crate) fn words(fact: &Fact) -> String {
    let Fact::Heard(Report { state, source, run, current, redelivered, .. }) = fact else { return format!("{fact:?}") };
    let current = current.map(|current| format!(" {current}")).unwrap_or_default();
    let run = run.as_ref().map(|run| format!(" of run {}", run.start)).unwrap_or_default();
    let again = if *redelivered { " (redelivered)" } else { "" };
    format!("{state}{current}{run} by {source:?}{again}")
}

pub(crate) fn describe(effect: &Effect<Asker, u64>) -> String {
    let write = |write: &Write| match write {
        Write::Accept(accept) => format!("accept {}", short(accept.task.id)),
        Write::Apply { id, fact, .. } => format!("{} {}", short(*id), words(fact)),
        Write::Claim { service } => format!("claim {service}"),
    };
    match effect {
        Effect::Commit(writes) => format!("commit [{}]", writes.iter().map(write).collect::<Vec<_>>().join(", ")),
        Effect::Publish(publish) => format!("publish {} attempt {}", short(publish.message.id), publish.attempt),
        Effect::Revoke(id, _) => format!("revoke {}", short(*id)),
        Effect::Answer(asker, answer) => {
            let asker = match asker {
                Asker::Submit(client, _) => format!("answer to client {client}"),
                other => format!("answer to {other:?}"),
            };
            match answer {
                Answer::Accepted(id) => format!("{asker}: accepted {}", short(*id)),
                Answer::Cancelled(task) => format!("{asker}: {} is {}", short(task.id), task.state),
                Answer::Claimed(task, _) => format!("{asker}: {} attempt {}", short(task.id), task.attempts),
                other => format!("{asker}: {other:?}"),
            }
        }
        other => format!("{other:?}"),
    }
}
