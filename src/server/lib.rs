//! From sockets to requests: an HTTP/1.1 and h2c server for any tower service.
//!
//! It needs nothing above it. To every request that it lets through it leaves
//! [`Base`](gateway_contract::Base) (how the client reaches us), [`ClientAddr`] and a valid `x-request-id` header;
//! the mount prefix is off the path, and forwarding headers of untrusted peers are gone. Every answer carries the
//! `x-request-id`.
//!
//! | it refuses | with |
//! |---|---|
//! | `Content-Length` beside `Transfer-Encoding`; no `Host`, two, or no valid one; a target that is no path | 400, code 100 |
//! | a `Content-Length` above `max_body` (a body that turns out larger: the error of [`Inbound`]) | 413, code 208 |
//! | a body that is not there within `request_timeout` (the error of [`Inbound`]) | 408, code 100 |
//! | an answer of the stack that is not there within `request_timeout` | 503, code 205 |
//! | more than `max_concurrency` requests at once, probes exempt; too many connections | 503, code 210 |
//! | what is not HTTP, a head above 64 KiB or 100 fields (hyper, without a body) | 400, 414, 431 |
//! | a head that takes longer than `header_timeout` | the connection is closed |
//!
//! One listener deals connections in turn to one thread a core, each with a runtime of its own: a request never
//! changes threads. A connection holds one clone of the stack, see [`Current`]. The stack must always be ready
//! (`poll_ready`); one that is not is answered for with 503, code 210. A panic in the stack closes the connection it
//! came from; the others, and the process, live on.
//!
//! When `shutdown` resolves, every answer from then on closes its connection, and after `drain_delay` the listener is
//! closed once everything the system had accepted is taken over; requests
//! under way are answered (with `Connection: close`), and so is what arrives in the next quarter of a second on open
//! connections; what is still under way after `shutdown_grace` is cut and counted.
//!
//! ```
//! use bytes::Bytes;
//! use gateway_server::{Current, Inbound, Server, Settings};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use std::convert::Infallible;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let hello = tower::service_fn(|_: Request<Inbound>| async {
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
//! });
//! let server = Server::bind(Settings { listen: ([127, 0, 0, 1], 0).into(), threads: 1, ..Settings::default() })?;
//! let address = server.local_addr();
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let serving = tokio::spawn(server.serve(Current::new(hello), async { drop(stopped.await) }));
//!
//! let mut client = tokio::net::TcpStream::connect(address).await?;
//! client.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"));
//!
//! drop(stop);
//! let summary = serving.await??;
//! assert_eq!((summary.completed, summary.aborted), (1, 0));
//! # Ok(())
//! # }
//! ```

mod accept;
mod access;
mod answer;
mod body;
mod connection;
mod count;
mod current;
mod front;
mod host;
mod origin;
mod pace;
mod proxy;
mod pulse;
mod refusal;
mod request_id;
mod scan;
mod settings;
mod turn_away;
mod watchdog;
mod wire;
mod worker;

pub use body::Inbound;
pub use count::Counters;
pub use current::Current;
pub use origin::ClientAddr;
pub use request_id::X_REQUEST_ID;
pub use settings::Settings;

use accept::Dealer;
use bytes::Bytes;
use connection::Kit;
use front::Hub;
use gateway_contract::BoxError;
use http::{Request, Response};
use http_body::Body;
use origin::Rules;
use pulse::LINGER;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tower_service::Service;

/// Connections that the system keeps for us until we accept them.
const BACKLOG: u16 = 1024;
/// How much longer than the grace a thread may take to end; one that a stack blocks is left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// A server that listens; clients wait until it serves.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    settings: Settings,
    hub: Arc<Hub>,
}

/// What became of the requests, once the server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Requests that were answered, refusals included.
    pub completed: u64,
    /// Requests that were still under way when the grace was over, and were cut.
    pub aborted: u64,
}

impl Server {
    /// Listens at `settings.listen`, with `SO_REUSEADDR` and a backlog of 1024. Fails if that is not possible, or if
    /// `public_url` is no URL of a host and a prefix (`InvalidInput`).
    pub fn bind(settings: Settings) -> io::Result<Self> {
        let listener = listen(settings.listen)?;
        let local = listener.local_addr()?;
        let rules = Rules::new(&settings, local)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidInput, format!("public_url: {fault}")))?;
        let counters = Arc::new(Counters::new(settings.thread_count()));
        let hub = Arc::new(Hub::new(&settings, rules, counters));
        Ok(Self { listener, local, settings, hub })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it counts; stays readable while it serves and after.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.hub.counters)
    }

    /// Serves until `shutdown` resolves and the drain is over, see the crate's documentation. Needs a tokio runtime
    /// for the listener alone; connections live on threads of the server's own. Fails if a thread cannot be started,
    /// or if all of them died. If the future is dropped, everything is cut.
    pub async fn serve<S, R>(
        self,
        current: Current<S>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<Summary>
    where
        S: Service<Request<Inbound>, Response = Response<R>, Error = Infallible, Future: Send + 'static>,
        S: Clone + Send + 'static,
        R: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { listener, settings, hub, .. } = self;
        let counters = Arc::clone(&hub.counters);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (drain, drained) = watch::channel(None);
        let mut workers = Vec::with_capacity(settings.thread_count());
        for index in 0..settings.thread_count() {
            let (hub, tally) = (Arc::clone(&hub), counters.tally(index));
            let kit = Kit { hub, tally, current: current.clone(), builder: connection::builder() };
            workers.push(worker::start(index, Arc::new(kit), drained.clone()).await?);
        }
        drop((current, drained));
        let mut dealer = Dealer::new(workers, Arc::clone(&counters), settings.max_connections());
        let closing = async {
            shutdown.await;
            let close = Instant::now() + settings.drain_delay;
            hub.drain(close + LINGER);
            drain.send_replace(Some(close + settings.shutdown_grace));
            sleep_until(close).await;
        };
        let accepted = dealer.accept(listener, closing).await;

        // An error ends it without having asked.
        let deadline = *drain.borrow();
        let deadline = deadline.unwrap_or_else(|| Instant::now() + settings.shutdown_grace);
        hub.drain(Instant::now());
        drain.send_replace(Some(deadline));
        let mut aborted = 0;
        let workers = dealer.into_workers().into_iter().map(|worker| worker.end); // drops the senders: no more comes
        let mut last = None;
        for mut end in workers.collect::<Vec<_>>() {
            let ended = match timeout_at(deadline, &mut end).await {
                // From now, not from then: the whole machine may have stood still, and the threads with it.
                Err(_) => timeout_at(*last.get_or_insert_with(|| Instant::now() + LEFT_BEHIND), end).await,
                ended => ended,
            };
            match ended {
                Ok(Ok(cut)) => aborted += cut as u64,
                Ok(Err(_)) => tracing::error!("an HTTP thread died"),
                Err(_) => tracing::error!("an HTTP thread is blocked and left behind"),
            }
        }
        accepted?;
        Ok(Summary { completed: counters.answered(), aborted })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::from(BACKLOG))?;
    Ok(socket.into())
}
