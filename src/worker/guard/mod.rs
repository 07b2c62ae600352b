//! The process between us and a program.
//!
//! It is our own binary, executed again: `service-gateway guard DIRECTORY GRACE LIMIT… -- PROGRAM ARGUMENT…`, with the
//! grace in milliseconds, a socket to the worker as standard input, and the program's own standard output and error. It
//!
//! - leads a session of its own, so that no terminal reaches the program,
//! - is a *subreaper*: whatever the program starts and loses becomes the guard's child, also when it leaves group and
//!   session,
//! - holds a lock on the run directory as long as anything may run,
//! - gives up new privileges and core dumps, which the program inherits,
//! - and starts the program in a process group of its own, held to its limits (`limited`), as the first that the kernel
//!   kills when memory runs out.
//!
//! When the worker closes its end of the socket (to stop the program, or by dying) or the guard is sent a SIGTERM,
//! SIGINT or SIGHUP, everything below the guard is sent SIGTERM, and after the grace SIGKILL, until nothing is left.
//! What a program leaves running when it ends is stopped in the same way. Only then does the guard tell the worker
//! how the program ended.

mod attend;
mod limited;
mod report;

pub(crate) use report::Report;

use crate::{
    directory::{GUARD_LOCK, lock_file},
    limits::ProcessLimits,
};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Resource, Rlimit, getpid, set_child_subreaper, setrlimit, setsid},
    thread::set_no_new_privs,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    time::Duration,
};

/// What a guard is asked to do.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    directory: String,
    grace: Duration,
    limits: ProcessLimits,
    program: OsString,
    arguments: Vec<OsString>,
    /// The words with which our binary is a guard: those before its arguments.
    guard: Vec<OsString>,
}

impl Order {
    fn read(arguments: impl IntoIterator<Item = OsString>, guard: &[OsString]) -> Option<Self> {
        let mut arguments = arguments.into_iter().peekable();
        let directory = arguments.next()?.into_string().ok()?;
        let grace = Duration::from_millis(arguments.next()?.to_str()?.parse().ok()?);
        let mut limits = ProcessLimits::default();
        while arguments.next_if(|word| limits.take(word)).is_some() {}
        let (program, arguments) = program_of(arguments)?;
        Some(Self { directory, grace, limits, program, arguments, guard: guard.to_vec() })
    }
}

/// The program and its arguments, after `--`.
fn program_of(mut words: impl Iterator<Item = OsString>) -> Option<(OsString, Vec<OsString>)> {
    let separated = words.next()? == "--";
    let program = words.next()?;
    separated.then(|| (program, words.collect()))
}

/// Guards one program; `arguments` are those after the word `guard`. Returns when nothing of the program runs any
/// more: 0, or 2 if the arguments or standard input are not what a worker gives.
///
/// Call it first thing in `main`, from the only thread, outside of any runtime: it starts one of its own.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let wrong = |what: &str| {
        // A guard has no log: its standard error is the program's. It may be closed.
        drop(writeln!(io::stderr(), "guard: {what}"));
        ExitCode::from(2)
    };
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.first().is_some_and(|word| word == limited::WORD) {
        return limited::main(arguments.into_iter().skip(1));
    }
    let own: Vec<OsString> = std::env::args_os().skip(1).collect();
    let prefix = own.strip_suffix(&*arguments).unwrap_or_default();
    let Some(order) = Order::read(arguments.iter().cloned(), prefix) else {
        return wrong("usage: guard DIRECTORY GRACE-MS LIMIT… -- PROGRAM ARGUMENT… (the worker starts it, not you)");
    };
    let Ok(socket) = worker() else { return wrong("standard input is not a socket to a worker") };
    match prepare(&order) {
        Ok((runtime, _lock)) => runtime.block_on(attend::attend(&order, socket)),
        Err(error) => {
            let report = Report::Unstarted(format!("the guard could not prepare itself: {error}"));
            // If the worker is gone, nobody needs to know.
            drop((&socket).write_all(report.line().as_bytes()));
        }
    }
    ExitCode::SUCCESS
}

/// Our end of the socket. The copy is closed when the program is executed; standard input itself is replaced there.
fn worker() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    Ok(socket)
}

fn prepare(order: &Order) -> io::Result<(tokio::runtime::Runtime, File)> {
    // Fails only if we lead a group already, which a shell's job control may have done: no harm.
    let _ = setsid();
    set_child_subreaper(Some(getpid()))?;
    set_no_new_privs(true)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let lock = lock_file(&format!("{}/{GUARD_LOCK}", order.directory))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok((runtime, lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Option<Order> {
        Order::read(arguments.iter().map(OsString::from), &["guard".into()])
    }

    #[test]
    fn orders() {
        let order = Order {
            directory: "/d".into(),
            grace: Duration::from_millis(10),
            limits: ProcessLimits::default(),
            program: "p".into(),
            arguments: vec!["--".into(), "-x".into()],
            guard: vec!["guard".into()],
        };
        assert_eq!(read(&["/d", "10", "--", "p", "--", "-x"]).as_ref(), Some(&order));
        let limits = ProcessLimits { open_files: Some(9), ..ProcessLimits::default() };
        assert_eq!(read(&["/d", "10", "files=9", "--", "p", "--", "-x"]), Some(Order { limits, ..order }));
        assert_eq!(read(&["/d", "10", "files=x", "--", "p"]), None);
        assert_eq!(read(&["/d", "10", "p"]), None);
        assert_eq!(read(&["/d", "ten", "--", "p"]), None);
        assert_eq!(read(&["/d", "10", "--"]), None);
        assert_eq!(read(&[]), None);
    }
}
