//! The moment between guard and program: `guard limited LIMIT… -- PROGRAM ARGUMENT…` holds itself to the limits and then
//! becomes the program. The guard itself must not be held to them: it has to end what runs, whatever that used up.
//!
//! Standard input is a socket to the guard, which is closed when the program begins; if it does not, that is told there.

use super::{attend::unstarted, program_of, worker};
use crate::limits::ProcessLimits;
use std::{
    ffi::OsString,
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

/// The word that it is started with.
pub(super) const WORD: &str = "limited";

/// Becomes the program; returns only if that fails.
pub(super) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (mut arguments, mut limits) = (arguments.peekable(), ProcessLimits::default());
    while arguments.next_if(|word| limits.take(word)).is_some() {}
    let (Some((program, arguments)), Ok(mut socket)) = (program_of(arguments), worker()) else {
        return ExitCode::from(2);
    };
    let why = match limits.apply() {
        Ok(()) => unstarted(&program, &Command::new(&program).args(arguments).stdin(Stdio::null()).exec()),
        Err(error) => format!("the program's limits could not be set: {error}"),
    };
    // If the guard is gone, nobody needs to know.
    drop(socket.write_all(why.as_bytes()));
    ExitCode::FAILURE
}
