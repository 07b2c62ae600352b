//! What becomes of a run.

use crate::{Ending, Program, guard::Report, output::Explanation, supervise::Outcome};
use serde_json::value::RawValue;

/// Why a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The task was cancelled.
    Cancelled,
    /// We shut down.
    ShuttingDown,
    /// It took too long.
    TimeLimit,
    /// It wrote more than a result may hold.
    TooLarge,
}

impl Stop {
    /// What becomes of a run that is stopped for it.
    pub(crate) fn ending(self, program: &Program) -> Ending {
        match self {
            Self::Cancelled => Ending::Cancelled,
            Self::ShuttingDown => Ending::Aborted,
            Self::TimeLimit => Ending::timeout(program.timeout),
            Self::TooLarge => too_large(program),
        }
    }
}

fn too_large(program: &Program) -> Ending {
    let limit = program.max_result;
    Ending::subprocess(format!(
        "the program wrote more than {limit} bytes on its standard output, which is the limit for a result"
    ))
}

/// The ending of a run whose program was started, or could not be.
pub(crate) fn judge(
    outcome: Outcome<Stop>,
    program: &Program,
    result: Option<Box<RawValue>>,
    explanation: &Explanation,
) -> Ending {
    if let Some(stop) = outcome.stopped {
        return stop.ending(program);
    }
    if outcome.interrupted {
        return Ending::Aborted;
    }
    match outcome.end {
        Some(Report::Exited(0)) => result.map_or_else(|| too_large(program), Ending::Success),
        Some(Report::Exited(status)) => Ending::subprocess(explanation.of(&format!("exit status {status}"))),
        Some(Report::Signalled(signal)) => {
            Ending::subprocess(explanation.of(&format!("killed by signal {}", signal_name(signal))))
        }
        Some(Report::Unstarted(message)) => Ending::Unstarted { message },
        Some(Report::Stuck) => Ending::Lost { message: "something of the program could not be killed".to_owned() },
        Some(Report::Started | Report::Interrupted) | None => {
            Ending::Lost { message: "the program's guard died, and the program was killed".to_owned() }
        }
    }
}

fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (perhaps by the kernel, for lack of memory)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU (it used more processor time than it may)",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return number.to_string(),
    };
    name.to_owned()
}
