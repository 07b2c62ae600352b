//! The one listener: it accepts, and deals sockets to the threads in turn.

use crate::{
    count::Counters,
    worker::{Deal, Worker},
};
use socket2::{SockFilter, SockRef};
use std::{
    future::Future,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::error::TrySendError,
    time::sleep,
};

/// Waiting after an error that the next call would meet again (no file descriptors, no memory): doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How long handshakes that have begun may take to be complete, at the end.
const HANDSHAKES: Duration = Duration::from_millis(50);
/// Refusals under way at once; beyond, connections are closed without a word.
const MOST_REFUSALS: usize = 64;

/// Deals connections to threads.
#[derive(Debug)]
pub(crate) struct Dealer {
    workers: Vec<Worker>,
    next: usize,
    counters: Arc<Counters>,
    max_connections: usize,
    /// One clone for each refusal under way.
    refusals: Arc<()>,
}

impl Dealer {
    pub(crate) fn new(workers: Vec<Worker>, counters: Arc<Counters>, max_connections: usize) -> Self {
        Self { workers, next: 0, counters, max_connections, refusals: Arc::new(()) }
    }

    /// The threads, which end once what they were dealt is done.
    pub(crate) fn into_workers(self) -> Vec<Worker> {
        self.workers
    }

    /// Gives a connection to the next thread that can take it; if none can, closes it. An error if no thread lives.
    fn deal(&mut self, stream: std::net::TcpStream, peer: SocketAddr) -> io::Result<()> {
        let seat = self.counters.seat(self.max_connections);
        let refusal = seat.is_none().then(|| Arc::clone(&self.refusals));
        if refusal.is_some() && Arc::strong_count(&self.refusals) > MOST_REFUSALS {
            return Ok(());
        }
        let mut deal = Deal { stream, peer, seat, refusal };
        let mut alive = false;
        for _ in 0..self.workers.len() {
            let worker = &self.workers[self.next];
            self.next = (self.next + 1) % self.workers.len();
            match worker.deals.try_send(deal) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => {
                    deal = back;
                    alive = true;
                }
                Err(TrySendError::Closed(back)) => deal = back,
            }
        }
        if alive { Ok(()) } else { Err(io::Error::other("every HTTP thread died")) }
    }

    fn deal_tokio(&mut self, stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        match stream.into_std() {
            Ok(stream) => self.deal(stream, peer),
            Err(error) => {
                tracing::debug!(%peer, %error, "connection lost at its start");
                Ok(())
            }
        }
    }

    /// Accepts until `shutdown`, and then once more all that the system has accepted in our name. The listener is
    /// closed when this returns.
    pub(crate) async fn accept(&mut self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.deal_tokio(stream, peer)?;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    tokio::select! {
                        biased;
                        () = &mut shutdown => break,
                        () = sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
                    }
                }
            }
        }
        let listener = listener.into_std()?;
        match turn_deaf(&listener) {
            Ok(()) => sleep(HANDSHAKES).await,
            Err(error) => tracing::debug!(%error, "a client may connect just when the listener closes"),
        }
        self.sweep(&listener)
    }

    /// Connections that are complete but not yet accepted hold clients that believe they reached us.
    fn sweep(&mut self, listener: &std::net::TcpListener) -> io::Result<()> {
        // As many as can wait: a client that keeps connecting must not keep us here.
        for _ in 0..crate::BACKLOG {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.deal(stream, peer)?;
                }
                Err(error) if is_of_one_connection(&error) => {}
                // `WouldBlock`: that was all. Anything else would come again, and there is no time to wait for it.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Lets no new handshake begin at this listener, so that none is complete between the last accept and the close: its
/// client would believe that it was connected, send its request, and be reset. A client's first packet is dropped; it
/// comes again after a second, and then the connection is refused, which a proxy may answer by asking another gateway.
fn turn_deaf(listener: &std::net::TcpListener) -> io::Result<()> {
    // Offset 13 of the TCP header holds the flags. SYN (2) without ACK (16): drop; else: take the whole packet.
    let filter = [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x54, 0, 0, 0x12),
        SockFilter::new(0x15, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter)
}

/// Did only the connection fail that was to be accepted?
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}
