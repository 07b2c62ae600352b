//! A TCP proxy on loopback: a network between a gateway and its broker or store, which a test can cut.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

const PASS: u8 = 0;
const CUT: u8 = 1;
const NO_ANSWERS: u8 = 2;
const NO_REQUESTS: u8 = 3;

/// Passes connections on, until the test's process ends.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
}

struct Network {
    mode: AtomicU8,
    connections: Mutex<Vec<TcpStream>>,
    /// How often something was lost.
    lost: AtomicUsize,
}

/// What was lost since it was made.
#[allow(dead_code)] // a helper of tests, not used by each
pub(crate) struct Lost {
    network: Arc<Network>,
    before: usize,
}

#[allow(dead_code)] // a helper of tests, not all used by each
impl Lost {
    /// Was anything?
    pub(crate) fn has_lost(&self) -> bool {
        self.network.lost.load(SeqCst) > self.before
    }
}

#[allow(dead_code, clippy::unwrap_used)] // a helper of tests, not all used by each
impl Proxy {
    /// In front of `host:port`.
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let network =
            Arc::new(Network { mode: AtomicU8::new(PASS), connections: Mutex::default(), lost: AtomicUsize::new(0) });
        let (target, shared) = (target.to_owned(), network.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.mode.load(SeqCst) != CUT
                    && let Ok(server) = TcpStream::connect(&target)
                {
                    connect(&shared, client, server);
                }
            }
        });
        Self { address, network }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and admits no new ones.
    pub(crate) fn cut(&self) {
        let mut connections = self.network.connections.lock().unwrap();
        self.network.mode.store(CUT, SeqCst);
        for connection in connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// What the server says is lost from now on; it hears everything.
    pub(crate) fn lose_answers(&self) {
        self.network.mode.store(NO_ANSWERS, SeqCst);
    }

    /// What clients say is lost from now on.
    pub(crate) fn lose_requests(&self) {
        self.network.mode.store(NO_REQUESTS, SeqCst);
    }

    /// Tells whether something is lost from now on.
    pub(crate) fn losses(&self) -> Lost {
        Lost { network: self.network.clone(), before: self.network.lost.load(SeqCst) }
    }

    /// New connections work again.
    pub(crate) fn heal(&self) {
        self.network.mode.store(PASS, SeqCst);
    }
}

#[allow(clippy::unwrap_used)] // tests
fn connect(network: &Arc<Network>, client: TcpStream, server: TcpStream) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let copies = [&client, &server, &client, &server].map(|stream| stream.try_clone());
    let [Ok(to_client), Ok(to_server), Ok(near), Ok(far)] = copies else { return };
    let mut connections = network.connections.lock().unwrap();
    if network.mode.load(SeqCst) == CUT {
        return;
    }
    // Both ends: what a thread has read when the network is cut arrives nowhere.
    connections.extend([near, far]);
    drop(connections);
    for (from, to, lost) in [(client, to_server, NO_REQUESTS), (server, to_client, NO_ANSWERS)] {
        let network = network.clone();
        thread::spawn(move || pass_on(&network, from, to, lost));
    }
}

fn pass_on(network: &Network, mut from: TcpStream, mut to: TcpStream, lost: u8) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        let kept = network.mode.load(SeqCst) != lost;
        network.lost.fetch_add(usize::from(!kept && count > 0), SeqCst);
        if count == 0 || (kept && to.write_all(&bytes[..count]).is_err()) {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
