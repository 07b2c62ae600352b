//! The broker, a proxy that cuts and stalls, queues that are deleted in the end.

use bytes::Bytes;
use futures_util::FutureExt;
use gateway_amqp::{Address, Client, Inbox, Outcome, Publication, QueueSpec, Settings};
use gateway_celery::{Call, Protocol};
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a test may take: whatever it waits for, and once more.
const TEST: Duration = Duration::from_secs(300);

/// The broker's URL. There is no test without a broker, and no test that passes by not running.
pub(crate) fn url() -> String {
    std::env::var("SG_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!("SG_TEST_AMQP_URL is not set: these tests need a RabbitMQ; tests/run starts one and runs them")
    })
}

/// One test's corner of the broker.
pub(crate) struct Corner {
    /// A service's queue.
    pub(crate) queue: String,
    /// A queue that nobody declares.
    pub(crate) nobody: String,
    /// The reply queue.
    pub(crate) replies: String,
    /// A plain channel to the broker.
    pub(crate) raw: Channel,
    connection: Connection,
}

/// Runs a test in a corner of its own and deletes its queues, whatever becomes of it.
pub(crate) async fn corner(name: &str, test: impl AsyncFnOnce(&Corner)) {
    let connection = Connection::connect(&url(), ConnectionProperties::default()).await.expect("the broker answers");
    let raw = connection.create_channel().await.expect("a channel");
    let named = |what: &str| format!("sg-test.{name}.{what}.{}", Uuid::now_v7());
    let corner = Corner { queue: named("queue"), nobody: named("nobody"), replies: named("replies"), raw, connection };
    let ended = AssertUnwindSafe(timeout(TEST, test(&corner))).catch_unwind().await;
    let channel = corner.connection.create_channel().await.expect("a channel");
    for queue in [&corner.queue, &corner.nobody, &corner.replies] {
        channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("queue deleted");
    }
    match ended {
        Ok(in_time) => in_time.expect("the test ends in time"),
        Err(panic) => resume_unwind(panic),
    }
}

impl Corner {
    /// Settings for a client on this broker, with the service's queue.
    pub(crate) fn settings(&self) -> Settings {
        self.settings_at(&url())
    }

    pub(crate) fn settings_at(&self, url: &str) -> Settings {
        let mut settings = Settings::new(Address::parse(url).expect("a URL"), "sg-test", self.replies.as_str());
        let queue = QueueSpec { name: self.queue.clone(), kind: Default::default(), arguments: Vec::new() };
        settings.queues = vec![queue];
        // So that nothing is given up only because the machine is busy.
        settings.publish_timeout = PATIENCE;
        settings
    }

    /// A client that is connected.
    pub(crate) async fn client(&self) -> (Client, Inbox) {
        let (client, inbox) = Client::start(self.settings());
        ready(&client).await;
        (client, inbox)
    }

    /// A task's message for a queue, named by a number.
    pub(crate) fn publication(&self, number: u128, queue: &str) -> Publication {
        let id = Uuid::from_u128(number);
        let call = Call::new(id, "worker.stub", queue, self.replies.as_str(), "gateway@test");
        let body = call.body(Protocol::Two, &serde_json::json!({"number": number.to_string()}));
        Publication { id, attempt: 1, message: call.message(Protocol::Two, body) }
    }

    /// How many messages wait in the service's queue.
    pub(crate) async fn waiting(&self) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let queue = self.raw.queue_declare(self.queue.as_str().into(), options, FieldTable::default()).await;
        queue.expect("the queue is there").message_count()
    }

    /// A result, as a worker sends it.
    pub(crate) async fn reply(&self, number: u128, persistent: bool) {
        let id = Uuid::from_u128(number).to_string();
        let body = format!(r#"{{"status": "SUCCESS", "result": {number}, "task_id": "{id}"}}"#);
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_correlation_id(id.into())
            .with_delivery_mode(if persistent { 2 } else { 1 });
        self.put("", &self.replies, body.as_bytes(), properties).await;
    }

    pub(crate) async fn put(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        self.raw.basic_publish(exchange.into(), key.into(), options, body, properties).await.expect("published");
    }
}

/// Waits until all three connections are up.
pub(crate) async fn ready(client: &Client) {
    let mut state = client.state();
    let up = state.wait_for(|s| s.publish.is_up() && s.consume.is_up() && s.control.is_up());
    timeout(PATIENCE, up).await.expect("connected in time").expect("the client lives");
}

/// The next outcome.
pub(crate) async fn outcome(inbox: &mut Inbox) -> Outcome {
    timeout(PATIENCE, inbox.outcomes.recv()).await.expect("an outcome in time").expect("the client lives")
}

/// Polls until the condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// A proxy in front of the broker that can cut connections and withhold the broker's words.
pub(crate) struct Proxy {
    pub(crate) url: String,
    stalled: watch::Sender<bool>,
    cut: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let (broker, there) = through(port);
        let (stalled, cut) = (watch::Sender::new(false), watch::Sender::new(0));
        let (stall, cuts) = (stalled.clone(), cut.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (there, stall, mut cut) = (there.clone(), stall.subscribe(), cuts.subscribe());
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(there.as_ref()).await else { return };
                    tokio::select! {
                        () = forward(near, far, stall) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { url: broker, stalled, cut, _tasks: tasks }
    }

    /// Ends every connection without a farewell.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }

    /// Withholds what the broker says, or lets it through again.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }
}

/// The broker's URL by way of a local port, and the broker's own host and port.
pub(crate) fn through(port: u16) -> (String, Arc<str>) {
    let uri: lapin::uri::AMQPUri = url().parse().expect("a URL");
    let there = format!("{}:{}", uri.authority.host, uri.authority.port).into();
    let user = &uri.authority.userinfo;
    let vhost = uri.vhost.replace('/', "%2f");
    (format!("amqp://{}:{}@127.0.0.1:{port}/{vhost}", user.username, user.password), there)
}

async fn forward(near: TcpStream, far: TcpStream, mut stalled: watch::Receiver<bool>) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let there = async { tokio::io::copy(&mut near_in, &mut far_out).await.map(drop) };
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = far_in.read(&mut buffer).await?;
            if read == 0 || stalled.wait_for(|stalled| !stalled).await.is_err() {
                return Ok::<_, std::io::Error>(());
            }
            near_out.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! { _ = there => {}, _ = back => {} }
}

/// A body of that size.
pub(crate) fn body(size: usize) -> Bytes {
    Bytes::from(vec![b'x'; size])
}
