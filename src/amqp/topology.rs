//! The queues: declared as configured, and used as they are where they are not.

use crate::link::DEADLINE;
use crate::settings::{Kind, QueueSpec, Settings};
use crate::state::Board;
use crate::wire;
use gateway_celery::Field;
use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind, Queue};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::timeout;

/// The services' queues: they may become more, and change, while the connections live.
#[derive(Debug, Clone)]
pub(crate) struct Queues(Arc<Mutex<Vec<QueueSpec>>>);

impl Queues {
    pub(crate) fn new(queues: Vec<QueueSpec>) -> Self {
        Self(Arc::new(Mutex::new(queues)))
    }

    fn all(&self) -> Vec<QueueSpec> {
        // Whole even if a holder panicked: each change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Declared at each connect from now on; in the place of one of the same name.
    pub(crate) fn put(&self, queue: QueueSpec) {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match queues.iter_mut().find(|known| known.name == queue.name) {
            Some(known) => *known = queue,
            None => queues.push(queue),
        }
    }
}

/// Why a question to the broker had no good answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no such queue.
    Missing,
    /// It is there, but not as asked for: the broker's words.
    Differs(String),
    /// The broker refused otherwise; the connection goes on.
    Refused(String),
    /// The connection is of no more use.
    Lost(String),
}

/// Declares every queue: the replies' and the dead letters' first, so that nothing is published before its answer has a
/// place. A queue that differs, or that we may not declare, becomes a fault on the board and is left as it is.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn declare(
    connection: &Connection,
    settings: &Settings,
    queues: &Queues,
    board: &Board,
) -> Result<(), String> {
    replies(connection, settings, board).await?;
    for queue in &settings.dead_letters {
        dead_letters(connection, queue, board).await?;
    }
    for queue in queues.all() {
        tasks(connection, &queue, board).await?;
    }
    Ok(())
}

/// Declares a service's queue as configured.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn tasks(connection: &Connection, queue: &QueueSpec, board: &Board) -> Result<(), String> {
    let mut arguments = Vec::new();
    if queue.kind == Kind::Quorum {
        arguments.push(("x-queue-type".to_owned(), Field::from("quorum")));
    }
    arguments.extend(queue.arguments.iter().cloned());
    one(connection, &QueueSpec { arguments, ..queue.clone() }, board).await
}

/// Declares the queue of results: durable, one consumer at a time, so that their order survives several gateways.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn replies(connection: &Connection, settings: &Settings, board: &Board) -> Result<(), String> {
    if settings.reply_queue.is_empty() {
        return Ok(()); // a worker answers, and asks for no answers
    }
    let arguments = vec![("x-single-active-consumer".to_owned(), Field::Bool(true))];
    let queue = QueueSpec { name: settings.reply_queue.clone(), kind: Kind::Classic, arguments };
    one(connection, &queue, board).await
}

/// Sees to it that a queue of dead letters exists. One that exists is used as it is: somebody else's operator may have
/// made it, with arguments that are none of ours.
///
/// # Errors
/// The connection is lost.
pub(crate) async fn dead_letters(connection: &Connection, queue: &str, board: &Board) -> Result<(), String> {
    match ask(connection, queue, true, FieldTable::default()).await {
        Ok(_) => {
            board.queue(queue, None);
            Ok(())
        }
        Err(Failed::Lost(why)) => Err(why),
        Err(_) => {
            let queue = QueueSpec { name: queue.to_owned(), kind: Kind::Classic, arguments: Vec::new() };
            one(connection, &queue, board).await
        }
    }
}

async fn one(connection: &Connection, queue: &QueueSpec, board: &Board) -> Result<(), String> {
    let name = &queue.name;
    let fault = match wire::table(&queue.arguments) {
        Err(why) => Some(format!("the queue {name} cannot be declared: {why}")),
        Ok(arguments) => match ask(connection, name, false, arguments).await {
            Ok(_) => None,
            Err(Failed::Lost(why)) => return Err(why),
            Err(Failed::Differs(why)) => Some(differing(connection, name, &why).await?),
            Err(Failed::Refused(why)) => Some(format!("the queue {name} cannot be declared: {why}")),
            Err(Failed::Missing) => Some(format!("the queue {name} cannot be declared")),
        },
    };
    if let Some(text) = &fault {
        tracing::warn!("{text}");
    }
    board.queue(name, fault);
    Ok(())
}

/// The text for a queue that exists with other arguments.
async fn differing(connection: &Connection, name: &str, why: &str) -> Result<String, String> {
    let does = match ask(connection, name, true, FieldTable::default()).await {
        Ok(_) => "it is used as it is",
        Err(Failed::Lost(why)) => return Err(why),
        Err(_) => "and it cannot be used",
    };
    Ok(format!(
        "the queue {name} is not as configured ({why}); {does}: configure it as its workers declare it, or delete it"
    ))
}

/// Declares a queue, or only asks about it, on a channel of its own: an error closes the channel.
pub(crate) async fn ask(
    connection: &Connection,
    name: &str,
    passive: bool,
    arguments: FieldTable,
) -> Result<Queue, Failed> {
    let queue = wire::short("a queue's name", name).map_err(Failed::Refused)?;
    if name.is_empty() {
        // To the broker an empty name means: make one up.
        return Err(Failed::Refused("a queue's name is empty".to_owned()));
    }
    let asking = async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { passive, ..QueueDeclareOptions::durable() };
        let queue = channel.queue_declare(queue, options, arguments).await?;
        // The answer is here: whether the farewell is heard does not matter.
        let _ = channel.close(200, "done".into()).await;
        Ok(queue)
    };
    match timeout(DEADLINE, asking).await {
        Ok(answer) => answer.map_err(|error| judge(connection, &error)),
        Err(_) => Err(Failed::Lost(format!("no answer about the queue {name} within {} s", DEADLINE.as_secs()))),
    }
}

/// Sorts an error by what it ends: the channel, or the connection.
pub(crate) fn judge(connection: &Connection, error: &lapin::Error) -> Failed {
    let ErrorKind::ProtocolError(amqp) = error.kind() else { return Failed::Lost(error.to_string()) };
    let words = amqp.get_message().to_string();
    match amqp.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Failed::Missing,
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => Failed::Differs(words),
        AMQPErrorKind::Soft(_) if connection.status().connected() => Failed::Refused(words),
        _ => Failed::Lost(words),
    }
}
