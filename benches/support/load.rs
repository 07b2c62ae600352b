//! A closed loop of HTTP/1.1 clients, and a bare hyper server to compare with.
//!
//! *Closed loop*: each connection has one request under way, and sends the next when the answer is there. So the rate
//! says what the server can do at that concurrency, and the latencies are those of a server that is fully used; they
//! say nothing about a given rate of arrivals. Clients live on one thread and share the machine with the server:
//! compare runs with each other, not with the world.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use std::{
    cell::RefCell,
    convert::Infallible,
    io::{self, ErrorKind},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::LocalSet,
    time::timeout_at,
};

/// An answer that takes longer counts as an error.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const LARGEST: usize = 16 << 20;

/// What a run found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Answers with a status below 400.
    pub(crate) requests: u64,
    /// These, by the second.
    pub(crate) per_second: f64,
    /// Half of them took no longer.
    pub(crate) p50: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
    /// Other answers, broken connections, and what took too long.
    pub(crate) errors: u64,
    /// The first of those.
    pub(crate) first_error: Option<String>,
}

/// The same request, again and again, for [`run`].
pub(crate) fn fixed(request: Vec<u8>) -> impl FnMut(&mut Vec<u8>) {
    move |buffer| buffer.extend_from_slice(&request)
}

/// Keeps `connections` busy for `duration`. `next` appends the next request, whole, to an empty buffer; connections
/// are kept alive unless the server closes them.
pub(crate) fn run(
    address: SocketAddr,
    connections: usize,
    duration: Duration,
    next: impl FnMut(&mut Vec<u8>) + 'static,
) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let shared = Rc::new(Shared { next: RefCell::new(Box::new(next)), tally: RefCell::default() });
    let start = Instant::now();
    let end = start + duration;
    local.block_on(&runtime, async {
        let clients: Vec<_> =
            (0..connections).map(|_| tokio::task::spawn_local(client(address, end, Rc::clone(&shared)))).collect();
        for client in clients {
            if client.await.is_err() {
                shared.tally.borrow_mut().fail("a client panicked");
            }
        }
    });
    let tally = shared.tally.take();
    Ok(tally.report(start.elapsed()))
}

/// Appends the next request.
type Next = Box<dyn FnMut(&mut Vec<u8>)>;

/// What the clients of one thread share.
struct Shared {
    next: RefCell<Next>,
    tally: RefCell<Tally>,
}

#[derive(Default)]
struct Tally {
    nanos: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn fail(&mut self, error: impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn report(mut self, taken: Duration) -> Report {
        self.nanos.sort_unstable();
        let at = |share: f64| {
            let index = (self.nanos.len() as f64 * share) as usize;
            Duration::from_nanos(self.nanos.get(index).copied().unwrap_or_default())
        };
        let requests = self.nanos.len() as u64;
        Report {
            requests,
            per_second: requests as f64 / taken.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            errors: self.errors,
            first_error: self.first_error,
        }
    }
}

/// One client: connects again whenever its connection ends.
async fn client(address: SocketAddr, end: Instant, shared: Rc<Shared>) {
    while Instant::now() < end {
        if let Err(error) = connection(address, end, &shared).await {
            shared.tally.borrow_mut().fail(error);
            // A server that is away must not make this loop spin.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Asks until the server closes the connection or the time is over.
async fn connection(address: SocketAddr, end: Instant, shared: &Shared) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut request, mut answer) = (Vec::new(), Vec::with_capacity(4096));
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(());
        }
        request.clear();
        (shared.next.borrow_mut())(&mut request);
        let exchange = async {
            stream.write_all(&request).await?;
            read_answer(&mut stream, &mut answer).await
        };
        let head = timeout_at((start + PATIENCE).into(), exchange).await.map_err(|_| ErrorKind::TimedOut)??;
        let nanos = start.elapsed().as_nanos() as u64;
        let mut tally = shared.tally.borrow_mut();
        if head.status < 400 {
            tally.nanos.push(nanos);
        } else {
            tally.fail(format!("status {}", head.status));
        }
        if head.closes {
            return Ok(());
        }
    }
}

/// What of an answer's head matters here.
#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    /// Bytes of head and body.
    total: usize,
    closes: bool,
}

/// Reads one answer, whole; nothing follows it, because nothing else was asked.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<Head> {
    answer.clear();
    let mut head = None;
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if head.is_none() {
            head = parse(answer)?;
        }
        match head {
            Some(head) if answer.len() == head.total => return Ok(head),
            Some(head) if answer.len() > head.total => return Err(bad("more bytes than the answer has")),
            _ if answer.len() > LARGEST => return Err(bad("the answer is too large")),
            _ => {}
        }
    }
}

/// The head, once it is whole. Answers need a `Content-Length`: without one their end cannot be told here.
fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| bad("the head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or(bad("no status"))?;
    let (mut length, mut closes) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = length.filter(|length| *length <= LARGEST).ok_or(bad("no usable Content-Length"))?;
    Ok(Some(Head { status, total: end + 4 + length, closes }))
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Ends a [`bare`] server when dropped.
#[derive(Debug)]
pub(crate) struct Stop(#[allow(dead_code)] oneshot::Sender<()>); // held, never read: its end is the signal

/// A server that is hyper and nothing else, in the layout of ours: one listener that deals sockets in turn to one
/// single-threaded runtime a core. Every request gets `body`, as JSON.
pub(crate) fn bare(body: &'static [u8]) -> io::Result<(SocketAddr, Stop)> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut threads = Vec::new();
    for index in 0..std::thread::available_parallelism()?.get() {
        let (deal, dealt) = mpsc::channel(1024);
        threads.push(deal);
        spawn(format!("bare-{index}"), serve(dealt, body))?;
    }
    let (stop, stopped) = oneshot::channel::<()>();
    spawn("bare-accept".into(), async move {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let accept = async {
            for deal in threads.iter().cycle() {
                let Ok((stream, _)) = listener.accept().await else { return };
                let Ok(stream) = stream.into_std() else { continue };
                if deal.send(stream).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            _ = stopped => {}
            () = accept => {}
        }
    })?;
    Ok((address, Stop(stop)))
}

/// A thread with a runtime of its own; the runtime ends with `work`.
fn spawn(name: String, work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name).spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work);
        }
    })?;
    Ok(())
}

async fn serve(mut dealt: mpsc::Receiver<std::net::TcpStream>, body: &'static [u8]) {
    while let Some(stream) = dealt.recv().await {
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let answer = service_fn(|_: Request<Incoming>| async {
                let mut response = Response::new(Full::new(Bytes::from_static(body)));
                let json = header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                Ok::<_, Infallible>(response)
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().header_read_timeout(None);
            // An error is the client's end of the connection: the client counts it.
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}
