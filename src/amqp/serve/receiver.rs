//! The consuming connection: each queue of tasks on a channel of its own, and commands on another.

use super::incoming::IncomingTask;
use super::tasks::{Tasks, in_time};
use super::{Heard, WorkerSettings};
use crate::link::{DEADLINE, End, Session, Sign, Wire};
use crate::state::{Board, Link, Role};
use crate::wire;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future;
use gateway_celery::serve::{hello, inbox::REPLIES};
use gateway_celery::{Field, Message, Stamp, control};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer, ExchangeKind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What cannot be opened is tried again so much later.
const PAUSE: Duration = Duration::from_secs(2);
/// How long neighbours have to answer: what Celery's workers wait.
const NEIGHBOURS: Duration = Duration::from_secs(1);
/// As Celery's workers declare their queues for commands and answers.
const EXPIRES: i32 = 10_000;
const MESSAGE_TTL: i32 = 300_000;

/// Takes tasks and commands.
pub(super) struct Receiver {
    pub(super) settings: Arc<WorkerSettings>,
    pub(super) board: Board,
    pub(super) tasks: mpsc::Sender<IncomingTask>,
    pub(super) heard: mpsc::Sender<Heard>,
    /// How many tasks of each queue may be without a receipt.
    pub(super) wanted: Vec<watch::Receiver<u16>>,
    pub(super) finish: CancellationToken,
}

impl Session for Receiver {
    const ROLE: Role = Role::Consume;

    async fn run(&mut self, wire: &mut Wire) -> End {
        let connection = wire.connection.clone();
        // Dropped, all of them end.
        let mut consuming = JoinSet::new();
        let commands = Commands {
            connection: connection.clone(),
            board: self.board.clone(),
            node: self.settings.node.clone(),
            heard: self.heard.clone(),
        };
        // What is revoked has to be known before a task is taken: commands first, then what was said before.
        let opened = commands.open().await;
        let asked = commands.ask_neighbours().await;
        if !connection.status().connected() {
            return End::Lost("the connection ended".to_owned());
        }
        if let Err(why) = asked {
            tracing::debug!(why, "the neighbours were not asked what was revoked");
        }
        consuming.spawn(commands.listen(opened));
        for (index, wanted) in self.wanted.iter().enumerate() {
            let tasks = Tasks {
                connection: connection.clone(),
                settings: self.settings.clone(),
                board: self.board.clone(),
                index,
                wanted: wanted.clone(),
                tasks: self.tasks.clone(),
            };
            consuming.spawn(tasks.consume());
        }
        self.board.link(Role::Consume, Link::Up);
        tracing::info!(broker = %self.settings.address, node = self.settings.node, "consuming");
        loop {
            tokio::select! {
                biased;
                () = self.finish.cancelled() => return End::Closed,
                sign = wire.sign() => match sign {
                    Sign::Lost(why) => return End::Lost(why),
                    Sign::Blocked(why) => self.board.link(Role::Consume, Link::Blocked(why)),
                    Sign::Unblocked => self.board.link(Role::Consume, Link::Up),
                },
                // They go on for ever; one that ended was a mistake, and is mended by a new connection.
                Some(_) = consuming.join_next() => return End::Lost("a consumer ended".to_owned()),
            }
        }
    }

    fn lost(&mut self, _why: &str) {}

    async fn idle(&mut self) {
        future::pending().await
    }
}

/// Commands to this worker.
struct Commands {
    connection: Arc<Connection>,
    board: Board,
    node: String,
    heard: mpsc::Sender<Heard>,
}

impl Commands {
    /// Hands commands on; what is not open yet is opened.
    async fn listen(self, mut opened: Result<Consumer, String>) {
        let mut told = String::new();
        loop {
            let why = match opened {
                Ok(mut commands) => {
                    self.board.queue(control::EXCHANGE, None);
                    while let Some(Ok(command)) = commands.next().await {
                        if self.heard.send(Heard::Command(command.data.into())).await.is_err() {
                            return;
                        }
                    }
                    "the broker ended the consumption".to_owned()
                }
                Err(why) => why,
            };
            self.board.queue(control::EXCHANGE, Some(format!("no remote control: {why}")));
            if told != why {
                tracing::warn!(node = self.node, why, "no remote control: cancelling does not reach this worker");
            }
            told = why;
            sleep(PAUSE).await;
            opened = self.open().await;
        }
    }

    /// As Celery's workers listen to commands: a queue of the worker's own, which goes with the connection.
    async fn open(&self) -> Result<Consumer, String> {
        let queue = wire::short("the worker's name", &format!("{}.celery.pidbox", self.node))?;
        let opening = self.bound(queue, control::EXCHANGE, ExchangeKind::Fanout, "".into());
        in_time(opening).await.map(|(_, consumer)| consumer).map_err(|why| match why.contains("RESOURCE_LOCKED") {
            true => format!("another worker is called {}", self.node),
            false => why,
        })
    }

    async fn bound(
        &self,
        queue: ShortString,
        exchange: &'static str,
        kind: ExchangeKind,
        key: ShortString,
    ) -> lapin::Result<(Channel, Consumer)> {
        let bounds = [("x-message-ttl", MESSAGE_TTL), ("x-expires", EXPIRES)];
        let bounds = wire::table(&bounds.map(|(name, bound)| (name.to_owned(), Field::Int(bound))));
        let channel = self.connection.create_channel().await?;
        let plain = ExchangeDeclareOptions::default();
        channel.exchange_declare(exchange.into(), kind, plain, FieldTable::default()).await?;
        let ours = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        // Two short names and two numbers always make a table.
        channel.queue_declare(queue.clone(), ours, bounds.unwrap_or_default()).await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), exchange.into(), key, options, FieldTable::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }

    /// Asks the neighbours what was revoked, and waits a second for what they know.
    async fn ask_neighbours(&self) -> Result<(), String> {
        let (key, ticket) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let queue = wire::short("a queue's name", &format!("{key}.{REPLIES}"))?;
        let routing_key = wire::short("a routing key", &key)?;
        let (channel, mut answers) = in_time(self.bound(queue, REPLIES, ExchangeKind::Direct, routing_key)).await?;
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + NEIGHBOURS;
        let stamp = Stamp { clock: 1, expires: deadline.as_secs_f64() };
        let question: Message = hello(&self.node, &key, &ticket, stamp);
        let properties = wire::properties(&question)?;
        let options = BasicPublishOptions::default();
        let asking = channel.basic_publish(control::EXCHANGE.into(), "".into(), options, &question.body, properties);
        drop(in_time(asking).await?); // a channel without confirms: there is none to wait for
        let until = tokio::time::Instant::now() + NEIGHBOURS;
        while let Ok(Some(Ok(answer))) = timeout_at(until, answers.next()).await {
            if self.heard.send(Heard::Neighbour(Bytes::from(answer.data))).await.is_err() {
                break;
            }
        }
        // The queue goes with its consumer.
        let _ = timeout(DEADLINE, channel.close(200, "done".into())).await;
        Ok(())
    }
}
