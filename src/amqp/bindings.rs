//! Bindings of the reply queue: for workers that send each task's results to an exchange, under the task's own key.
//!
//! They are made and removed on two channels of the control connection that are kept open, so that making one costs no
//! more than its round trip, and many are under way at once. They are durable, as the queue is.

use crate::control::{ControlError, Slot};
use crate::link::DEADLINE;
use crate::settings::Settings;
use crate::state::Board;
use crate::topology::{self, Failed};
use crate::wire;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;

/// Bindings under way at once.
const AT_ONCE: usize = 64;

/// A channel that is opened when it is needed, and again when it is closed.
struct Lane {
    turns: Semaphore,
    open: Mutex<Option<(Arc<Connection>, Channel)>>,
}

/// The callers' end.
pub(crate) struct Bindings {
    settings: Arc<Settings>,
    board: Board,
    slot: watch::Receiver<Slot>,
    making: Lane,
    removing: Lane,
}

impl Lane {
    fn new(at_once: usize) -> Self {
        Self { turns: Semaphore::new(at_once), open: Mutex::default() }
    }
}

impl Bindings {
    pub(crate) fn new(settings: Arc<Settings>, board: Board, slot: watch::Receiver<Slot>) -> Self {
        // One removal at a time: what the broker refuses there closes the channel, and every other with it.
        Self { settings, board, slot, making: Lane::new(AT_ONCE), removing: Lane::new(1) }
    }

    pub(crate) async fn bind(&self, exchange: &str, key: &str) -> Result<(), ControlError> {
        let [exchange, key, queue] = self.names(exchange, key)?;
        self.ask(&self.making, &exchange, async |channel: Channel| {
            let options = QueueBindOptions::default();
            channel.queue_bind(queue, exchange.clone(), key, options, FieldTable::default()).await
        })
        .await
    }

    pub(crate) async fn release(&self, exchange: &str, key: &str) -> Result<(), ControlError> {
        let [exchange, key, queue] = self.names(exchange, key)?;
        let released = self.ask(&self.removing, &exchange, async |channel: Channel| {
            let unbinding = channel.queue_unbind(queue, exchange.clone(), key.clone(), FieldTable::default());
            let options = QueueDeleteOptions { if_unused: true, ..Default::default() };
            // Both are on the wire before either is answered.
            futures_util::try_join!(unbinding, channel.queue_delete(key.clone(), options)).map(|_| ())
        });
        match released.await {
            // It is gone, or somebody else reads it: nothing that is left to us.
            Err(ControlError::NoSuchQueue) => Ok(()),
            other => other,
        }
    }

    fn names(&self, exchange: &str, key: &str) -> Result<[ShortString; 3], ControlError> {
        let short = |what, text| wire::short(what, text).map_err(ControlError::Refused);
        Ok([
            short("an exchange's name", exchange)?,
            short("a routing key", key)?,
            short("the reply queue's name", &self.settings.reply_queue)?,
        ])
    }

    async fn ask<F>(
        &self,
        lane: &Lane,
        exchange: &ShortString,
        asking: impl FnOnce(Channel) -> F,
    ) -> Result<(), ControlError>
    where
        F: Future<Output = lapin::Result<()>>,
    {
        let asked = async {
            let _turn = lane.turns.acquire().await.map_err(|_| ControlError::NotConnected)?;
            let connection = self.slot.borrow().clone().ok_or(ControlError::NotConnected)?;
            let channel = self.channel(lane, &connection, exchange).await?;
            asking(channel).await.map_err(|error| topology::judge(&connection, &error).into())
        };
        timeout(DEADLINE, asked).await.map_err(|_| ControlError::Late)?
    }

    /// The lane's channel. With a new one, exchange and queue are declared: they may be what the last one missed.
    async fn channel(
        &self,
        lane: &Lane,
        connection: &Arc<Connection>,
        exchange: &ShortString,
    ) -> Result<Channel, ControlError> {
        let mut open = lane.open.lock().await;
        if let Some((of, channel)) = &*open
            && Arc::ptr_eq(of, connection)
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        *open = None;
        self.exchange(connection, exchange).await?;
        topology::replies(connection, &self.settings, &self.board).await.map_err(|_| ControlError::NotConnected)?;
        let channel = connection.create_channel().await;
        let channel = channel.map_err(|error| ControlError::from(topology::judge(connection, &error)))?;
        *open = Some((connection.clone(), channel.clone()));
        Ok(channel)
    }

    /// Declares the exchange as Celery declares it: direct, durable. One that is otherwise is used as it is.
    async fn exchange(&self, connection: &Connection, exchange: &ShortString) -> Result<(), ControlError> {
        let declaring = async {
            let channel = connection.create_channel().await?;
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let (kind, arguments) = (ExchangeKind::Direct, FieldTable::default());
            channel.exchange_declare(exchange.clone(), kind, options, arguments).await?;
            // The answer is here: whether the farewell is heard does not matter.
            let _ = channel.close(200, "done".into()).await;
            Ok::<_, lapin::Error>(())
        };
        let fault = match declaring.await.map_err(|error| topology::judge(connection, &error)) {
            Ok(()) => None,
            Err(Failed::Differs(why) | Failed::Refused(why)) => {
                Some(format!("the exchange {exchange} of the workers' results is not as Celery declares it ({why})"))
            }
            Err(other) => return Err(other.into()),
        };
        self.board.queue(exchange.as_str(), fault);
        Ok(())
    }
}
