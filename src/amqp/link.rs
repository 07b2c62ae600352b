//! One connection: dialled with a deadline, watched, dropped for good, and dialled again for ever.

use crate::settings::Settings;
use crate::state::{Board, Link, Role};
use futures_util::stream::{BoxStream, StreamExt};
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, Event};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

/// How long dialling, logging in, or one question to the broker may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a farewell may take before the socket is simply shut.
const FAREWELL: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Short enough that publishing goes on within 5 s after the broker is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Why a session ended.
pub(crate) enum End {
    /// The connection is of no use any more: dial again.
    Lost(String),
    /// We are closing.
    Closed,
}

/// What is done with a connection while it lasts.
pub(crate) trait Session: Send {
    const ROLE: Role;
    /// Uses the connection until it is lost or the client closes.
    fn run(&mut self, wire: &mut Wire) -> impl Future<Output = End> + Send;
    /// The connection is gone, and the board says so.
    fn lost(&mut self, why: &str);
    /// Goes on while there is no connection; never returns.
    fn idle(&mut self) -> impl Future<Output = ()> + Send;
}

/// Keeps a session in connections until `stop`. Never gives up.
pub(crate) async fn supervise<S: Session>(
    settings: Arc<Settings>,
    board: Board,
    stop: CancellationToken,
    mut session: S,
) {
    let role = S::ROLE.name();
    let mut pauses = Pauses::default();
    let mut told = String::new();
    loop {
        let dialled = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            dialled = Wire::dial(&settings, S::ROLE) => dialled,
            () = session.idle() => continue,
        };
        let why = match dialled {
            Ok(mut wire) => {
                let since = Instant::now();
                let end = session.run(&mut wire).await;
                let why = match &end {
                    End::Lost(why) => settings.address.scrub(why),
                    End::Closed => "closed".to_owned(),
                };
                board.link(S::ROLE, Link::Down(Some(why.clone())));
                session.lost(&why);
                wire.close().await;
                if matches!(end, End::Closed) {
                    return;
                }
                // A connection that did its work for a while does not count as a failed try.
                if since.elapsed() > LONGEST_PAUSE {
                    pauses = Pauses::default();
                }
                why
            }
            Err(why) => settings.address.scrub(&why),
        };
        if told != why {
            tracing::warn!(connection = role, broker = %settings.address, "no connection to the broker: {why}");
        }
        board.link(S::ROLE, Link::Down(Some(why.clone())));
        told = why;
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pauses.next()) => {}
            () = session.idle() => {}
        }
    }
    board.link(S::ROLE, Link::Down(Some("closed".to_owned())));
    session.lost("closed");
}

/// Exponential pauses with jitter: gateways that lost the same broker must not come back in step.
#[derive(Default)]
struct Pauses(u32);

impl Pauses {
    fn next(&mut self) -> Duration {
        let full = FIRST_PAUSE.saturating_mul(1 << self.0.min(10)).min(LONGEST_PAUSE);
        self.0 = self.0.saturating_add(1);
        full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

/// What a connection tells of itself.
pub(crate) enum Sign {
    Blocked(String),
    Unblocked,
    Lost(String),
}

/// A connection in use. Dropped, its socket is shut.
pub(crate) struct Wire {
    pub(crate) connection: Arc<Connection>,
    events: BoxStream<'static, Event>,
    pulse: Interval,
    _socket: Socket,
}

impl Wire {
    async fn dial(settings: &Settings, role: Role) -> Result<Self, String> {
        let runtime = lapin::runtime::default_runtime().map_err(|e| e.to_string())?;
        let socket = Socket::default();
        let slot = socket.0.clone();
        let options = ConnectionProperties::default()
            .with_connection_name(format!("{} ({})", settings.name, role.name()).into())
            .with_client_property("product".into(), "service-gateway".into());
        let uri = settings.address.uri().clone();
        let connecting = Connection::connector(
            uri,
            runtime,
            async move |uri: AMQPUri, runtime| {
                // The deadline is held here too: lapin runs this on a thread of its own, which nobody else could stop.
                let connecting = async {
                    let hosts = (uri.authority.host.as_str(), uri.authority.port);
                    let addresses: Vec<_> = tokio::net::lookup_host(hosts).await?.collect();
                    let plain = AsyncTcpStream::connect(&runtime, addresses).await?;
                    if let AsyncTcpStream::Plain(stream) = &plain {
                        keep(&slot, stream.get_ref().as_fd().try_clone_to_owned()?.into())?;
                    }
                    match uri.scheme {
                        AMQPScheme::AMQP => Ok(plain),
                        AMQPScheme::AMQPS => {
                            plain.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await
                        }
                    }
                };
                let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
                timeout(DEADLINE, connecting).await.map_err(late).flatten().map_err(lapin::Error::from)
            },
            options,
        );
        let late = || format!("no answer within {} s", DEADLINE.as_secs());
        let connection = timeout(DEADLINE, connecting).await.map_err(|_| late())?.map_err(|e| e.to_string())?;
        let mut pulse = tokio::time::interval(Duration::from_secs(1));
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = connection.events_listener().boxed();
        Ok(Self { connection: Arc::new(connection), events, pulse, _socket: socket })
    }

    /// Waits for the next thing worth knowing. May be dropped and called again without losing any.
    pub(crate) async fn sign(&mut self) -> Sign {
        loop {
            let event = tokio::select! {
                event = self.events.next() => event,
                _ = self.pulse.tick() => None,
            };
            match event {
                Some(Event::ConnectionBlocked(why)) => {
                    return Sign::Blocked(format!("the broker takes no messages: {why}"));
                }
                Some(Event::ConnectionUnblocked) => return Sign::Unblocked,
                // A channel's error is told here as well; it ends only the channel.
                Some(Event::Error(error)) if !error.is_amqp_soft_error() => return Sign::Lost(error.to_string()),
                _ if !self.connection.status().connected() => return Sign::Lost("the connection ended".to_owned()),
                _ => {}
            }
        }
    }

    async fn close(self) {
        if self.connection.status().connected() {
            // Shut in any case when `self` is dropped, so neither an error nor the deadline matters.
            let _ = timeout(FAREWELL, self.connection.close(200, "closed".into())).await;
        }
    }
}

/// The socket below a connection. lapin reads and writes it on a thread that ends only when the socket does: a peer that
/// stays silent would keep thread and buffers for ever, so whoever gives up shuts it.
#[derive(Default)]
struct Socket(Arc<Mutex<Slot>>);

#[derive(Default)]
enum Slot {
    #[default]
    Dialling,
    Open(TcpStream),
    GivenUp,
}

fn keep(slot: &Mutex<Slot>, socket: TcpStream) -> std::io::Result<()> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*slot, Slot::GivenUp) {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    *slot = Slot::Open(socket);
    Ok(())
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Open(socket) = std::mem::replace(&mut *slot, Slot::GivenUp) {
            // An error means that it is shut already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_with_jitter() {
        let mut pauses = Pauses::default();
        for full in [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0] {
            let pause = pauses.next().as_secs_f64();
            assert!(pause >= full / 2.0 && pause <= full, "{pause} of {full}");
        }
        pauses.0 = u32::MAX;
        assert!(pauses.next() <= LONGEST_PAUSE);
    }
}
