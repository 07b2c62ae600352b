//! Follows the framing of HTTP/1 requests, to see what hyper does not tell.
//!
//! hyper takes a request with both `Content-Length` and `Transfer-Encoding`, drops the length and says nothing
//! (RFC 9112, 6.3 allows that, and calls it an attempt at smuggling). We refuse it, so somebody has to look. hyper
//! stays the one that decides where a request ends: where this scan and hyper disagree, at worst such a request is
//! served as hyper reads it, on a connection that hyper closes after it.

/// A line longer than this is not followed: hyper refuses such a head anyway.
const LONGEST_LINE: usize = 64 * 1024;

/// Where in a request the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Request line and header fields.
    Head,
    /// So many bytes of a body with a length.
    Body(u64),
    /// The line with a chunk's size.
    ChunkSize,
    /// So many bytes of a chunk, its line end included.
    Chunk(u64),
    /// Fields after the last chunk.
    Trailers,
    /// HTTP/2: there are no lines to follow.
    Http2,
    /// Not followed any further: hyper closes this connection by itself.
    Lost,
}

/// What the head that is being read has said so far.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    both: bool,
}

/// The scan of one connection.
#[derive(Debug)]
pub(crate) struct Scan {
    state: State,
    head: Head,
    heads: u64,
    /// The beginning of a line that came in several reads.
    line: Vec<u8>,
}

impl Scan {
    /// Before the first byte.
    pub(crate) fn new() -> Self {
        Self { state: State::Head, head: Head::default(), heads: 0, line: Vec::new() }
    }

    /// Takes the next bytes of the connection. Returns the number (from 1) of the first request that carries both
    /// `Content-Length` and `Transfer-Encoding`; nothing is followed after it.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            match self.state {
                State::Http2 | State::Lost => return None,
                State::Body(left) => bytes = self.skip(bytes, left, State::Body, State::Head),
                State::Chunk(left) => bytes = self.skip(bytes, left, State::Chunk, State::ChunkSize),
                State::Head | State::ChunkSize | State::Trailers => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.keep(bytes);
                        return None;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    if self.line.is_empty() {
                        self.take(line);
                    } else {
                        self.keep(line);
                        let line = std::mem::take(&mut self.line);
                        self.take(&line);
                    }
                    if self.head.both && self.state == State::Lost {
                        return Some(self.heads);
                    }
                }
            }
        }
        None
    }

    /// Is a request (or the rest of one) still to come, as far as was followed? Then the peer may be sending it now.
    pub(crate) fn unfinished(&self) -> bool {
        match self.state {
            State::Head => self.head.begun || !self.line.is_empty(),
            State::Http2 => false,
            _ => true,
        }
    }

    /// Does the connection speak HTTP/2?
    pub(crate) fn is_http2(&self) -> bool {
        self.state == State::Http2
    }

    /// Skips up to `left` bytes; returns what follows them.
    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, more: fn(u64) -> State, then: State) -> &'a [u8] {
        let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - here as u64;
        self.state = if left == 0 { then } else { more(left) };
        &bytes[here..]
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LONGEST_LINE {
            self.state = State::Lost;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn take(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Head => self.take_head(line),
            State::ChunkSize => self.state = chunk(line),
            State::Trailers if line.is_empty() => self.state = State::Head,
            _ => {}
        }
    }

    fn take_head(&mut self, line: &[u8]) {
        if !self.head.begun {
            // An empty line before a request is skipped, as hyper does.
            self.head.begun = !line.is_empty();
            if line == b"PRI * HTTP/2.0" {
                self.state = State::Http2;
            }
        } else if line.is_empty() {
            self.end_head();
        } else if let Some(value) = field(line, b"content-length:") {
            match number(value) {
                Some(length) => self.head.length = Some(length),
                // hyper refuses it, unless a `Transfer-Encoding` came before: then it is one of those we look for.
                None => self.head.length = Some(0),
            }
        } else if field(line, b"transfer-encoding:").is_some() {
            self.head.chunked = true;
        }
    }

    fn end_head(&mut self) {
        self.heads += 1;
        let head = std::mem::take(&mut self.head);
        self.state = match head {
            Head { length: Some(_), chunked: true, .. } => {
                self.head.both = true;
                State::Lost
            }
            Head { chunked: true, .. } => State::ChunkSize,
            Head { length: Some(length), .. } if length > 0 => State::Body(length),
            _ => State::Head,
        };
    }
}

/// The value of a header line, if it is the field `name` (lower case, with its colon).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    // Most lines differ in the first letter: looked at alone, it spares the rest.
    if line.first()? | 0x20 != name[0] {
        return None;
    }
    line.split_at_checked(name.len()).filter(|(start, _)| start.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()
}

/// The state after the line that says a chunk's size.
fn chunk(line: &[u8]) -> State {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size.trim_ascii(), 16).ok());
    match size {
        Some(0) => State::Trailers,
        // The chunk ends with a line end, which belongs to it: two bytes, as hyper insists.
        Some(size) => size.checked_add(2).map_or(State::Lost, State::Chunk),
        None => State::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in every possible pair of pieces and byte by byte; all must agree.
    fn scan(bytes: &str) -> Option<u64> {
        let whole = Scan::new().feed(bytes.as_bytes());
        for cut in 1..bytes.len() {
            let mut scan = Scan::new();
            let first = scan.feed(&bytes.as_bytes()[..cut]);
            assert_eq!(first.or_else(|| scan.feed(&bytes.as_bytes()[cut..])), whole, "cut at {cut}: {bytes:?}");
        }
        let mut scan = Scan::new();
        assert_eq!(bytes.as_bytes().iter().find_map(|byte| scan.feed(&[*byte])), whole, "byte by byte: {bytes:?}");
        whole
    }

    #[test]
    fn both_in_either_order_and_any_case_are_seen() {
        for head in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nHost: a\r\nCONTENT-LENGTH: 5\r\n",
            "Transfer-Encoding: chunked\nContent-Length: x\n",
        ] {
            assert_eq!(scan(&format!("POST / HTTP/1.1\r\n{head}\r\n0\r\n\r\n")), Some(1), "{head:?}");
        }
    }

    #[test]
    fn one_alone_is_not() {
        assert_eq!(scan("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), None);
        assert_eq!(
            scan("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n"),
            None
        );
        assert_eq!(scan("POST / HTTP/1.1\r\nX-Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), None);
    }

    #[test]
    fn the_number_is_that_of_the_request() {
        let fine = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let sized = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n";
        let both = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(scan(&format!("{fine}\r\n{sized}{chunked}{both}{fine}")), Some(4));
    }

    #[test]
    fn what_looks_like_a_head_inside_a_body_is_not_one() {
        let inside = "\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(scan(&format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inside}", inside.len())), None);
        let chunked = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
        assert_eq!(scan(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")), None);
    }

    #[test]
    fn http2_is_left_alone() {
        let mut scan = Scan::new();
        assert_eq!(scan.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\nContent-Length: 1\nTransfer-Encoding: x\n\n"), None);
        assert!(scan.is_http2() && !scan.unfinished());
    }

    #[test]
    fn unfinished_until_the_last_byte() {
        let request = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
        let mut scan = Scan::new();
        assert!(!scan.unfinished());
        for byte in &request.as_bytes()[..request.len() - 1] {
            scan.feed(&[*byte]);
            assert!(scan.unfinished());
        }
        scan.feed(b"b");
        assert!(!scan.unfinished());
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut scan = Scan::new();
        for _ in 0..100 {
            scan.feed(&[b'a'; 1024]);
        }
        assert!(scan.line.is_empty() && scan.state == State::Lost);
    }
}
