//! A bare publisher: lapin in the shape in which the gateway publishes, and nothing else.

use super::under_test::Fallible;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
        QueuePurgeOptions,
    },
    types::FieldTable,
};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// As the gateway has it.
const LANES: usize = 2;
const WINDOW: usize = 256;
/// The broker counts slowly.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message as it is published.
pub(crate) struct Sample {
    properties: BasicProperties,
    body: Vec<u8>,
}

/// A connection to the broker, and the queue that is measured.
pub(crate) struct Raw {
    runtime: Runtime,
    connection: Connection,
    channel: Channel,
    queue: String,
}

type Flight = BoxFuture<'static, (usize, lapin::Result<Confirmation>)>;

impl Raw {
    pub(crate) fn connect(broker: &str, queue: &str) -> Fallible<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let url = format!("{broker}?frame_max=16384");
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            Ok::<_, lapin::Error>((connection, channel))
        })?;
        Ok(Self { runtime, connection, channel, queue: queue.to_owned() })
    }

    /// Waits until so many messages are in the queue; gives how many.
    pub(crate) fn wait_for(&self, count: u64) -> Fallible<u64> {
        let deadline = Instant::now() + PATIENCE;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        self.runtime.block_on(async {
            loop {
                let asked = self.channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default());
                let found = u64::from(asked.await?.message_count());
                if found >= count {
                    return Ok(found);
                }
                if Instant::now() > deadline {
                    return Err(format!("{found} of {count} messages arrived").into());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    /// Takes one message from the queue.
    pub(crate) fn take(&self) -> Fallible<Sample> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.runtime.block_on(self.channel.basic_get(self.queue.as_str().into(), options))?;
        let got = got.ok_or("the queue is empty")?;
        Ok(Sample { properties: got.delivery.properties.clone(), body: got.delivery.data.to_vec() })
    }

    pub(crate) fn purge(&self) -> Fallible<()> {
        let purging = self.channel.queue_purge(self.queue.as_str().into(), QueuePurgeOptions::default());
        self.runtime.block_on(purging)?;
        Ok(())
    }

    pub(crate) fn delete(&self, queues: &[&str]) -> Fallible<()> {
        for queue in queues {
            let deleting = self.channel.queue_delete((*queue).into(), QueueDeleteOptions::default());
            self.runtime.block_on(deleting)?;
        }
        Ok(())
    }

    /// Publishes for so long; gives the confirmed messages a second, up to the last confirm.
    pub(crate) fn publish(&self, sample: &Sample, duration: Duration) -> Fallible<f64> {
        self.runtime.block_on(async {
            let mut lanes = Vec::new();
            for _ in 0..LANES {
                let channel = self.connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                lanes.push(channel);
            }
            let begun = Instant::now();
            let (mut air, mut on, mut confirmed) = (FuturesUnordered::<Flight>::new(), [0; LANES], 0_u64);
            loop {
                let open = begun.elapsed() < duration;
                for (lane, channel) in lanes.iter().enumerate() {
                    while open && on[lane] < WINDOW {
                        air.push(self.fly(lane, channel, sample).boxed());
                        on[lane] += 1;
                        // The first poll publishes; nothing may come between two of them.
                        let landed = air.next().now_or_never().flatten();
                        confirmed += land(landed, &mut on)?;
                    }
                }
                match air.next().await {
                    Some(landed) => confirmed += land(Some(landed), &mut on)?,
                    None => break,
                }
            }
            let taken = begun.elapsed().as_secs_f64();
            for lane in lanes {
                lane.close(200, "done".into()).await?;
            }
            Ok(confirmed as f64 / taken)
        })
    }

    fn fly(
        &self,
        lane: usize,
        channel: &Channel,
        sample: &Sample,
    ) -> impl Future<Output = (usize, lapin::Result<Confirmation>)> + Send + 'static {
        let (channel, queue, body) = (channel.clone(), self.queue.clone(), sample.body.clone());
        let id = uuid::Uuid::now_v7().to_string();
        let properties = sample.properties.clone().with_message_id(id.as_str().into()).with_correlation_id(id.into());
        async move {
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let published = channel.basic_publish("".into(), queue.as_str().into(), options, &body, properties).await;
            match published {
                Ok(confirm) => (lane, confirm.await),
                Err(error) => (lane, Err(error)),
            }
        }
    }
}

/// Counts a confirm; anything else spoils the measurement.
fn land(landed: Option<(usize, lapin::Result<Confirmation>)>, on: &mut [usize; LANES]) -> Fallible<u64> {
    let Some((lane, confirmation)) = landed else { return Ok(0) };
    on[lane] -= 1;
    match confirmation? {
        Confirmation::Ack(None) => Ok(1),
        other => Err(format!("not confirmed: {other:?}").into()),
    }
}
