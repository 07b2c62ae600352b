//! Documents on the loopback: `http://127.0.0.1:PORT/NAME`.

use super::PATIENCE;
use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A server that gives the same bytes under any name, until the test's process ends. A gateway admits its URLs with
/// `allow_hosts = ["127.0.0.1"]` or `allow_private_networks = true`.
pub(crate) struct Documents {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Documents {
    pub(crate) fn serve(bytes: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (bytes, count) = (Arc::new(bytes.into()), served.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (bytes, count) = (bytes.clone(), count.clone());
                thread::spawn(move || answer(stream, &bytes, &count));
            }
        });
        Self { address, served }
    }

    /// The URL of a document of that name.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// How many documents were handed out.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

/// One request, one answer. A client that breaks off is its own fault.
fn answer(mut stream: TcpStream, bytes: &[u8], count: &AtomicUsize) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            // We were stopped for a while.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
    count.fetch_add(1, Ordering::SeqCst);
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    if !head.starts_with(b"HEAD ") {
        let _ = stream.write_all(bytes);
    }
}
