//! One log line a request: what was asked, what was answered, how long it took. Never queries, headers or bodies.

use http::{HeaderValue, Method, Request, StatusCode, Uri};
use std::{
    fmt::{self, Write},
    net::IpAddr,
};
use tokio::time::Instant;
use tracing::Level;

/// Longest path that is logged, in characters.
const LONGEST: usize = 200;
const TARGET: &str = "gateway_server::access";

/// What the line will say. Exists only if somebody may read it.
#[derive(Debug)]
pub(crate) struct Line {
    method: Method,
    uri: Uri,
    client: IpAddr,
    start: Instant,
}

impl Line {
    /// Of a request that began at `start`; `None` if not even failures are logged.
    pub(crate) fn new<B>(request: &Request<B>, client: IpAddr, start: Instant) -> Option<Self> {
        tracing::enabled!(target: TARGET, Level::WARN).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            client,
            start,
        })
    }

    /// The client is another than the peer.
    pub(crate) fn set_client(&mut self, client: IpAddr) {
        self.client = client;
    }

    /// Writes it: what we could not do as a warning, what the client got wrong as information, the rest for debugging.
    pub(crate) fn write(self, status: StatusCode, id: &HeaderValue) {
        let (id, status) = (id.to_str().unwrap_or_default(), status.as_u16());
        let Self { method, uri, client, start } = self;
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET, $level, request_id = id, %method, path = %Path(uri.path()), status, %client,
                    duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX), "request"
                )
            };
        }
        match status {
            500.. => line!(Level::WARN),
            400.. => line!(Level::INFO),
            _ => line!(Level::DEBUG),
        }
    }
}

/// A path for a log: control characters escaped, its end left out if it is long.
struct Path<'a>(&'a str);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        for character in rest.by_ref().take(LONGEST) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        if rest.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Log;

        fn make_writer(&'a self) -> Log {
            self.clone()
        }
    }

    fn logged(level: Level, status: StatusCode) -> String {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(log.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            let request = Request::builder().uri("/a/b?token=secret").header("authorization", "secret").body(());
            if let Some(line) = Line::new(&request.unwrap(), IpAddr::from([192, 0, 2, 1]), Instant::now()) {
                line.write(status, &HeaderValue::from_static("id-1"));
            }
        });
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_line_says_what_is_needed_and_no_secret() {
        let line = logged(Level::DEBUG, StatusCode::OK);
        for part in [
            "DEBUG",
            "request_id=\"id-1\"",
            "method=GET",
            "path=/a/b ",
            "status=200",
            "client=192.0.2.1",
            "duration_us=",
        ] {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
        assert!(!line.contains("secret"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn the_level_is_that_of_the_fault() {
        assert_eq!(logged(Level::INFO, StatusCode::OK), "");
        assert!(logged(Level::INFO, StatusCode::NOT_FOUND).contains("INFO"));
        assert_eq!(logged(Level::WARN, StatusCode::NOT_FOUND), "");
        assert!(logged(Level::WARN, StatusCode::SERVICE_UNAVAILABLE).contains("WARN"));
    }

    #[test]
    fn a_path_cannot_forge_lines_or_fill_the_log() {
        assert_eq!(Path("/a\n\u{1b}[31m\u{9b}b").to_string(), "/a\\n\\u{1b}[31m\\u{9b}b");
        assert_eq!(Path(&"é".repeat(201)).to_string(), format!("{}…", "é".repeat(200)));
    }
}
