//! The publishing connection: two channels that each have one owner (this task), and a window on each.
//!
//! One owner, because concurrent publishing on a channel lets lapin swap delivery tags, and confirms would be blamed on
//! the wrong messages. The window, because each cumulative confirm scans all that is pending.

use crate::dead::ATTEMPT;
use crate::link::{DEADLINE, End, Session, Sign, Wire};
use crate::publication::{Fate, Job, Publication, Settled};
use crate::returns::Ledger;
use crate::settings::Settings;
use crate::state::{Board, Link, Role};
use crate::topology::Queues;
use crate::window::{LANES, Window};
use crate::{topology, wire};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future};
use gateway_celery::{Field, Message};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many may be unconfirmed on each.
pub(crate) const WINDOW: usize = 256;
/// A connection on which a confirm is awaited for so long is given up (if the publish timeout is not longer still).
const STUCK: Duration = Duration::from_secs(30);
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);

type Landing = (u64, Result<Confirmation, Crash>);

struct Crash {
    error: lapin::Error,
    /// False: it was never given to the connection.
    begun: bool,
}

#[derive(Default)]
struct Lane {
    channel: Option<Channel>,
    ledger: Ledger,
}

/// Publishes jobs and tells their outcomes.
pub(crate) struct Publisher {
    settings: Arc<Settings>,
    queues: Queues,
    board: Board,
    jobs: mpsc::Receiver<Job>,
    stop: CancellationToken,
    /// Until when closing may take, once `stop` is given.
    until: watch::Receiver<Instant>,
    window: Window,
    lanes: [Lane; LANES],
    air: FuturesUnordered<BoxFuture<'static, Landing>>,
    blocked: Option<String>,
    frame_max: usize,
}

impl Publisher {
    pub(crate) fn new(
        (settings, queues): (Arc<Settings>, Queues),
        board: Board,
        jobs: mpsc::Receiver<Job>,
        outcomes: mpsc::Sender<Settled>,
        stop: CancellationToken,
        until: watch::Receiver<Instant>,
    ) -> Self {
        let window = Window::new(outcomes, settings.publish_timeout);
        let (lanes, air) = (Default::default(), FuturesUnordered::new());
        Self { settings, queues, board, jobs, stop, until, window, lanes, air, blocked: None, frame_max: 4096 }
    }

    /// The lane with the most room, if any has some.
    fn lane(&self) -> Option<usize> {
        let open = (0..LANES).filter(|lane| self.lanes[*lane].channel.is_some());
        open.map(|lane| (self.window.on(lane), lane)).min().filter(|(on, _)| *on < WINDOW).map(|(_, lane)| lane)
    }

    fn launch(&mut self, mut job: Job, lane: usize) {
        let Publication { attempt, message, .. } = &mut job.publication;
        if *attempt > 1 {
            // So that a dead letter tells which copy it was. The first is as Celery itself would send it.
            message.headers.push((ATTEMPT.to_owned(), Field::Int(i32::try_from(*attempt).unwrap_or(i32::MAX))));
        }
        let id = job.publication.id;
        let properties = match self.checked(&job.publication.message, id) {
            Ok(properties) => properties,
            Err(why) => return self.window.turn_away(job, Fate::Refused(why)),
        };
        let Some(channel) = self.lanes[lane].channel.clone() else {
            return self.window.turn_away(job, Fate::Unsent("the channel is closed".to_owned()));
        };
        let (number, message) = self.window.enter(job, lane);
        let flight = async move { (number, fly(&channel, message, properties).await) };
        self.air.push(flight.boxed());
    }

    /// The message's properties, if the broker can take the message at all: refused by the broker it would take the
    /// channel or the connection with it, and everything on it.
    fn checked(&self, message: &Message, id: Uuid) -> Result<BasicProperties, String> {
        let (size, most) = (message.body.len(), self.settings.max_message);
        if size > most {
            return Err(format!("its body has {size} bytes; the broker takes {most}"));
        }
        wire::short("its queue's name", &message.routing_key)?;
        wire::short("its exchange's name", &message.exchange)?;
        let properties = wire::properties(message)?;
        // Properties travel in one frame, whatever their size.
        let weight = wire::weight(message);
        if weight > self.frame_max {
            return Err(format!("its headers have {weight} bytes; the connection takes {}", self.frame_max));
        }
        Ok(properties.with_message_id(id.to_string().into()))
    }

    /// Takes in every confirm that is ready, then decides.
    fn land(&mut self, first: Landing) {
        self.landed(first);
        // Twice nothing: the stream may pause once though more is ready, to let others run.
        let mut pauses = 0;
        while pauses < 2 {
            match self.air.next().now_or_never() {
                Some(Some(landing)) => self.landed(landing),
                Some(None) => break,
                None => pauses += 1,
            }
        }
        for lane in 0..LANES {
            for (number, came_back) in self.lanes[lane].ledger.decide() {
                let fate = match (came_back, self.window.get(number)) {
                    (None, _) => Fate::Sent,
                    (Some(words), flight) => {
                        let queue = flight.map_or("", |flight| flight.queue.as_str());
                        Fate::Unroutable(format!("the broker has no queue {queue} ({words})"))
                    }
                };
                self.window.settle(number, fate);
            }
        }
    }

    fn landed(&mut self, (number, landing): Landing) {
        let Some(flight) = self.window.get(number) else { return };
        let (id, lane) = (flight.id, flight.lane);
        let came_back = |message: lapin::message::BasicReturnMessage| {
            let whose = message.properties.message_id().as_ref()?.as_str();
            Some((Uuid::try_parse(whose).ok()?, message.reply_text.to_string()))
        };
        match landing {
            Ok(Confirmation::Ack(carries)) => {
                self.lanes[lane].ledger.completed(number, id, carries.and_then(came_back));
            }
            Ok(Confirmation::Nack(carries)) => {
                self.lanes[lane].ledger.note(id, carries.and_then(came_back));
                // A full queue that rejects, or one without a leader at the moment: it may take it later.
                self.window.settle(number, Fate::Unknown("the broker did not take it (nack)".to_owned()));
            }
            Ok(Confirmation::NotRequested) => {
                let why = "the channel does not confirm".to_owned();
                self.window.settle(number, Fate::Unknown(why));
            }
            Err(crash) => {
                self.lanes[lane].channel = None;
                let why = self.settings.address.scrub(&crash.error.to_string());
                let fate = match (crash.begun, guilty(flight.size, &flight.exchange, &why)) {
                    (_, true) => Fate::Refused(why),
                    (true, false) => Fate::Unknown(why),
                    (false, false) => Fate::Unsent(why),
                };
                self.window.settle(number, fate);
            }
        }
    }

    /// Opens the lanes that have no channel and nothing in the air any more.
    async fn open(&mut self, connection: &Connection) -> Result<(), String> {
        for lane in 0..LANES {
            if self.lanes[lane].channel.is_none() && self.window.on(lane) == 0 {
                let opening = async {
                    let channel = connection.create_channel().await?;
                    channel.confirm_select(ConfirmSelectOptions::default()).await?;
                    Ok::<_, lapin::Error>(channel)
                };
                let channel = timeout(DEADLINE, opening)
                    .await
                    .map_err(|_| "the broker opens no channel".to_owned())?
                    .map_err(|e| e.to_string())?;
                self.lanes[lane] = Lane { channel: Some(channel), ledger: Ledger::default() };
            }
        }
        Ok(())
    }

    /// What is to be done as time passes.
    async fn tick(&mut self, connection: &Connection) -> Result<(), String> {
        // While the broker blocks, what it was given waits in its socket: it is not sent again, for then there would be two.
        let over = if self.blocked.is_none() { self.window.expire() } else { Vec::new() };
        for number in over {
            let landed = self.lanes.iter_mut().any(|lane| lane.ledger.forget(number));
            if landed {
                // Its confirm is here, only undecided: nothing more will come. The outcome has just been told.
                self.window.settle(number, Fate::Unknown(String::new()));
            }
        }
        let most = STUCK.max(self.settings.publish_timeout * 2);
        if self.blocked.is_none() && self.window.age() > most {
            return Err(format!("the broker has not confirmed anything for {} s", most.as_secs()));
        }
        self.open(connection).await
    }

    fn turn_away(&self, job: Job, why: &str) {
        self.window.turn_away(job, Fate::Unsent(why.to_owned()));
    }

    /// What the connection tells of itself.
    fn heed(&mut self, sign: Sign) -> Option<End> {
        match sign {
            Sign::Blocked(why) => {
                self.board.link(Role::Publish, Link::Blocked(why.clone()));
                self.blocked = Some(why);
            }
            Sign::Unblocked => {
                self.board.link(Role::Publish, Link::Up);
                self.blocked = None;
                self.window.be_patient();
            }
            Sign::Lost(why) => return Some(End::Lost(why)),
        }
        None
    }

    /// No more jobs: waits for the confirms still out, up to the deadline.
    fn finished(&mut self) -> bool {
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.turn_away(job, "the client closes");
        }
        self.window.is_settled() || *self.until.borrow() <= Instant::now()
    }

    async fn serve(&mut self, connection: &mut Wire) -> End {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let lane = self.lane();
            let takes = lane.is_some() || self.blocked.is_some();
            tokio::select! {
                biased;
                sign = connection.sign() => if let Some(end) = self.heed(sign) { return end },
                Some(landing) = self.air.next() => self.land(landing),
                _ = ticks.tick() => {
                    if let Err(why) = self.tick(&connection.connection).await {
                        return End::Lost(why);
                    }
                    if self.stop.is_cancelled() && self.finished() {
                        return End::Closed;
                    }
                }
                Some(job) = self.jobs.recv(), if takes => match (&self.blocked, lane) {
                    (None, Some(lane)) => self.launch(job, lane),
                    (Some(why), _) => self.turn_away(job, &why.clone()),
                    (None, None) => self.turn_away(job, "no channel is open"),
                },
            }
        }
    }
}

impl Session for Publisher {
    const ROLE: Role = Role::Publish;

    async fn run(&mut self, connection: &mut Wire) -> End {
        self.frame_max = connection.connection.configuration().frame_max() as usize;
        if let Err(why) = topology::declare(&connection.connection, &self.settings, &self.queues, &self.board).await {
            return End::Lost(why);
        }
        if let Err(why) = self.open(&connection.connection).await {
            return End::Lost(why);
        }
        self.board.link(Role::Publish, Link::Up);
        tracing::info!(broker = %self.settings.address, "publishing");
        self.serve(connection).await
    }

    fn lost(&mut self, why: &str) {
        self.window.crash(why);
        self.air = FuturesUnordered::new();
        self.lanes = Default::default();
        self.blocked = None;
        while let Ok(job) = self.jobs.try_recv() {
            self.turn_away(job, why);
        }
    }

    async fn idle(&mut self) {
        while let Some(job) = self.jobs.recv().await {
            self.turn_away(job, "not connected to the broker");
        }
        future::pending().await
    }
}

/// Publishes and waits for the confirm. Nothing may come between lapin's giving a delivery tag and its queueing the
/// frames: both happen in the first poll, and only the publisher's task polls this.
async fn fly(channel: &Channel, message: Message, properties: BasicProperties) -> Result<Confirmation, Crash> {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let begun = channel.status().connected();
    let (exchange, queue) = (message.exchange.as_str().into(), message.routing_key.as_str().into());
    let crash = |error| Crash { error, begun };
    let confirm = channel.basic_publish(exchange, queue, options, &message.body, properties).await.map_err(crash)?;
    confirm.await.map_err(|error| Crash { error, begun: true })
}

/// Is this message the one over which the broker closed the channel? Then it must not be sent again: it would close every
/// channel it comes to. RabbitMQ says `message size A is larger than configured max size B` or `no exchange 'X' in vhost
/// 'V'`, and names no message.
fn guilty(size: usize, exchange: &str, why: &str) -> bool {
    if !exchange.is_empty() && why.contains(&format!("no exchange '{exchange}' in")) {
        return true;
    }
    let limit = why.split_once("larger than configured max size ").map(|(_, rest)| rest);
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    limit.is_some_and(|rest| digits(rest).parse().is_ok_and(|most: usize| size > most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_message_that_closed_the_channel_is_refused_for_it() {
        let size = "PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000";
        assert!(guilty(1001, "", size) && guilty(2000, "", size));
        assert!(!guilty(1000, "", size));
        let exchange = "NOT_FOUND - no exchange 'x' in vhost '/'";
        assert!(guilty(1, "x", exchange));
        assert!(!guilty(1, "xy", exchange) && !guilty(1, "", exchange));
        assert!(!guilty(usize::MAX, "x", "CONNECTION_FORCED - larger than configured max size of nothing"));
    }
}
