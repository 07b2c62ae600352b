//! The server under test, its stack, and a client that speaks raw bytes. Every wait has a deadline.

use bytes::Bytes;
use gateway_contract::{Base, Rejection};
use gateway_server::{ClientAddr, Counters, Current, Inbound, Server, Settings, Summary};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, task, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything here takes, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for `future` as long as a test can.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it took too long")
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let all = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(PATIENCE, all).await.is_ok(), "never came true: {what}");
}

/// Small numbers; deadlines that no test reaches unless it sets them.
pub(crate) fn settings() -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        trusted_proxies: Vec::new(),
        header_timeout: PATIENCE * 2,
        request_timeout: PATIENCE * 2,
        shutdown_grace: PATIENCE,
        max_body: 1000,
        threads: 2,
        ..Settings::default()
    }
}

/// The stack under test; `/wait` answers once the gate has a permit.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    pub(crate) gate: Arc<Semaphore>,
}

impl tower::Service<Request<Inbound>> for Stack {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> Self::Future {
        let (name, gate) = (self.name, Arc::clone(&self.gate));
        Box::pin(async move {
            let answer: Result<Bytes, Rejection> = match request.uri().path() {
                "/wait" => {
                    gate.acquire().await.expect("the gate is never closed").forget();
                    Ok(Bytes::from_static(b"waited"))
                }
                "/never" => std::future::pending().await,
                "/panic" => panic!("a handler that panics, on purpose"),
                "/large" => Ok(vec![b'x'; 32 << 20].into()),
                "/name" => Ok(name.into()),
                "/read" => request.into_body().collect().await.map(|body| body.to_bytes()),
                _ => Ok(describe(&request).into()),
            };
            Ok(match answer {
                Ok(bytes) => Response::new(Full::new(bytes)),
                Err(rejection) => {
                    let mut response = Response::new(Full::new(rejection.to_string().into()));
                    *response.status_mut() = rejection.refusal().status;
                    response
                }
            })
        })
    }
}

/// What the stack sees of a request, a line each.
fn describe(request: &Request<Inbound>) -> String {
    let base = request.extensions().get::<Base>().map_or("none", |base| &base.0);
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    let mut text = format!("base {base}\nclient {client:?}\nuri {}\n", request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or("?")));
    }
    text
}

/// A server that serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<Counters>,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) current: Current<Stack>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<Summary>>,
}

/// Starts one.
pub(crate) fn serve(settings: Settings) -> Running {
    let gate = Arc::new(Semaphore::new(0));
    let current = Current::new(Stack { name: "first", gate: Arc::clone(&gate) });
    let server = Server::bind(settings).unwrap();
    let (stop, stopped) = oneshot::channel();
    Running {
        address: server.local_addr(),
        counters: server.counters(),
        gate,
        current: current.clone(),
        stop: Some(stop),
        serving: tokio::spawn(server.serve(current, async { drop(stopped.await) })),
    }
}

impl Running {
    pub(crate) async fn connect(&self) -> Client {
        Client { stream: soon(TcpStream::connect(self.address)).await.unwrap(), rest: Vec::new() }
    }

    /// Connects, sends, and reads one answer.
    pub(crate) async fn ask(&self, bytes: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.answer().await
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Summary {
        soon(self.serving).await.unwrap().unwrap()
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The error envelope's code; checks that the envelope is whole and agrees with the answer.
    pub(crate) fn code(&self) -> u64 {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect(&self.body);
        assert_eq!(body["status"], self.status, "{}", self.body);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"), "{}", self.body);
        assert_eq!(body["description"], body["vesta"]["message"], "{}", self.body);
        body["vesta"]["code"].as_u64().expect(&self.body)
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: &str) -> io::Result<()> {
        soon(self.stream.write_all(bytes.as_bytes())).await
    }

    /// The next answer; the connection must bring one.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the connection was closed without an answer")
    }

    /// The next answer; `None` if the connection is closed (or reset) instead.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        soon(self.next()).await
    }

    /// Is the connection closed (or reset) without another byte?
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && matches!(soon(self.stream.read(&mut [0; 1])).await, Ok(0) | Err(_))
    }

    async fn next(&mut self) -> Option<Answer> {
        loop {
            if let Some(answer) = self.parse() {
                return Some(answer);
            }
            let mut space = vec![0; 65536];
            match self.stream.read(&mut space).await {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => self.rest.extend_from_slice(&space[..bytes]),
            }
        }
    }

    fn parse(&mut self) -> Option<Answer> {
        let end = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.rest[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if self.rest.len() < end + length {
            return None;
        }
        answer.body = String::from_utf8(self.rest[end..end + length].to_vec()).unwrap();
        self.rest.drain(..end + length);
        Some(answer)
    }
}
