//! Copies of a task: one that is to wait, or goes back without counting against it, is published once more.
//!
//! Each copy says the how-manieth it is, so that it is never mistaken for what it was copied from, in whatever order the
//! two come, and however often.

use gateway_celery::{
    Field, Message,
    serve::{Request, Unreadable, again, iso},
};

/// The header that says how many runs of its task were lost.
const LOSSES: &str = "service_gateway_losses";
/// The header that says the how-manieth copy it is.
const COPIES: &str = "service_gateway_copies";

/// Which message of a task: later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    retries: u32,
    copies: u32,
}

impl Run {
    pub(crate) fn of(request: &Request, message: &Message) -> Self {
        Self { retries: request.retries, copies: count(message, COPIES) }
    }
}

/// How many runs of its task were lost before this one.
pub(crate) fn losses(message: &Message) -> u32 {
    count(message, LOSSES)
}

/// The message once more, retried and lost so often, not to be begun before `eta` (milliseconds since 1970).
///
/// # Errors
/// As [`again`].
pub(crate) fn copy(message: &Message, retries: u32, losses: u32, eta: Option<i64>) -> Result<Message, Unreadable> {
    let mut copy = again(message, retries, eta.map(iso).as_deref())?;
    set(&mut copy, LOSSES, losses);
    set(&mut copy, COPIES, count(message, COPIES).saturating_add(1));
    Ok(copy)
}

fn count(message: &Message, header: &str) -> u32 {
    match message.header(header) {
        Some(Field::Int(count)) => u32::try_from(*count).unwrap_or_default(),
        _ => 0,
    }
}

fn set(message: &mut Message, header: &str, count: u32) {
    message.headers.retain(|(name, _)| name != header);
    if count > 0 {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        message.headers.push((header.to_owned(), Field::Int(count)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_celery::{Call, Protocol};
    use uuid::Uuid;

    #[test]
    fn each_copy_is_later_than_what_it_was_copied_from() {
        for protocol in [Protocol::One, Protocol::Two] {
            let call = Call::new(Uuid::from_u128(7), "worker.stub", "stub", "replies", "gateway@host");
            let first = call.message(protocol, call.body(protocol, &serde_json::json!({})));
            let run = |message: &Message| Run::of(&Request::read(message, 1000).unwrap(), message);
            let second = copy(&first, 0, 1, Some(7)).unwrap();
            let third = copy(&second, 1, 0, None).unwrap();
            assert!(run(&first) < run(&second) && run(&second) < run(&third));
            assert_eq!([&first, &second, &third].map(losses), [0, 1, 0]);
            assert_eq!(run(&second), run(&second.clone()));
        }
    }
}
