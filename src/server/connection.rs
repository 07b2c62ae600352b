//! One connection, from its first byte to its last.

use crate::{
    body::{Inbound, Outbound},
    count::{Seat, Tally},
    current::Current,
    front::{Front, Hub},
    pulse::Pulse,
    watchdog::{Verdict, Watchdog},
    wire::Wire,
};
use bytes::Bytes;
use gateway_contract::BoxError;
use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
};
use tokio::{net::TcpStream, sync::watch, time::Instant};
use tower_service::Service;

/// Most bytes of a request's head; beyond: 431 from hyper, as for more than 100 fields.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// What the connections of one thread share.
#[derive(Debug)]
pub(crate) struct Kit<S> {
    pub(crate) hub: Arc<Hub>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) current: Current<S>,
    pub(crate) builder: Builder<TokioExecutor>,
}

/// hyper for HTTP/1.1 and h2c, told apart by the first bytes.
pub(crate) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // The watchdog keeps the time of heads, see `pulse`: hyper's own timer is not set.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD);
    builder.http2().max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEAD as u32);
    builder
}

/// Serves one connection until it ends, is cut, or (once `drain` changes) has answered what it was asked.
pub(crate) async fn run<S, R>(
    kit: Arc<Kit<S>>,
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    mut drain: watch::Receiver<Option<Instant>>,
) where
    S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + 'static,
    R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let hub = &kit.hub;
    let pulse = Arc::new(Pulse::new());
    let front = Front::new(Arc::clone(hub), Arc::clone(&kit.tally), Arc::clone(&pulse), kit.current.clone(), peer.ip());
    let wire = TokioIo::new(Wire::new(stream, Arc::clone(&pulse)));
    let mut connection = pin!(kit.builder.serve_connection::<_, _, Outbound<R>>(wire, front));
    let mut watchdog = Watchdog::new(hub.header_timeout, hub.request_timeout);
    let mut told = pin!(drain.changed());
    let mut listening = false;
    poll_fn(|cx| {
        // hyper first, so that what the socket already holds is read before a drain closes it.
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return Poll::Ready(());
            }
            if !listening {
                // Once: a task's waker stays the same, and asking at each wake would cost a lock a request. The flag
                // in the hub, set before the signal, says whether it was this that woke us.
                listening = true;
                let _ = told.as_mut().poll(cx);
            }
            match watchdog.poll(cx, &pulse, hub.draining()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Verdict::Close) => connection.as_mut().graceful_shutdown(),
                Poll::Ready(Verdict::Cut(reason)) => {
                    tracing::debug!(%peer, reason, "connection cut");
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
    drop(seat);
}
