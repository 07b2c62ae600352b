//! The consuming connection: results from the reply queue, dead letters, and what workers tell of themselves.

use crate::dead::{self, DeadLetter};
use crate::link::{DEADLINE, End, Session, Sign, Wire};
use crate::settings::Settings;
use crate::state::{Board, EVENTS_FAULT, Link, Role};
use crate::{topology, wire};
use bytes::Bytes;
use futures_util::stream::{ReadyChunks, StreamExt};
use futures_util::{FutureExt, future};
use gateway_celery::{Event, Field, Hello, control, event, events};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Connection, Consumer, ExchangeKind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Events that may wait for their reader; beyond, new ones are dropped: they are hints.
pub(crate) const EVENTS: usize = 1024;
/// Deliveries of events that may wait for their receipt.
const EVENT_PREFETCH: u16 = 256;
/// The longest message of events that is read, in bytes.
const EVENT_LIMIT: usize = 4 << 20;
/// How soon a listening to events that failed, or ended, is tried again.
const EVENTS_AGAIN: Duration = Duration::from_secs(10);
const TAG: &str = "results";

/// A message from the reply queue.
#[derive(Debug)]
pub struct Delivery {
    /// The task's id, as the worker gives it.
    pub correlation_id: Option<String>,
    /// As the worker gives it.
    pub content_type: Option<String>,
    /// As the worker gives it.
    pub content_encoding: Option<String>,
    /// Would it survive a restart of the broker? If not, the worker's results die with the broker.
    pub persistent: bool,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Its body.
    pub body: Bytes,
    /// To be given back once it is dealt with. Dropped, the message stays ours until the connection ends, and is then
    /// delivered again.
    pub receipt: Receipt,
}

/// Tells the broker that a delivery is dealt with.
#[derive(Debug)]
pub struct Receipt(Acker);

impl Receipt {
    pub(crate) fn new(acker: Acker) -> Self {
        Self(acker)
    }

    /// The broker may forget the message. Goes to the channel it came from; if that one is gone, nothing happens and the
    /// message is delivered again. Never waits.
    pub fn ack(self) {
        // The first poll queues the frame; what remains is to wait until it is written.
        let _ = self.0.ack(BasicAckOptions::default()).now_or_never();
    }
}

impl Delivery {
    fn new(from: lapin::message::Delivery) -> Self {
        let text = |text: &Option<lapin::types::ShortString>| text.as_ref().map(ToString::to_string);
        let properties = &from.properties;
        Self {
            correlation_id: text(properties.correlation_id()),
            content_type: text(properties.content_type()),
            content_encoding: text(properties.content_encoding()),
            persistent: *properties.delivery_mode() == Some(2),
            redelivered: from.redelivered,
            body: from.data.into(),
            receipt: Receipt(from.acker),
        }
    }
}

/// Hands deliveries and events on.
pub(crate) struct Receiver {
    pub(crate) settings: Arc<Settings>,
    pub(crate) board: Board,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    pub(crate) dead_letters: mpsc::Sender<DeadLetter>,
    pub(crate) events: mpsc::Sender<Event>,
    /// No new deliveries.
    pub(crate) stop: CancellationToken,
    /// No more receipts either.
    pub(crate) finish: CancellationToken,
    /// Until when closing may take, once `stop` is given.
    pub(crate) until: watch::Receiver<Instant>,
}

type Events = ReadyChunks<Consumer>;

impl Receiver {
    async fn results(&self, connection: &Connection) -> Result<(Channel, Consumer), String> {
        topology::replies(connection, &self.settings, &self.board).await?;
        let queue = wire::short("the reply queue's name", &self.settings.reply_queue)?;
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.basic_qos(self.settings.prefetch.max(1), BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume(queue, TAG.into(), options, FieldTable::default()).await?;
            Ok::<_, lapin::Error>((channel, consumer))
        };
        in_time(opening).await
    }

    /// Events, and what starting workers ask, come through a queue that is ours alone and goes with the connection;
    /// bounded, since they are hints.
    async fn events(&self, connection: &Connection) -> Result<Events, String> {
        let bounds = [("x-max-length", 10_000), ("x-message-ttl", 60_000)];
        let bounds = wire::table(&bounds.map(|(name, bound)| (name.to_owned(), Field::Int(bound))))?;
        let opening = async {
            let channel = connection.create_channel().await?;
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let exchange = || event::EXCHANGE.into();
            channel.exchange_declare(exchange(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
            let ours = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
            let queue = channel.queue_declare("".into(), ours, bounds).await?.name().clone();
            for key in ["worker.#", "task.#"] {
                let options = QueueBindOptions::default();
                channel.queue_bind(queue.clone(), exchange(), key.into(), options, FieldTable::default()).await?;
            }
            let commands = || control::EXCHANGE.into();
            let (kind, plain) = (ExchangeKind::Fanout, ExchangeDeclareOptions::default());
            channel.exchange_declare(commands(), kind, plain, FieldTable::default()).await?;
            let options = QueueBindOptions::default();
            channel.queue_bind(queue.clone(), commands(), "".into(), options, FieldTable::default()).await?;
            channel.basic_qos(EVENT_PREFETCH, BasicQosOptions::default()).await?;
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue, "events".into(), options, FieldTable::default()).await
        };
        Ok(in_time(opening).await?.ready_chunks(usize::from(EVENT_PREFETCH)))
    }

    /// Without events a gateway works on, with less to show.
    async fn events_or_fault(&self, connection: &Connection) -> Result<Option<Events>, String> {
        let events = self.events(connection).await;
        let fault = events.as_ref().err().map(|why| format!("no events from workers: {why}"));
        self.board.queue(EVENTS_FAULT, fault);
        match events {
            Err(why) if !connection.status().connected() => Err(why),
            events => Ok(events.ok()),
        }
    }

    async fn tell(&self, chunk: Vec<lapin::Result<lapin::message::Delivery>>) {
        let mut last = None;
        for delivery in chunk.into_iter().flatten() {
            let read = match delivery.exchange.as_str() {
                control::EXCHANGE => {
                    Ok(Hello::read(&delivery.data, EVENT_LIMIT).map(Event::Hello).into_iter().collect())
                }
                _ => events(&delivery.data, EVENT_LIMIT),
            };
            match read {
                Ok(read) => {
                    for event in read {
                        if self.events.try_send(event).is_err() {
                            tracing::debug!("an event is dropped: nobody reads them fast enough");
                        }
                    }
                }
                Err(why) => tracing::debug!("an event is dropped: {why}"),
            }
            last = Some(delivery.acker);
        }
        if let Some(acker) = last {
            let _ = acker.ack(BasicAckOptions { multiple: true }).now_or_never();
        }
    }

    async fn receive(
        &self,
        wire: &mut Wire,
        results: &mut Consumer,
        events: &mut Option<Events>,
        mut letters: Pin<&mut impl Future<Output = ()>>,
    ) -> End {
        let mut next: Option<Delivery> = None;
        let mut again = Instant::now() + EVENTS_AGAIN;
        loop {
            let silent = events.is_none();
            let event = async {
                match events {
                    Some(events) => events.next().await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return End::Closed,
                sign = wire.sign() => match sign {
                    Sign::Lost(why) => return End::Lost(why),
                    Sign::Blocked(why) => self.board.link(Role::Consume, Link::Blocked(why)),
                    Sign::Unblocked => self.board.link(Role::Consume, Link::Up),
                },
                room = self.deliveries.reserve(), if next.is_some() => match (room, next.take()) {
                    (Ok(room), Some(delivery)) => room.send(delivery),
                    // Nobody reads results any more: leave them to another gateway.
                    _ => return End::Closed,
                },
                delivery = results.next(), if next.is_none() => match delivery {
                    Some(Ok(delivery)) => next = Some(Delivery::new(delivery)),
                    Some(Err(error)) => return End::Lost(error.to_string()),
                    None => return End::Lost("the broker ended the consumption: was the reply queue deleted?".into()),
                },
                // Never ends; it has a queue and a pace of its own.
                () = &mut letters => {}
                chunk = event => match chunk {
                    Some(chunk) if chunk.iter().all(Result::is_ok) => self.tell(chunk).await,
                    _ => {
                        self.board.queue(EVENTS_FAULT, Some("no events from workers: their queue is gone".into()));
                        (*events, again) = (None, Instant::now() + EVENTS_AGAIN);
                    }
                },
                () = sleep_until(again), if silent => {
                    *events = match self.events_or_fault(&wire.connection).await {
                        Ok(events) => events,
                        Err(why) => return End::Lost(why),
                    };
                    again = Instant::now() + EVENTS_AGAIN;
                }
            }
        }
    }

    /// Takes no more deliveries, but keeps the connection for receipts.
    async fn wind_down(&self, wire: &mut Wire, channel: &Channel) -> End {
        let cancel = channel.basic_cancel(TAG.into(), BasicCancelOptions::default());
        let until = *self.until.borrow();
        // An error means that there is nothing to cancel any more.
        let _ = tokio::time::timeout_at(until, cancel).await;
        tokio::select! {
            () = self.finish.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
            () = async { while !matches!(wire.sign().await, Sign::Lost(_)) {} } => {}
        }
        End::Closed
    }
}

impl Session for Receiver {
    const ROLE: Role = Role::Consume;

    async fn run(&mut self, wire: &mut Wire) -> End {
        let (channel, mut results) = match self.results(&wire.connection).await {
            Ok(opened) => opened,
            Err(why) => return End::Lost(why),
        };
        let mut events = match self.events_or_fault(&wire.connection).await {
            Ok(events) => events,
            Err(why) => return End::Lost(why),
        };
        self.board.link(Role::Consume, Link::Up);
        tracing::info!(broker = %self.settings.address, queue = self.settings.reply_queue, "consuming");
        let connection = wire.connection.clone();
        // Lives until the end of the connection, with the channels to which its receipts go.
        let mut letters =
            pin!(dead::letters(&connection, &self.settings.dead_letters, &self.board, &self.dead_letters));
        match self.receive(wire, &mut results, &mut events, letters.as_mut()).await {
            End::Closed => self.wind_down(wire, &channel).await,
            lost => lost,
        }
    }

    fn lost(&mut self, _why: &str) {}

    async fn idle(&mut self) {
        future::pending().await
    }
}

async fn in_time<T>(opening: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    let late = |_| format!("the broker did not answer within {} s", DEADLINE.as_secs());
    timeout(DEADLINE, opening).await.map_err(late)?.map_err(|e| e.to_string())
}
