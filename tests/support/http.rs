//! A small blocking HTTP/1.1 client: one connection a request, nothing hidden, every wait bounded.

use super::PATIENCE;
use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// `GET url`, with `Accept: application/json`.
pub(crate) fn get(url: &str) -> Answer {
    request("GET", url).send()
}

/// `POST url` with a form.
pub(crate) fn post(url: &str, form: &[(&str, &str)]) -> Answer {
    request("POST", url).form(form).send()
}

/// Begins a request; `url` is `http://HOST:PORT/PATH`, sent as it is written.
pub(crate) fn request(method: &str, url: &str) -> Request {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url:?} is no http:// URL"));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    Request { method: method.into(), host: host.into(), path: path.into(), headers: Vec::new(), body: None }
}

/// A request in the making.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// `Authorization: Bearer TOKEN`.
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", kind)
    }

    pub(crate) fn form(self, form: &[(&str, &str)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.body("application/x-www-form-urlencoded", body)
    }

    pub(crate) fn json(self, json: &Value) -> Self {
        self.body("application/json", json.to_string())
    }

    /// Sends it and reads the whole answer.
    pub(crate) fn send(self) -> Answer {
        let what = format!("{} {}{}", self.method, self.host, self.path.chars().take(100).collect::<String>());
        self.try_send().unwrap_or_else(|why| panic!("{what}: {why}"))
    }

    /// As [`Request::send`]; an `Err` says why there is no answer.
    pub(crate) fn try_send(self) -> Result<Answer, String> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let named = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !named("host") {
            head.push_str(&format!("Host: {}\r\n", self.host));
        }
        if !named("accept") {
            head.push_str("Accept: application/json\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.unwrap_or_default());
        raw(&self.host, &bytes)
    }
}

/// Sends bytes to `HOST:PORT` on a new connection and reads one answer.
pub(crate) fn raw(host: &str, bytes: &[u8]) -> Result<Answer, String> {
    let address = host.to_socket_addrs().map_err(|error| error.to_string())?.next().ok_or("no address")?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("connect: {error}"))?;
    exchange(stream, bytes)
}

fn exchange(mut stream: TcpStream, bytes: &[u8]) -> Result<Answer, String> {
    stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    // A server may refuse before it has read everything: its answer counts, not that it stopped reading.
    let sent = stream.write_all(bytes);
    let head_only = bytes.starts_with(b"HEAD ");
    let answer = read(&mut stream, head_only);
    answer.map_err(|why| match sent {
        Err(error) => format!("{why} (and sending: {error})"),
        Ok(()) => why,
    })
}

fn read(stream: &mut TcpStream, head_only: bool) -> Result<Answer, String> {
    let deadline = Instant::now() + PATIENCE;
    let (mut bytes, mut space) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        if let Some(answer) = parse(&bytes, head_only, false)? {
            return Ok(answer);
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        match stream.read(&mut space) {
            Ok(0) => return parse(&bytes, head_only, true)?.ok_or_else(|| cut("closed", &bytes)),
            Ok(count) => bytes.extend_from_slice(&space[..count]),
            // We were stopped for a while.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(cut(&error.to_string(), &bytes)),
        }
    }
}

fn cut(why: &str, bytes: &[u8]) -> String {
    format!("no whole answer ({why}) after {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(500)]))
}

/// The answer, if `bytes` hold the whole of it; `closed`: no more will come.
fn parse(bytes: &[u8], head_only: bool, closed: bool) -> Result<Option<Answer>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "the head is not UTF-8")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("no HTTP/1.1 answer: {head:?}"))?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut answer = Answer { status, headers, body: Vec::new() };
    let rest = &bytes[end + 4..];
    if head_only || status == 204 || status == 304 {
        answer.body = rest.to_vec(); // empty, if the server keeps the rules
        return Ok(Some(answer));
    }
    let body = if answer.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        unchunk(rest)?
    } else {
        match answer.header("content-length").map(|length| length.parse::<usize>().map_err(|_| "bad length")) {
            Some(length) => rest.get(..length?).map(<[u8]>::to_vec),
            None => closed.then(|| rest.to_vec()),
        }
    };
    Ok(body.map(|body| Answer { body, ..answer }))
}

/// The body, if all of its chunks are there.
fn unchunk(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.map_err(|error| format!("chunk size: {error}"))?;
        let Some(chunk) = rest.get(end + 2..end + 2 + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    /// Holds the answer to be an error with the whole envelope, status and code; gives its message.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: u64) -> String {
        let body = self.json();
        assert_eq!((self.status, body["vesta"]["code"].as_u64()), (status, Some(code)), "{body}");
        assert_eq!(body["status"], status, "{body}");
        let message = body["vesta"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(!message.is_empty() && body["description"].is_string(), "{body}");
        let id = body["request_id"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && self.header("x-request-id") == Some(id), "{body} {:?}", self.headers);
        message
    }
}
