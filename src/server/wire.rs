//! The socket under hyper, which sees the bytes go by.

use crate::{pulse::Pulse, scan::Scan};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The most that is read and thrown away of a request that was refused before its end.
const MOST_THROWN_AWAY: usize = 1 << 20;

/// The socket of one connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    scan: Scan,
    shut: bool,
    thrown_away: usize,
}

impl Wire {
    /// Round `stream`.
    pub(crate) fn new(stream: TcpStream, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, scan: Scan::new(), shut: false, thrown_away: 0 }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(bytes)) => self.pulse.wrote(Some(*bytes)),
            Poll::Pending => self.pulse.wrote(None),
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.stream).poll_read(cx, buf))?;
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() && !me.scan.is_http2() {
            // Whether these bytes begin a head or end a body is the scan's to know; the pulse only hears of them.
            me.pulse.heard();
            if let Some(number) = me.scan.feed(bytes) {
                me.pulse.set_conflict(number);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let result = Pin::new(&mut me.stream).poll_write(cx, bytes);
        me.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let result = Pin::new(&mut me.stream).poll_write_vectored(cx, bytes);
        me.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Says that nothing more is written. If the client may still be sending, what it sends is read and thrown away
    /// until it stops: closing a socket with unread bytes resets it, and the reset can overtake our answer (RFC 9112,
    /// 9.6). The watchdog ends this after a moment.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.shut {
            ready!(Pin::new(&mut me.stream).poll_shutdown(cx))?;
            me.shut = true;
            if !me.scan.unfinished() {
                return Poll::Ready(Ok(()));
            }
            me.pulse.closing();
        }
        let mut space = [0; 4096];
        while me.thrown_away < MOST_THROWN_AWAY {
            let mut bin = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut me.stream).poll_read(cx, &mut bin)) {
                Ok(()) if !bin.filled().is_empty() => me.thrown_away += bin.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
