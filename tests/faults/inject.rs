//! Faults of the system itself: the N-th call of a kind, in chosen threads of a running program, fails or is its last.
//! That is `strace -e inject=…`, attached to the program as it is; so a point in its life can be met exactly, and the
//! program has no word about it in its code.

use crate::support::{PATIENCE, signal, until};
use std::{
    fs,
    process::{Child, Command, Stdio},
};
use tempfile::NamedTempFile;

/// Attached as long as it lives.
pub(crate) struct Injector {
    strace: Child,
    told: NamedTempFile,
}

impl Injector {
    /// Attaches to the threads of a process whose names begin so. `what` is as strace takes it:
    /// `pwrite64:signal=KILL:when=1`, `fdatasync:error=EIO`; it counts from now on.
    pub(crate) fn attach(pid: u32, threads: &str, what: &str) -> Self {
        let threads = named(pid, threads);
        let calls = what.split(':').next().unwrap();
        let told = NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.arg("-e").arg(format!("trace={calls}")).arg("-e").arg(format!("inject={what}"));
        for thread in &threads {
            command.args(["-p", &thread.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(told.reopen().unwrap());
        let strace = command.spawn().expect("strace is installed by tests/run");
        let mut injector = Self { strace, told };
        until(PATIENCE, "strace is attached", || {
            let told = injector.told();
            assert!(injector.strace.try_wait().unwrap().is_none(), "strace ended and said\n{told}");
            (told.matches(" attached").count() >= threads.len()).then_some(())
        });
        injector
    }

    /// What it saw, and did.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.told.path()).unwrap()
    }

    /// How many calls were made to fail, or to be the last.
    pub(crate) fn hits(&self) -> usize {
        self.told().matches("INJECTED").count()
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // It lets go of the process, which goes on.
        signal(self.strace.id(), "INT");
        let _ = self.strace.wait();
    }
}

fn named(pid: u32, prefix: &str) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let is_so = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end().starts_with(prefix))
    };
    let found: Vec<u32> = tasks.filter(is_so).filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
    assert!(!found.is_empty(), "no thread of {pid} is called {prefix}…");
    found
}
