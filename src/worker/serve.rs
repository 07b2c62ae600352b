//! A worker on RabbitMQ, as good a Celery citizen as any: takes tasks, runs them, reports, obeys.
//!
//! | concept | file |
//! |---|---|
//! | what it is told | [`options`] |
//! | what it knows of its tasks | `table` |
//! | one task, from its delivery to its receipt | `attend` |
//! | reports, retries, putting back | `desk` |
//! | copies of a task: those that wait, or go back | `copies` |
//! | commands and questions | `control` |
//! | events | `events` |
//!
//! **Nothing is lost.** A task is acknowledged after the broker has confirmed its result; a worker that dies before
//! leaves it to another. What is delivered again while it still runs here (the connection was lost) is run once.
//!
//! **Waiting** tasks (`eta`, the pause before another try) lie in queues with the broker, not in memory.

mod attend;
mod control;
mod copies;
mod desk;
mod events;
mod lately;
mod options;
mod table;

pub use options::{OnLost, Service, Stop, Work, WorkerFault, WorkerOptions};

use crate::{Runner, recover};
use desk::Desk;
use gateway_amqp::{WorkerClient, WorkerInbox, WorkerSettings};
use std::{sync::Arc, time::Duration};
use tokio::{
    select,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

/// Between two heartbeats, as Celery's workers have it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long guards of an earlier process may take to stop their programs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long tasks may be on their way from the broker.
const ON_THE_WAY: Duration = Duration::from_millis(300);
/// How long results that are still out are waited for at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// Works until it is told to [`Stop`]. A broker that is away is no error: it is dialled for ever.
///
/// Must be called in a tokio runtime with I/O and time. Dropped, every program is stopped and its task given to others.
///
/// # Errors
/// [`WorkerFault`]: what is wrong with the options, before anything is begun.
pub async fn work(options: WorkerOptions, stop: Stop) -> Result<(), WorkerFault> {
    options.check()?;
    let mut settings = options.runner.clone();
    settings.shutdown = stop.cold.clone();
    let directory = settings.directory.clone();
    let runner = Runner::new(settings)?;
    if let Err(error) = recover(&directory, PATIENCE).await {
        tracing::warn!(%error, "runs of an earlier worker could not be looked for");
    }
    let node = format!("{}@{}", options.name, runner.host());
    let queues = options.queues();
    let settings = WorkerSettings {
        publish_timeout: options.publish_timeout,
        ..WorkerSettings::new(options.address.clone(), &*node, queues.clone())
    };
    let (client, inbox) = WorkerClient::start(settings);
    let desk = Arc::new(Desk::new(&options, queues, node, client, runner, stop));
    serve(desk, inbox, options.grace).await;
    Ok(())
}

/// Takes what comes until everything that runs has come to its end.
async fn serve(desk: Arc<Desk>, mut inbox: WorkerInbox, grace: Duration) {
    let pump = tokio::spawn(desk.events.pump(desk.client.clone()));
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = desk.client.state();
    let mut online = false;
    let (warm, cold) = (desk.stop.warm.clone(), desk.stop.cold.clone());
    let mut stopping = None;
    desk.set_prefetch();
    loop {
        select! {
            biased;
            () = warm.cancelled(), if stopping.is_none() => {
                stopping = Some(Instant::now());
                tracing::info!(running = desk.table.active(), ?grace, "stopping: no new tasks, running ones may end");
                desk.set_prefetch();
                desk.tracker.close();
                let (desk, cold) = (desk.clone(), cold.clone());
                tokio::spawn(async move {
                    sleep(grace).await;
                    if !cold.is_cancelled() && desk.table.active() > 0 {
                        tracing::warn!(running = desk.table.active(), "stopping what still runs; its tasks go to others");
                    }
                    cold.cancel();
                });
            }
            Some(heard) = inbox.heard.recv() => control::hear(&desk, heard),
            Some(task) = inbox.tasks.recv() => {
                desk.tracker.spawn(attend::attend(desk.clone(), task));
            }
            Ok(()) = state.changed() => {
                let up = state.borrow_and_update().control.is_up();
                if up && !online {
                    desk.tell_self("worker-online");
                }
                online = up;
            }
            _ = beat.tick() => {
                desk.tell_self("worker-heartbeat");
                desk.look_after();
            }
            () = settled(&desk, stopping) => break,
        }
    }
    desk.events.flush().await;
    pump.abort();
    desk.tell_self("worker-offline");
    desk.client.close(CLOSING).await;
    tracing::info!("stopped");
}

/// Resolves when nothing is attended to any more, and tasks that were on their way when the worker was told to stop have
/// come and gone back.
async fn settled(desk: &Desk, stopping: Option<Instant>) {
    match stopping {
        Some(since) => {
            sleep_until(since + ON_THE_WAY).await;
            desk.tracker.wait().await;
        }
        None => std::future::pending().await,
    }
}
