//! Refusals in the log: once, at the level that their side deserves.

use crate::{asked::Asked, envelope::causes};
use gateway_contract::{BoxError, Refusal, Side};
use http::StatusCode;
use std::fmt::{self, Write};

/// The longest text of one refusal, in characters: a client must not be able to fill the disk.
const TEXT_MAX: usize = 1024;

/// Writes one event. Says what was asked and what was wrong; never a header, a query or a token.
pub(crate) fn tell(refusal: &Refusal, asked: &Asked) {
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                status = refusal.status.as_u16(),
                code = refusal.code,
                verb = asked.verb.map(|verb| verb.name()),
                service = asked.service().map(|service| &*service.name),
                request_id = asked.request_id(),
                trace_id = asked.trace.as_ref().map(|trace| tracing::field::display(trace.shown())),
                cause = refusal.cause.as_ref().map(|cause| tracing::field::display(Chain(cause))),
                "refused: {}",
                Clean(&refusal.detail),
            )
        };
    }
    match refusal.side {
        Side::Client => event!(debug),
        Side::Outside => event!(warn),
        // Load that we shed and a broker that is away are states, not faults of ours.
        Side::Gateway if refusal.status == StatusCode::SERVICE_UNAVAILABLE => event!(warn),
        Side::Gateway => event!(error),
    }
}

/// A text without what could forge or hide a line in a log or a terminal, and of bounded length.
struct Clean<'a>(&'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_clean(f, self.0, TEXT_MAX).map(|_| ())
    }
}

/// A cause and its causes: `the one: because of another: …`.
struct Chain<'a>(&'a BoxError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = TEXT_MAX;
        for (at, cause) in causes(Some(self.0)).enumerate() {
            if room == 0 {
                break;
            }
            if at > 0 {
                f.write_str(": ")?;
            }
            room = write_clean(f, &cause.to_string(), room)?;
        }
        Ok(())
    }
}

/// Writes at most `room` characters and returns how much room is left.
fn write_clean(f: &mut fmt::Formatter<'_>, text: &str, mut room: usize) -> Result<usize, fmt::Error> {
    for character in text.chars().filter(|character| !is_treacherous(*character)) {
        if room == 0 {
            f.write_char('…')?;
            break;
        }
        f.write_char(character)?;
        room -= 1;
    }
    Ok(room)
}

/// Control characters (line breaks and terminal sequences among them), Unicode's line breaks and its changes of
/// writing direction.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
