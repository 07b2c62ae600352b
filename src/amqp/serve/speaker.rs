//! The connection for what nobody waits for: events, and answers to questions.

use super::delay::Delaying;
use crate::link::{DEADLINE, End, Session, Sign, Wire};
use crate::state::{Board, Link, Role};
use crate::wire;
use gateway_celery::{Message, event};
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ExchangeKind};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Sends events and answers.
pub(super) struct Speaker {
    board: Board,
    sayings: mpsc::Receiver<Message>,
    delaying: Delaying,
    finish: CancellationToken,
    /// Until when closing may take.
    until: watch::Receiver<Instant>,
}

impl Speaker {
    pub(super) fn new(
        board: Board,
        sayings: mpsc::Receiver<Message>,
        delaying: Delaying,
        finish: CancellationToken,
        until: watch::Receiver<Instant>,
    ) -> Self {
        Self { board, sayings, delaying, finish, until }
    }

    /// Sends what is still to be said, up to the deadline.
    async fn wind_down(&mut self, events: &Channel, connection: &Connection) {
        let until = *self.until.borrow();
        while let Ok(message) = self.sayings.try_recv() {
            if tokio::time::timeout_at(until, say(events, connection, &message)).await.is_err() {
                return;
            }
        }
    }
}

impl Session for Speaker {
    const ROLE: Role = Role::Control;

    async fn run(&mut self, wire: &mut Wire) -> End {
        let connection = wire.connection.clone();
        let events = match in_time(open(&connection)).await {
            Ok(events) => events,
            Err(why) => return End::Lost(why),
        };
        self.delaying.send_replace(Some(connection.clone()));
        self.board.link(Role::Control, Link::Up);
        loop {
            tokio::select! {
                biased;
                () = self.finish.cancelled() => {
                    self.wind_down(&events, &connection).await;
                    return End::Closed;
                }
                sign = wire.sign() => match sign {
                    Sign::Lost(why) => return End::Lost(why),
                    Sign::Blocked(why) => self.board.link(Role::Control, Link::Blocked(why)),
                    Sign::Unblocked => self.board.link(Role::Control, Link::Up),
                },
                Some(message) = self.sayings.recv() => {
                    if let Err(why) = in_time(say(&events, &connection, &message)).await {
                        if !events.status().connected() {
                            return End::Lost(why);
                        }
                        tracing::debug!(why, "an event or answer is dropped");
                    }
                }
            }
        }
    }

    fn lost(&mut self, _why: &str) {
        self.delaying.send_replace(None);
    }

    /// Nobody is there to hear it, and later it is of no use.
    async fn idle(&mut self) {
        while self.sayings.recv().await.is_some() {}
        std::future::pending().await
    }
}

async fn open(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(event::EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    Ok(channel)
}

/// Events go out on one channel. An answer has one of its own: where nobody listens any more the exchange may be gone,
/// and the broker closes the channel.
async fn say(events: &Channel, connection: &Connection, message: &Message) -> lapin::Result<()> {
    let named = (
        wire::short("an exchange's name", &message.exchange),
        wire::short("a routing key", &message.routing_key),
        wire::properties(message),
    );
    let (Ok(exchange), Ok(key), Ok(properties)) = named else {
        tracing::debug!("an event or answer is dropped: its names are too long");
        return Ok(());
    };
    let options = BasicPublishOptions::default();
    if message.exchange == event::EXCHANGE {
        drop(events.basic_publish(exchange, key, options, &message.body, properties).await?);
        return Ok(());
    }
    let channel = connection.create_channel().await?;
    drop(channel.basic_publish(exchange, key, options, &message.body, properties).await?);
    // Whether the farewell is heard does not matter.
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

async fn in_time<T>(asking: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    let late = |_| format!("the broker did not answer within {} s", DEADLINE.as_secs());
    timeout(DEADLINE, asking).await.map_err(late)?.map_err(|error| error.to_string())
}
