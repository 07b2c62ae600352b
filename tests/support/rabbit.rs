//! RabbitMQ: the node that all tests share, or one of a test's own that can be stopped and killed.

use crate::support::{PATIENCE, until};
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    future::Future,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a node may take to start or to stop, or `rabbitmqctl` to be answered.
const NODE: Duration = Duration::from_secs(150);

/// A variable that the test rig sets. There is no test without it, and no test that passes by not running.
#[track_caller]
pub(crate) fn rig(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this test needs the test rig; run tests/run"))
}

/// `tests/support`.
pub(crate) fn support() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support")
}

/// A node of RabbitMQ.
pub(crate) struct Rabbit {
    url: String,
    ctl: String,
    own: Option<Own>,
}

/// What a node of our own needs.
struct Own {
    directory: TempDir,
    /// Ends the node when our end of its standard input is closed: by `drop`, or because this process is gone.
    guard: Child,
}

/// A queue, as the broker tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    /// Messages that no consumer has.
    pub(crate) ready: u32,
    pub(crate) consumers: u32,
}

impl Rabbit {
    /// The node of the test rig.
    #[track_caller]
    pub(crate) fn shared() -> Self {
        Self { url: rig("SG_TEST_AMQP_URL"), ctl: rig("SG_TEST_RABBITMQCTL"), own: None }
    }

    /// A new node, running. Its port stays its own while it is stopped.
    pub(crate) fn own() -> Self {
        let directory = TempDir::with_prefix("sg-test-rabbitmq-").unwrap();
        // A group of its own: what ends the tests must not end it before it has ended the node.
        let mut guard = Command::new("sh");
        guard.args(["-c", "read -r _; exec \"$0\" kill \"$1\""]).arg(script()).arg(directory.path());
        std::os::unix::process::CommandExt::process_group(&mut guard, 0);
        let guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut node = Self { url: String::new(), ctl: String::new(), own: Some(Own { directory, guard }) };
        let variables = node.control("start");
        let value = |name: &str| {
            let line =
                variables.lines().find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name}: {variables}")).to_owned()
        };
        (node.url, node.ctl) = (value("SG_TEST_AMQP_URL"), value("SG_TEST_RABBITMQCTL"));
        node
    }

    /// `amqp://…`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Starts the node again, where it was.
    pub(crate) fn start(&self) {
        self.control("start");
    }

    /// Stops the node in good order.
    pub(crate) fn stop(&self) {
        self.control("stop");
    }

    /// Kills the node (SIGKILL).
    pub(crate) fn kill9(&self) {
        self.control("kill");
    }

    fn control(&self, command: &str) -> String {
        let own = self.own.as_ref().expect("only a node of our own is stopped");
        let output = run(Command::new(script()).arg(command).arg(own.directory.path()), NODE);
        assert!(output.status.success(), "rabbitmq.sh {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `rabbitmqctl …` on this node; gives what it prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = run(Command::new(&self.ctl).arg("--quiet").args(arguments), NODE);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Declares a durable queue with these arguments.
    pub(crate) fn declare(&self, queue: &str, arguments: &[(&str, AMQPValue)]) {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        let name = queue.to_owned();
        self.ask(async move |channel: Channel| {
            channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await
        })
        .unwrap();
    }

    /// Deletes a queue and what is in it.
    pub(crate) fn delete(&self, queue: &str) {
        let name = queue.to_owned();
        let deleting =
            async move |channel: Channel| channel.queue_delete(name.into(), QueueDeleteOptions::default()).await;
        self.ask(deleting).unwrap();
    }

    /// Throws away what waits in a queue.
    pub(crate) fn purge(&self, queue: &str) {
        let name = queue.to_owned();
        let purging =
            async move |channel: Channel| channel.queue_purge(name.into(), QueuePurgeOptions::default()).await;
        self.ask(purging).unwrap();
    }

    /// A queue; `None` if there is none of that name.
    pub(crate) fn queue(&self, queue: &str) -> Option<Queue> {
        let name = queue.to_owned();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let asking =
            async move |channel: Channel| channel.queue_declare(name.into(), options, FieldTable::default()).await;
        match self.ask(asking) {
            Ok(queue) => Some(Queue { ready: queue.message_count(), consumers: queue.consumer_count() }),
            Err(error) if error.to_string().contains("NOT_FOUND") => None,
            Err(error) => panic!("{queue}: {error}"),
        }
    }

    /// How many messages are in a queue, those that a consumer has not acknowledged included.
    pub(crate) fn messages(&self, queue: &str) -> u64 {
        let text = self.ctl(&["list_queues", "name", "messages"]);
        let line = text.lines().find_map(|line| line.strip_prefix(queue)?.strip_prefix('\t'));
        line.unwrap_or_else(|| panic!("no queue {queue}: {text}")).trim().parse().unwrap()
    }

    /// One exchange with the broker, on a connection of its own.
    fn ask<T, F>(&self, exchange: impl FnOnce(Channel) -> F) -> lapin::Result<T>
    where
        F: Future<Output = lapin::Result<T>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asking = async {
                let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
                let answer = exchange(connection.create_channel().await?).await;
                // The answer counts, not the farewell.
                let _ = connection.close(200, "done".into()).await;
                answer
            };
            tokio::time::timeout(PATIENCE, asking).await.expect("the broker answers in time")
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn script() -> PathBuf {
    support().join("rabbitmq.sh")
}

/// Runs a command to its end, under a deadline. It may leave processes behind that hold its output open.
pub(crate) fn run(command: &mut Command, patience: Duration) -> Output {
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let deadline = Instant::now() + patience;
    let status = until(patience + Duration::from_secs(10), &format!("the end of {command:?}"), || {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        child.try_wait().unwrap()
    });
    Output { status, stdout: text(out), stderr: text(err) }
}

fn text(mut file: std::fs::File) -> Vec<u8> {
    std::io::Seek::rewind(&mut file).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}
