//! A network between a client of RabbitMQ and its broker that knows frames: it can stop at one, lose some, reorder
//! confirms, be slow, fall silent, be cut.

use crate::place::LONG;
use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

mod frame;
pub(crate) use frame::Kind;
use frame::{Frame, Side, Singles};

/// Confirms that wait for others so as to be reordered are passed on after so long at last.
const TOGETHER: Duration = Duration::from_millis(15);

/// What becomes of a frame at which the network stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never arrives, and the connection is reset.
    CutBefore,
    /// Half of it arrives, and the connection is reset.
    CutInside,
}

#[derive(Default)]
struct Rules {
    refuse: bool,
    /// Connections below this number are silent, and nobody is told.
    silent_below: usize,
    latency: Duration,
    slices: bool,
    swallow: bool,
    reverse: bool,
    nack: bool,
    trap: Option<(Kind, usize)>,
    held: bool,
    fate: Option<Fate>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
    connections: Mutex<Vec<(usize, TcpStream)>>,
    swallowed: AtomicUsize,
}

/// Passes connections on until the test's process ends.
pub(crate) struct Wire {
    url: String,
    shared: Arc<Shared>,
}

impl Wire {
    /// In front of the broker of this URL.
    pub(crate) fn to(broker: &str) -> Self {
        let mut url = url::Url::parse(broker).unwrap();
        let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let refuse = accepting.rules().refuse;
                if let (false, Ok(server)) = (refuse, TcpStream::connect(&target)) {
                    connect(&accepting, number, client, server);
                }
            }
        });
        Self { url: url.into(), shared }
    }

    /// The broker's URL through this network.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules());
        self.shared.changed.notify_all();
    }

    /// Resets all connections and admits no new ones.
    pub(crate) fn cut(&self) {
        self.set(|rules| rules.refuse = true);
        self.reset();
    }

    /// Resets all connections; new ones work.
    pub(crate) fn reset(&self) {
        for (_, connection) in self.shared.connections.lock().unwrap().drain(..) {
            reset(&connection);
        }
    }

    /// Everything works again, for new connections at least.
    pub(crate) fn heal(&self) {
        self.set(|rules| *rules = Rules { silent_below: rules.silent_below, ..Rules::default() });
    }

    /// Each piece of data, either way, arrives so much later, and in pieces of one byte if `slices`.
    pub(crate) fn slow(&self, latency: Duration, slices: bool) {
        self.set(|rules| (rules.latency, rules.slices) = (latency, slices));
    }

    /// On the connections that there are nothing arrives any more, not even that they are closed. New ones work.
    pub(crate) fn fall_silent(&self) {
        let connections = self.shared.connections.lock().unwrap();
        let next = connections.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        self.set(|rules| rules.silent_below = next);
    }

    /// Confirms are lost.
    pub(crate) fn swallow_confirms(&self) {
        self.set(|rules| rules.swallow = true);
    }

    /// How many confirms were lost.
    pub(crate) fn swallowed(&self) -> usize {
        self.shared.swallowed.load(SeqCst)
    }

    /// Confirms arrive each on its own, and the last first.
    pub(crate) fn reverse_confirms(&self) {
        self.set(|rules| rules.reverse = true);
    }

    /// What the broker confirms arrives as refused.
    pub(crate) fn confirms_become_nacks(&self) {
        self.set(|rules| rules.nack = true);
    }

    /// The network stops at the `number`-th frame of this kind from now on (1: the next).
    pub(crate) fn stop_at(&self, kind: Kind, number: usize) {
        self.set(|rules| (rules.trap, rules.held, rules.fate) = (Some((kind, number)), false, None));
    }

    /// Waits until it has stopped.
    pub(crate) fn stopped(&self) {
        let (rules, late) =
            self.shared.changed.wait_timeout_while(self.shared.rules(), LONG, |rules| !rules.held).unwrap();
        assert!(!late.timed_out(), "the frame did not come: {:?}", rules.trap);
    }

    /// Goes on.
    pub(crate) fn go_on(&self, fate: Fate) {
        self.set(|rules| rules.fate = Some(fate));
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap()
    }

    /// Stops here if this is the frame. `None`: go on as always.
    fn stops_at(&self, kind: Kind) -> Option<Fate> {
        let mut rules = self.rules();
        match &mut rules.trap {
            Some((trapped, left)) if *trapped == kind => *left -= 1,
            _ => return None,
        }
        if rules.trap != Some((kind, 0)) {
            return None;
        }
        (rules.trap, rules.held) = (None, true);
        self.changed.notify_all();
        let mut rules = self.changed.wait_while(rules, |rules| rules.fate.is_none()).unwrap();
        rules.held = false;
        rules.fate.take()
    }

    fn is_silent(&self, connection: usize) -> bool {
        connection < self.rules().silent_below
    }
}

fn reset(stream: &TcpStream) {
    // With nothing to linger for, closing is a reset; the other threads' handles see the end by the shutdown.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

fn connect(shared: &Arc<Shared>, number: usize, client: TcpStream, server: TcpStream) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let copies = [&client, &server, &client, &server].map(|stream| stream.try_clone());
    let [Ok(to_client), Ok(to_server), Ok(one), Ok(other)] = copies else { return };
    let mut connections = shared.connections.lock().unwrap();
    // It may have been cut while we connected.
    if shared.rules().refuse {
        return;
    }
    connections.extend([(number, one), (number, other)]);
    drop(connections);
    for (side, from, to) in [(Side::Client, client, to_server), (Side::Server, server, to_client)] {
        let _ = from.set_read_timeout(Some(TOGETHER));
        let pump = Pump { shared: shared.clone(), number, side, to, held: Vec::new(), singles: HashMap::new() };
        thread::spawn(move || pump.run(from));
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    number: usize,
    side: Side,
    to: TcpStream,
    /// Confirms that wait to be passed on in another order.
    held: Vec<Frame>,
    /// Which confirms of a channel are out, so that `multiple` ones can be told one by one.
    singles: HashMap<u16, Singles>,
}

/// The connection is over.
struct Over;

impl Pump {
    fn run(mut self, mut from: TcpStream) {
        let (mut bytes, mut space) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let went_on = match from.read(&mut space) {
                Ok(0) => Err(Over),
                Ok(_) if self.shared.is_silent(self.number) => Ok(()),
                Ok(count) => {
                    bytes.extend_from_slice(&space[..count]);
                    self.frames(&mut bytes)
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => self.flush(),
                // We were stopped for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                Err(_) => Err(Over),
            };
            if went_on.is_err() {
                break;
            }
        }
        if !self.shared.is_silent(self.number) {
            let _ = (from.shutdown(Shutdown::Both), self.to.shutdown(Shutdown::Both));
        }
    }

    fn frames(&mut self, bytes: &mut Vec<u8>) -> Result<(), Over> {
        while let Some(frame) = Frame::take(bytes) {
            let kind = frame.kind(self.side);
            match kind.and_then(|kind| self.shared.stops_at(kind)) {
                None => {}
                Some(fate) => {
                    let half = if fate == Fate::CutInside { frame.0.len() / 2 } else { 0 };
                    let _ = self.to.write_all(&frame.0[..half]);
                    reset(&self.to);
                    return Err(Over);
                }
            }
            if kind == Some(Kind::Confirm) {
                self.confirm(frame)?
            } else {
                self.flush().and_then(|()| self.send(&frame.0))?
            }
        }
        Ok(())
    }

    fn confirm(&mut self, mut frame: Frame) -> Result<(), Over> {
        let (swallow, reverse, nack) = {
            let rules = self.shared.rules();
            (rules.swallow, rules.reverse, rules.nack)
        };
        let singles = self.singles.entry(frame.channel()).or_default().of(&frame);
        if swallow {
            self.shared.swallowed.fetch_add(singles.len(), SeqCst);
        } else if reverse {
            self.held.extend(singles);
        } else {
            if nack {
                frame.become_nack();
            }
            self.send(&frame.0)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Over> {
        while let Some(frame) = self.held.pop() {
            self.send(&frame.0)?;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let (latency, slices) = {
            let rules = self.shared.rules();
            (rules.latency, rules.slices)
        };
        if !latency.is_zero() {
            let due = Instant::now() + latency;
            thread::park_timeout(due - Instant::now());
        }
        let size = if slices { 1 } else { bytes.len() };
        bytes.chunks(size.max(1)).try_for_each(|piece| self.to.write_all(piece)).map_err(|_| Over)
    }
}
