//! PostgreSQL: a database of a test's own, on the server that all tests share or on one of its own that can be stopped.

use crate::rabbit::{rig, run, support};
use std::{
    future::Future,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio_postgres::{Client, Error, NoTls};
use uuid::Uuid;

/// How long a server may take to start or to stop.
const SERVER: Duration = Duration::from_secs(100);

/// A database. Dropped, it is removed.
pub(crate) struct Postgres {
    server: String,
    name: String,
    own: Option<Own>,
}

/// What a server of our own needs.
struct Own {
    directory: TempDir,
    /// Ends the server when our end of its standard input is closed: by `drop`, or because this process is gone.
    guard: Child,
}

impl Postgres {
    /// On the server of the test rig.
    #[track_caller]
    pub(crate) fn shared() -> Self {
        Self::on(rig("SG_TEST_POSTGRES_URL"), None)
    }

    /// On a new server, running. Its port stays its own while it is stopped.
    pub(crate) fn own() -> Self {
        let directory = TempDir::with_prefix("sg-test-postgres-").unwrap();
        // A group of its own: what ends the tests must not end it before it has ended the server.
        let mut guard = Command::new("sh");
        guard.args(["-c", "read -r _; exec \"$0\" kill \"$1\""]).arg(script()).arg(directory.path().join("server"));
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let own = Own { directory, guard };
        let variables = own.control("start");
        let url = variables.lines().find_map(|line| line.strip_prefix("export SG_TEST_POSTGRES_URL="));
        Self::on(url.unwrap_or_else(|| panic!("no URL: {variables}")).to_owned(), Some(own))
    }

    fn on(server: String, own: Option<Own>) -> Self {
        let name = format!("sg_{}", Uuid::now_v7().simple());
        let create = format!("CREATE DATABASE {name}");
        ask(&server, async move |client| client.batch_execute(&create).await);
        Self { server, name, own }
    }

    /// `postgres://…`
    pub(crate) fn url(&self) -> String {
        let mut url = url::Url::parse(&self.server).unwrap();
        url.set_path(&self.name);
        url.into()
    }

    /// Starts the server again, where it was.
    pub(crate) fn start(&self) {
        self.own.as_ref().expect("only a server of our own is stopped").control("start");
    }

    /// Stops the server in good order: connections are cut.
    pub(crate) fn stop(&self) {
        self.own.as_ref().expect("only a server of our own is stopped").control("stop");
    }

    /// Kills the server and its helpers (SIGKILL).
    pub(crate) fn kill9(&self) {
        self.own.as_ref().expect("only a server of our own is killed").control("kill9");
    }

    /// Runs a statement.
    pub(crate) fn run(&self, statement: &str) {
        let statement = statement.to_owned();
        ask(&self.url(), async move |client| client.batch_execute(&statement).await);
    }

    /// Gives a file or directory to the user that the server runs as.
    pub(crate) fn give(path: &std::path::Path) {
        let output = run(Command::new(script()).arg("give").arg(path), SERVER);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The number that this statement gives.
    pub(crate) fn number(&self, statement: &str) -> i64 {
        let statement = statement.to_owned();
        ask(&self.url(), async move |client| client.query_one(&statement, &[]).await).get(0)
    }
}

impl Own {
    fn control(&self, command: &str) -> String {
        let output = run(Command::new(script()).arg(command).arg(self.directory.path().join("server")), SERVER);
        assert!(output.status.success(), "postgres.sh {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A server of our own goes with everything in it.
        if self.own.is_none() {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            ask(&self.server, async move |client| client.batch_execute(&drop).await);
        }
    }
}

fn script() -> PathBuf {
    support().join("postgres.sh")
}

/// One question, on a connection of its own.
fn ask<T, F>(url: &str, question: impl FnOnce(Client) -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asking = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        question(client).await.unwrap()
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it answers in time") })
}
