//! One thread with its runtime: it serves the connections that it is dealt.

use crate::{
    body::Inbound,
    connection::{self, Kit},
    count::Seat,
    turn_away,
};
use bytes::Bytes;
use gateway_contract::BoxError;
use http::{Request, Response};
use http_body::Body;
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower_service::Service;

/// Connections that are dealt and not yet begun; beyond, the next thread is asked.
pub(crate) const QUEUE: usize = 1024;

/// A connection, dealt.
#[derive(Debug)]
pub(crate) struct Deal {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// `None`: there is no room, it is to be told so.
    pub(crate) seat: Option<Seat>,
    /// Then this is held until it has been told.
    pub(crate) refusal: Option<Arc<()>>,
}

/// The handle of a thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) deals: mpsc::Sender<Deal>,
    /// How many requests were cut when the grace was over; an error if the thread died.
    pub(crate) end: oneshot::Receiver<usize>,
}

/// Starts thread number `index`; ready to serve when this returns.
pub(crate) async fn start<S, R>(
    index: usize,
    kit: Arc<Kit<S>>,
    drain: watch::Receiver<Option<Instant>>,
) -> io::Result<Worker>
where
    S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (deals, queue) = mpsc::channel(QUEUE);
    let (ended, end) = oneshot::channel();
    let (begun, begin) = oneshot::channel();
    std::thread::Builder::new().name(format!("http-{index}")).spawn(move || {
        // Made and dropped on its own thread: a runtime must not be dropped inside another one.
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _ = begun.send(Ok(()));
                let aborted = runtime.block_on(work(kit, queue, drain));
                // What a stack left on the blocking pool must not hold the end up.
                runtime.shutdown_timeout(Duration::from_millis(100));
                let _ = ended.send(aborted);
            }
            Err(error) => {
                let _ = begun.send(Err(error));
            }
        }
    })?;
    begin.await.map_err(|_| io::Error::other("an HTTP thread died at its start"))??;
    Ok(Worker { deals, end })
}

/// Serves until the channel closes, then until all is answered or the deadline that `drain` tells has come.
/// Returns how many requests were cut.
async fn work<S, R>(kit: Arc<Kit<S>>, mut queue: mpsc::Receiver<Deal>, drain: watch::Receiver<Option<Instant>>) -> usize
where
    S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            deal = queue.recv() => match deal {
                Some(deal) => begin(&mut connections, &kit, deal, &drain),
                None => break,
            },
            Some(end) = connections.join_next() => report(end),
        }
    }
    // Without a deadline the server itself was dropped: nothing is waited for.
    let deadline = (*drain.borrow()).unwrap_or_else(Instant::now);
    let all = async {
        while let Some(end) = connections.join_next().await {
            report(end);
        }
    };
    let late = timeout_at(deadline, all).await.is_err();
    let aborted = if late { kit.tally.open() } else { 0 };
    connections.shutdown().await;
    aborted
}

fn begin<S, R>(connections: &mut JoinSet<()>, kit: &Arc<Kit<S>>, deal: Deal, drain: &watch::Receiver<Option<Instant>>)
where
    S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let stream = match tokio::net::TcpStream::from_std(deal.stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(peer = %deal.peer, %error, "connection lost at its start"),
    };
    // An answer is written whole: waiting for more of it only delays it.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(peer = %deal.peer, %error, "connection lost at its start");
    }
    match deal.seat {
        Some(seat) => connections.spawn(connection::run(Arc::clone(kit), stream, deal.peer, seat, drain.clone())),
        None => connections.spawn(turn_away::run(stream, deal.refusal)),
    };
}

/// A panic in the stack ends its connection and nothing else; the panic hook has told the rest.
fn report(end: Result<(), tokio::task::JoinError>) {
    if end.is_err_and(|error| error.is_panic()) {
        tracing::error!("a request's handler panicked: its connection is closed");
    }
}
