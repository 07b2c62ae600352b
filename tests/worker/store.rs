//! A storage service, annotation store and callback sink on the loopback, in one.

use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `POST /path`
    pub(crate) line: String,
    /// All lines before the body, in lower case.
    #[allow(dead_code)] // shared with other test programs
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Answers `GET` with a place for a file, and everything else with its status.
pub(crate) struct Store {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Store {
    pub(crate) fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = all.clone();
                thread::spawn(move || answer(stream, address, status, &all));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to paths that begin so, by method.
    pub(crate) fn seen(&self, line: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.line.starts_with(line)).cloned().collect()
    }
}

/// One request, one answer. A client that breaks off is its own fault.
fn answer(stream: TcpStream, address: SocketAddr, status: &str, all: &Mutex<Vec<Seen>>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (reader.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let number = all.lock().unwrap().len();
    let (status, text) = match line.starts_with("GET") {
        true => {
            let place = json!({"storage_doc_id": "abc.txt", "upload_url": format!("http://{address}/put/{number}")});
            ("200 OK", place.to_string())
        }
        false => (status, String::new()),
    };
    all.lock().unwrap().push(Seen {
        line,
        head: head.to_lowercase(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let mut stream = reader.into_inner();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len()).ok()
}
