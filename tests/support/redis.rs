//! Redis: the server that all tests share, or one of a test's own that can be killed.

use crate::{
    rabbit::{rig, run, support},
    support::PATIENCE,
};
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// How long a server may take to start or to stop.
const SERVER: Duration = Duration::from_secs(60);

/// A Redis server.
pub(crate) struct Redis {
    url: String,
    own: Option<Own>,
}

struct Own {
    directory: TempDir,
    /// Ends the server when our end of its standard input is closed: by `drop`, or because this process is gone.
    guard: Child,
}

impl Redis {
    /// The server of the test rig.
    #[track_caller]
    pub(crate) fn shared() -> Self {
        Self { url: rig("SG_TEST_REDIS_URL"), own: None }
    }

    /// A new server, running. Its port stays its own while it is away.
    pub(crate) fn own() -> Self {
        let directory = TempDir::with_prefix("sg-test-redis-").unwrap();
        let script = support().join("redis.sh");
        // A group of its own: what ends the tests must not end it before it has ended the server.
        let mut guard = Command::new("sh");
        guard.args(["-c", "read -r _; exec \"$0\" kill \"$1\""]).arg(script).arg(directory.path());
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut server = Self { url: String::new(), own: Some(Own { directory, guard }) };
        let variable = server.control("start");
        let url = variable.lines().find_map(|line| line.strip_prefix("export SG_TEST_REDIS_URL="));
        server.url = url.expect("start prints the URL").to_owned();
        server
    }

    /// `redis://…`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `host:port`
    pub(crate) fn address(&self) -> &str {
        self.url.rsplit('@').next().unwrap().split('/').next().unwrap()
    }

    /// Starts it again, where it was.
    pub(crate) fn start(&self) {
        self.control("start");
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill9(&self) {
        self.control("kill");
    }

    fn control(&self, command: &str) -> String {
        let own = self.own.as_ref().expect("only a server of our own is stopped");
        let output = run(Command::new(support().join("redis.sh")).arg(command).arg(own.directory.path()), SERVER);
        assert!(output.status.success(), "redis.sh {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// One command; gives what `redis-cli` prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let (host, port) = self.address().split_once(':').unwrap();
        let password = self.url.split(":").nth(2).unwrap().split('@').next().unwrap();
        let mut command = Command::new("redis-cli");
        command.args(["-h", host, "-p", port]).args(arguments).env("REDISCLI_AUTH", password);
        let output = run(&mut command, PATIENCE);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && !text.starts_with("ERR"), "{arguments:?}: {text}");
        text
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
