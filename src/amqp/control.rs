//! The control connection: commands to workers, and questions about queues.

use crate::link::{DEADLINE, End, Session, Sign, Wire};
use crate::settings::QueueSpec;
use crate::state::{Board, Link, Role};
use crate::topology::{self, Failed};
use crate::wire;
use futures_util::future;
use gateway_celery::Message;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ExchangeKind};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Commands and questions at once; each has a channel of its own.
const AT_ONCE: usize = 8;

/// A queue, as it is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueState {
    /// Messages that wait (not those that a worker holds).
    pub messages: u32,
    /// Its consumers. A Celery worker is one, however many tasks it runs at once.
    pub consumers: u32,
}

/// Why a command was not sent, or a question not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such queue.
    #[error("the broker has no such queue")]
    NoSuchQueue,
    /// There is no connection.
    #[error("not connected to the broker")]
    NotConnected,
    /// No answer in time (10 s).
    #[error("the broker did not answer in time")]
    Late,
    /// The broker refused, in its words.
    #[error("the broker refused: {0}")]
    Refused(String),
}

pub(crate) type Slot = Option<Arc<Connection>>;

/// The callers' end.
pub(crate) struct Control {
    slot: watch::Receiver<Slot>,
    turns: Semaphore,
}

/// The supervised end.
pub(crate) struct Keeper {
    slot: watch::Sender<Slot>,
    board: Board,
    stop: CancellationToken,
}

pub(crate) fn control(board: Board, stop: CancellationToken) -> (Control, Keeper) {
    let (tx, rx) = watch::channel(None);
    (Control { slot: rx, turns: Semaphore::new(AT_ONCE) }, Keeper { slot: tx, board, stop })
}

impl Control {
    /// Where the connection is, whenever there is one.
    pub(crate) fn slot(&self) -> watch::Receiver<Slot> {
        self.slot.clone()
    }

    /// Runs one exchange with the broker, under its deadline.
    async fn ask<T, F>(&self, exchange: impl FnOnce(Arc<Connection>) -> F) -> Result<T, ControlError>
    where
        F: Future<Output = Result<T, ControlError>>,
    {
        let asking = async {
            let _turn = self.turns.acquire().await.map_err(|_| ControlError::NotConnected)?;
            let connection = self.slot.borrow().clone().ok_or(ControlError::NotConnected)?;
            exchange(connection).await
        };
        timeout(DEADLINE, asking).await.map_err(|_| ControlError::Late)?
    }

    pub(crate) async fn queue(&self, name: &str) -> Result<QueueState, ControlError> {
        self.ask(async |connection: Arc<Connection>| {
            let queue = topology::ask(&connection, name, true, FieldTable::default()).await?;
            Ok(QueueState { messages: queue.message_count(), consumers: queue.consumer_count() })
        })
        .await
    }

    /// Declares a service's queue.
    pub(crate) async fn declare(&self, queue: &QueueSpec, board: &Board) -> Result<(), ControlError> {
        let declaring = async |connection: Arc<Connection>| {
            topology::tasks(&connection, queue, board).await.map_err(|_| ControlError::NotConnected)
        };
        self.ask(declaring).await
    }

    /// Publishes to the message's exchange, which is declared as a fanout if it is `ours` to declare.
    pub(crate) async fn send(&self, message: &Message, ours: bool) -> Result<(), ControlError> {
        let properties = wire::properties(message).map_err(ControlError::Refused)?;
        let exchange = wire::short("an exchange's name", &message.exchange).map_err(ControlError::Refused)?;
        let key = wire::short("a routing key", &message.routing_key).map_err(ControlError::Refused)?;
        self.ask(async |connection: Arc<Connection>| {
            let failed = |error| ControlError::from(topology::judge(&connection, &error));
            let declaring = async {
                let channel = connection.create_channel().await?;
                if ours {
                    let (kind, options) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
                    channel.exchange_declare(exchange.clone(), kind, options, FieldTable::default()).await?;
                }
                Ok::<_, lapin::Error>(channel)
            };
            let channel = match declaring.await.map_err(|error| topology::judge(&connection, &error)) {
                Ok(channel) => channel,
                // Somebody declared it otherwise: workers listen to it all the same.
                Err(Failed::Differs(_)) => connection.create_channel().await.map_err(failed)?,
                Err(other) => return Err(other.into()),
            };
            channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
            let options = BasicPublishOptions::default();
            let sending =
                channel.basic_publish(exchange.clone(), key.clone(), options, &message.body, properties.clone());
            let confirmed = sending.await.map_err(failed)?.await.map_err(failed)?;
            // The confirm is here: whether the farewell is heard does not matter.
            let _ = channel.close(200, "done".into()).await;
            if confirmed.is_ack() { Ok(()) } else { Err(ControlError::Refused("it was not confirmed".to_owned())) }
        })
        .await
    }
}

impl From<Failed> for ControlError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Missing => Self::NoSuchQueue,
            Failed::Differs(why) | Failed::Refused(why) => Self::Refused(why),
            Failed::Lost(_) => Self::NotConnected,
        }
    }
}

impl Session for Keeper {
    const ROLE: Role = Role::Control;

    async fn run(&mut self, wire: &mut Wire) -> End {
        self.slot.send_replace(Some(wire.connection.clone()));
        self.board.link(Role::Control, Link::Up);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return End::Closed,
                sign = wire.sign() => match sign {
                    Sign::Lost(why) => return End::Lost(why),
                    Sign::Blocked(why) => self.board.link(Role::Control, Link::Blocked(why)),
                    Sign::Unblocked => self.board.link(Role::Control, Link::Up),
                },
            }
        }
    }

    fn lost(&mut self, _why: &str) {
        self.slot.send_replace(None);
    }

    async fn idle(&mut self) {
        future::pending().await
    }
}
