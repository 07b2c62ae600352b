//! A queue that is filled with copies of a message, and the results that come of them.

use super::program::Fallible;
use futures_util::{StreamExt, stream};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, time::timeout};

/// A gateway publishes within it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the broker, the tasks' queue, and a queue of results.
pub(crate) struct Results {
    runtime: Runtime,
    _connection: Connection,
    channel: Channel,
    queue: String,
    replies: String,
    consumer: Mutex<Consumer>,
}

impl Results {
    pub(crate) fn connect(broker: &str, queue: &str) -> Fallible<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let replies = format!("{queue}.results");
        let (connection, channel, consumer) = runtime.block_on(async {
            let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            channel
                .queue_declare(replies.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default())
                .await?;
            let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
            let consumer = channel.basic_consume(replies.as_str().into(), "".into(), options, FieldTable::default());
            let consumer = consumer.await?;
            Ok::<_, lapin::Error>((connection, channel, consumer))
        })?;
        let (queue, consumer) = (queue.to_owned(), Mutex::new(consumer));
        Ok(Self { runtime, _connection: connection, channel, queue, replies, consumer })
    }

    /// Takes the message that the gateway has sent, and puts so many copies in its place: each a task of its own, whose
    /// results come here.
    pub(crate) fn fill(&self, tasks: usize) -> Fallible<()> {
        self.runtime.block_on(async {
            let message = self.take().await?;
            let copies = stream::iter(0..tasks).map(|_| async {
                let (properties, body) = self.copy(&message);
                let options = BasicPublishOptions::default();
                let queue = self.queue.as_str().into();
                self.channel.basic_publish("".into(), queue, options, &body, properties).await?.await
            });
            let mut copies = copies.buffer_unordered(256);
            while let Some(confirmed) = copies.next().await {
                if !matches!(confirmed?, Confirmation::Ack(None)) {
                    return Err("a message was not confirmed".into());
                }
            }
            Ok(())
        })
    }

    async fn take(&self) -> Fallible<Delivery> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let options = BasicGetOptions { no_ack: true };
            if let Ok(Some(got)) = self.channel.basic_get(self.queue.as_str().into(), options).await {
                return Ok(got.delivery);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the gateway's message did not come".into())
    }

    /// The same task under another id (Celery's protocol 2: it stands in the headers, too).
    fn copy(&self, message: &Delivery) -> (BasicProperties, Vec<u8>) {
        let id = uuid::Uuid::now_v7().to_string();
        let mut headers = message.properties.headers().clone().unwrap_or_default();
        for name in ["id", "root_id"] {
            headers.insert(name.into(), AMQPValue::LongString(id.as_str().into()));
        }
        let properties = message.properties.clone().with_headers(headers).with_correlation_id(id.into());
        (properties.with_reply_to(self.replies.as_str().into()), message.data.clone())
    }

    /// How many results SUCCESS came in this while.
    pub(crate) fn succeeded(&self, during: Duration) -> Fallible<usize> {
        let mut consumer = self.consumer.lock().map_err(|_| "poisoned")?;
        self.runtime.block_on(async {
            let (until, mut count) = (tokio::time::Instant::now() + during, 0);
            while let Ok(Some(delivery)) = tokio::time::timeout_at(until, consumer.next()).await {
                let delivery = delivery?;
                if delivery.data.windows(9).any(|nine| nine == b"\"SUCCESS\"") {
                    count += 1;
                }
            }
            Ok(count)
        })
    }

    pub(crate) fn delete(&self, queues: &[&str]) -> Fallible<()> {
        for queue in queues.iter().copied().chain([self.replies.as_str()]) {
            let deleting = self.channel.queue_delete(queue.into(), QueueDeleteOptions::default());
            self.runtime.block_on(async { timeout(PATIENCE, deleting).await })??;
        }
        Ok(())
    }
}
