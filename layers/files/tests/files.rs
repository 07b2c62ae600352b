//! Uploads and downloads, on a shelf in memory.

#![allow(clippy::unwrap_used)] // tests

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use gateway_contract::{Base, Body, BoxError, BoxFuture, Place, Rejection, Reply, Side, Target, Verb, code};
use gateway_files::{Content, FilesLayer, Found, MAX_FORM, MAX_PARTS, Name, Shelf};
use http::{Method, Request, Response, StatusCode, header, request};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, UNIX_EPOCH},
};
use tower::{Layer, ServiceExt, service_fn};

type Sent = UnsyncBoxBody<Bytes, BoxError>;
type App = Empty<Bytes>;

/// The largest file that is taken.
const LIMIT: u64 = 100_000;
/// What a workflow's form may hold beside its files.
const FIELDS: u64 = 1000;
const KIND: &str = "multipart/form-data; boundary=X";

/// Files in memory; the time of each is 2001-09-09T01:46:40.5Z.
#[derive(Clone, Default)]
struct Memory {
    files: Arc<Mutex<HashMap<String, Bytes>>>,
    /// The longest piece that it was given.
    longest: Arc<AtomicUsize>,
}

impl Shelf for Memory {
    fn put(&self, name: Name, mut content: Content) -> BoxFuture<Result<(), Rejection>> {
        let (files, longest) = (self.files.clone(), self.longest.clone());
        Box::pin(async move {
            let mut all = Vec::new();
            while let Some(piece) = content.next().await {
                let piece = piece?;
                longest.fetch_max(piece.len(), SeqCst);
                all.extend(piece);
            }
            files.lock().unwrap().insert(name.to_string(), all.into());
            Ok(())
        })
    }

    fn get(&self, name: Name) -> BoxFuture<Result<Option<Found>, Rejection>> {
        let file = self.files.lock().unwrap().get(name.as_str()).cloned();
        Box::pin(async move {
            let Some(file) = file else { return Ok(None) };
            let length = file.len() as u64;
            let read = move |range: Range<u64>| {
                let part = file.slice(range.start as usize..range.end as usize);
                Box::pin(stream::iter([Ok(part)])) as Content
            };
            let modified = UNIX_EPOCH + Duration::from_millis(1_000_000_000_500);
            Ok(Some(Found { length, modified, tag: "a-1".into(), read: Box::new(read) }))
        })
    }
}

impl Memory {
    fn with(name: &str, content: &str) -> Self {
        let memory = Self::default();
        memory.files.lock().unwrap().insert(name.into(), Bytes::from(content.to_owned()));
        memory
    }

    fn is_empty(&self) -> bool {
        self.files.lock().unwrap().is_empty()
    }

    async fn ask(&self, request: Request<Sent>) -> Result<Reply<App>, Rejection> {
        let inner =
            service_fn(async |_: Request<Option<Sent>>| Err::<Reply<App>, Rejection>(Rejection::misplaced("inner")));
        FilesLayer::new(self.clone(), LIMIT, FIELDS).layer(inner).oneshot(request.map(Some)).await
    }
}

fn asks(method: Method, verb: Verb, name: Option<&str>) -> request::Builder {
    let target = Target { place: Place::Gateway, verb, document: name.map(Into::into) };
    Request::builder().method(method).extension(target).extension(Base("https://h/g".into()))
}

fn full(body: impl Into<Bytes>) -> Sent {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

fn streamed(pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Sent {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// An upload of a form.
fn upload(name: Option<&str>, body: Sent) -> Request<Sent> {
    asks(Method::POST, Verb::Upload, name).header(header::CONTENT_TYPE, KIND).body(body).unwrap()
}

fn file(file_name: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{file_name}\"\r\n\r\n{content}\r\n")
}

fn field(name: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
}

fn form(parts: &[String]) -> Sent {
    full(parts.concat() + "--X--\r\n")
}

async fn text(reply: Reply<App>) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// Status, code and detail of a refusal.
async fn refused(memory: &Memory, request: Request<Sent>) -> (u16, u16, String) {
    let refusal = memory.ask(request).await.err().expect("it is refused").into_refusal();
    (refusal.status.as_u16(), refusal.code, refusal.detail)
}

async fn get(memory: &Memory, name: &str, headers: &[(&str, &str)]) -> Reply<App> {
    get_by(memory, Method::GET, name, headers).await
}

async fn get_by(memory: &Memory, method: Method, name: &str, headers: &[(&str, &str)]) -> Reply<App> {
    asked(memory, method, name, headers).await.expect("an answer")
}

async fn asked(memory: &Memory, method: Method, name: &str, headers: &[(&str, &str)]) -> Result<Reply<App>, Rejection> {
    let request = headers
        .iter()
        .fold(asks(method, Verb::Download, Some(name)), |request, (name, value)| request.header(*name, *value));
    memory.ask(request.body(full("")).unwrap()).await
}

#[tokio::test]
async fn an_upload_path_is_a_url_that_nobody_guesses() {
    let path = async |query: &str| {
        let request = asks(Method::GET, Verb::UploadPath, None).uri(format!("/temporary_upload_path{query}"));
        Memory::default().ask(request.body(full("")).unwrap()).await
    };
    let reply = path("?extension=wav").await.unwrap();
    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(reply.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let url = text(reply).await;
    assert!(url.starts_with("https://h/g/temporary_file/") && url.ends_with(".wav"), "{url}");
    assert_eq!(url.len(), "https://h/g/temporary_file/".len() + 36 + 4);
    let other = text(path("").await.unwrap()).await;
    assert!(!other.contains('.') && !url.contains(&other), "{other}");
    for bad in ["a/b", "..", ".wav", "elevenchars", "%E9", "a%00", "a%0d%0a"] {
        let refusal = path(&format!("?extension={bad}")).await.err().unwrap().into_refusal();
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, code::VALUE), "{bad}");
    }
}

#[tokio::test]
async fn a_file_is_kept_under_its_name_and_its_url_told() {
    let memory = Memory::default();
    let reply =
        memory.ask(upload(Some("a.txt"), form(&[field("x", "y"), file("z.html", "hello"), field("a", "")]))).await;
    let reply = reply.unwrap();
    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(text(reply).await, "https://h/g/temporary_file/a.txt");
    assert_eq!(text(get(&memory, "a.txt", &[]).await).await, "hello");
    memory.ask(upload(Some("a.txt"), form(&[file("z", "")]))).await.unwrap();
    assert_eq!(text(get(&memory, "a.txt", &[]).await).await, "", "replaced by an empty file");
}

#[tokio::test]
async fn a_file_without_a_name_gets_one_of_ours() {
    for (given, extension) in [("song.WAV", ".WAV"), ("x", ""), ("a.b/c", ""), ("../../etc/passwd.elevenchars", "")] {
        let memory = Memory::default();
        let url = text(memory.ask(upload(None, form(&[file(given, "1")]))).await.unwrap()).await;
        let name = url.strip_prefix("https://h/g/temporary_file/").unwrap();
        assert!(name.len() == 36 + extension.len() && name.ends_with(extension), "{given}: {url}");
        assert_eq!(text(get(&memory, name, &[]).await).await, "1");
    }
}

#[tokio::test]
async fn exactly_one_file_is_taken() {
    let memory = Memory::default();
    let none = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n\r\n".to_owned();
    for parts in [vec![], vec![field("a", "b")], vec![none], vec![file("a", "1"), file("b", "2")]] {
        let (status, code, detail) = refused(&memory, upload(Some("n"), form(&parts))).await;
        assert_eq!((status, code), (400, code::MISSING_PARAMETER), "{parts:?}: {detail}");
    }
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let mut request = asks(Method::POST, Verb::Upload, Some("n"));
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let (status, code, _) = refused(&memory, request.body(full("f=1")).unwrap()).await;
        assert_eq!((status, code), (400, code::MISSING_PARAMETER), "{kind:?}");
    }
    assert!(memory.is_empty());
}

#[tokio::test]
async fn a_name_that_is_not_admitted_is_told_before_the_body_is_read() {
    let memory = Memory::default();
    for bad in ["../../etc/passwd", "..", ".x", "a b", "é", "a\\b", "a\0", &"x".repeat(129)] {
        let unread = streamed(stream::once(async { panic!("the body was read") }));
        let (status, code, _) = refused(&memory, upload(Some(bad), unread)).await;
        assert_eq!((status, code), (400, code::VALUE), "{bad:?}");
        let request = asks(Method::GET, Verb::Download, Some(bad)).body(full("")).unwrap();
        let (status, code, _) = refused(&memory, request).await;
        assert_eq!((status, code), (404, code::NONE), "{bad:?}");
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_read_leaves_nothing() {
    let memory = Memory::default();
    let whole = file("a", "hello") + "--X--\r\n";
    // The parser is content without the line's end after the last boundary.
    for end in 0..whole.len() - 2 {
        let (status, _, detail) = refused(&memory, upload(Some("n"), full(whole.as_bytes()[..end].to_vec()))).await;
        assert_eq!(status, 400, "cut at {end}: {detail}");
    }
    let request = asks(Method::POST, Verb::Upload, None).header(header::CONTENT_TYPE, "multipart/form-data");
    let (status, code, _) = refused(&memory, request.body(full(whole)).unwrap()).await;
    assert_eq!((status, code), (400, code::VALUE), "there is no boundary");
    assert!(memory.is_empty());
}

#[tokio::test]
async fn whoever_gives_the_body_may_refuse_it() {
    let memory = Memory::default();
    let begun = Bytes::from(file("a", "begun, but never"));
    let slow = Rejection::new(StatusCode::REQUEST_TIMEOUT, code::NONE, Side::Client, "too slow");
    for (error, expected) in [(BoxError::from(slow), (408, code::NONE)), ("reset".into(), (400, code::VALUE))] {
        let body = streamed(stream::iter([Ok(begun.clone()), Err(error)]));
        let (status, code, _) = refused(&memory, upload(Some("n"), body)).await;
        assert_eq!((status, code), expected);
    }
    assert!(memory.is_empty());
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_and_one_at_it_is_not() {
    let memory = Memory::default();
    let of = |length: u64| file("a", &"x".repeat(length as usize));
    assert!(memory.ask(upload(Some("n"), form(&[of(LIMIT)]))).await.is_ok());
    let over = || form(&[of(LIMIT + 1)]);
    assert_eq!(refused(&memory, upload(Some("m"), over())).await.0, 413);
    let in_pieces = streamed(over().into_data_stream().flat_map(|whole| {
        let pieces: Vec<_> = whole.unwrap().chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        stream::iter(pieces)
    }));
    let (status, code, _) = refused(&memory, upload(Some("m"), in_pieces)).await;
    assert_eq!((status, code), (413, code::TOO_LARGE));
    // Who says so beforehand is not read at all.
    let mut told = upload(Some("m"), streamed(stream::once(async { panic!("the body was read") })));
    told.headers_mut().insert(header::CONTENT_LENGTH, (LIMIT + MAX_FORM + 1).into());
    assert_eq!(refused(&memory, told).await.0, 413);
    assert_eq!(memory.files.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_file_is_bounded() {
    let memory = Memory::default();
    let much = "x".repeat(MAX_FORM as usize + 1);
    for parts in [vec![field("a", &much), file("f", "1")], vec![file("f", "1"), field("a", &much)]] {
        assert_eq!(refused(&memory, upload(Some("n"), form(&parts))).await.0, 413);
    }
    let most = vec![field("a", ""); MAX_PARTS - 1];
    let fits = memory.ask(upload(Some("fits"), form(&[most, vec![file("f", "1")]].concat()))).await;
    assert!(fits.is_ok());
    for parts in [vec![field("a", ""); 10_000], [vec![file("f", "1")], vec![field("a", ""); 10_000]].concat()] {
        // Streamed: its length would be told, and refused.
        let body = streamed(form(&parts).into_data_stream());
        let (status, code, detail) = refused(&memory, upload(Some("n"), body)).await;
        assert_eq!((status, code), (400, code::VALUE), "{detail}");
    }
    assert_eq!(memory.files.lock().unwrap().len(), 1);
}

/// Pieces without end, and a count of those that were taken.
fn endless(first: String, piece: &'static [u8]) -> (Sent, Arc<AtomicUsize>) {
    let taken = Arc::<AtomicUsize>::default();
    let counted = taken.clone();
    let rest = stream::repeat_with(move || {
        assert!(counted.fetch_add(1, SeqCst) < 10_000, "it is read without end");
        Ok(Bytes::from_static(piece))
    });
    (streamed(stream::iter([Ok(Bytes::from(first))]).chain(rest)), taken)
}

#[tokio::test]
async fn a_head_without_end_is_not_gathered() {
    let piece = &[b'x'; 16 * 1024];
    for first in [String::new(), "--X\r\nContent-Disposition: form-data; name=\"".into(), file("a", "1") + "--X\r\nA: "]
    {
        let memory = Memory::default();
        let (body, taken) = endless(first, piece);
        let (status, code, _) = refused(&memory, upload(Some("n"), body)).await;
        assert_eq!((status, code), (413, code::TOO_LARGE));
        assert!(taken.load(SeqCst) <= MAX_FORM as usize / piece.len() + 3, "{} pieces", taken.load(SeqCst));
        assert!(memory.is_empty());
    }
}

#[tokio::test]
async fn a_file_is_handed_on_as_it_comes() {
    let memory = Memory::default();
    let begin = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
    let pieces = std::iter::repeat_n(Bytes::from(vec![b'x'; 1000]), 100);
    let all = std::iter::once(begin.into()).chain(pieces).chain([Bytes::from("\r\n--X--\r\n")]);
    memory.ask(upload(Some("n"), streamed(stream::iter(all.map(Ok))))).await.unwrap();
    assert_eq!(memory.files.lock().unwrap()["n"].len(), 100_000);
    assert!(memory.longest.load(SeqCst) <= 3000, "{}", memory.longest.load(SeqCst));
}

#[tokio::test]
async fn a_download_says_what_the_file_is() {
    for (name, kind, attached) in [
        ("first.txt", "text/plain; charset=utf-8", false),
        ("a.WAV", "audio/x-wav", false),
        ("a.html", "text/html; charset=utf-8", true),
        ("a.svg", "image/svg+xml", true),
        ("a.exe", "application/octet-stream", true),
        ("a", "application/octet-stream", true),
    ] {
        let reply = get(&Memory::with(name, "hello"), name, &[]).await;
        assert_eq!(reply.status(), StatusCode::OK);
        let headers = reply.headers();
        assert_eq!(headers["content-type"], kind, "{name}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{name}");
        let disposition = headers.get("content-disposition").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(disposition, attached.then(|| format!("attachment; filename=\"{name}\"")));
        assert_eq!(headers.contains_key("content-security-policy"), attached, "{name}");
        assert_eq!(headers["etag"], "\"a-1\"");
        assert_eq!(headers["accept-ranges"], "bytes");
        assert_eq!(headers["last-modified"], "Sun, 09 Sep 2001 01:46:40 GMT");
        assert_eq!(http_body::Body::size_hint(reply.body()).exact(), Some(5));
        assert_eq!(text(reply).await, "hello");
    }
    let missing = asks(Method::GET, Verb::Download, Some("nothing.txt")).body(full("")).unwrap();
    let (status, code, _) = refused(&Memory::default(), missing).await;
    assert_eq!((status, code), (404, code::NONE));
}

#[tokio::test]
async fn a_range_is_given_on_its_conditions() {
    let memory = Memory::with("a.txt", "hello");
    let part = get(&memory, "a.txt", &[("range", "bytes=1-2")]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 1-2/5");
    assert_eq!(text(part).await, "el");
    let beyond = get(&memory, "a.txt", &[("range", "bytes=5-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.headers()["content-range"], "bytes */5");
    for (condition, holds) in [
        ("\"a-1\"", true),
        ("Sun, 09 Sep 2001 01:46:40 GMT", true),
        ("W/\"a-1\"", false),
        ("\"b\"", false),
        ("Sun, 09 Sep 2001 01:46:41 GMT", false),
        ("nonsense", false),
    ] {
        let reply = get(&memory, "a.txt", &[("range", "bytes=-1"), ("if-range", condition)]).await;
        assert_eq!(text(reply).await, if holds { "o" } else { "hello" }, "{condition}");
    }
    let head = get_by(&memory, Method::HEAD, "a.txt", &[("range", "bytes=1-2")]).await;
    assert_eq!(head.status(), StatusCode::OK, "a range is of GET alone");
    assert_eq!(text(get(&memory, "a.txt", &[("range", "bytes=0-0"), ("range", "bytes=1-1")]).await).await, "hello");
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let memory = Memory::with("a.txt", "hello");
    for (name, value, known) in [
        ("if-none-match", "\"a-1\"", true),
        ("if-none-match", "\"x\", W/\"a-1\"", true),
        ("if-none-match", "*", true),
        ("if-none-match", "\"x\"", false),
        ("if-none-match", "a-1", false),
        ("if-modified-since", "Sun, 09 Sep 2001 01:46:40 GMT", true),
        ("if-modified-since", "Sun, 09 Sep 2001 01:46:39 GMT", false),
        ("if-modified-since", "yesterday", false),
    ] {
        let reply = get(&memory, "a.txt", &[(name, value), ("range", "bytes=0-9")]).await;
        let expected = if known { StatusCode::NOT_MODIFIED } else { StatusCode::PARTIAL_CONTENT };
        assert_eq!(reply.status(), expected, "{name}: {value}");
        assert_eq!(reply.headers()["etag"], "\"a-1\"");
        assert_eq!(text(reply).await, if known { "" } else { "hello" });
    }
    let later = ("if-modified-since", "Sun, 09 Sep 2001 01:46:41 GMT");
    let both = get(&memory, "a.txt", &[("if-none-match", "\"x\""), later]).await;
    assert_eq!(both.status(), StatusCode::OK, "the tag counts");
}

#[tokio::test]
async fn a_file_that_has_changed_is_not_given_as_the_one_that_was() {
    let memory = Memory::with("a.txt", "hello");
    for (name, value, wanted) in [
        ("if-match", "\"a-1\"", true),
        ("if-match", "\"x\", \"a-1\"", true),
        ("if-match", "*", true),
        ("if-match", "\"x\"", false),
        ("if-match", "W/\"a-1\"", false),
        ("if-unmodified-since", "Sun, 09 Sep 2001 01:46:40 GMT", true),
        ("if-unmodified-since", "Sun, 09 Sep 2001 01:46:39 GMT", false),
    ] {
        let reply = asked(&memory, Method::GET, "a.txt", &[(name, value)]).await;
        let status = reply.map_or_else(|refused| refused.into_refusal().status, |reply| reply.status());
        let expected = if wanted { StatusCode::OK } else { StatusCode::PRECONDITION_FAILED };
        assert_eq!(status, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn everything_else_passes_with_its_body_unread() {
    let verbs = Verb::all().into_iter().filter(|verb| !verb.is_about_files() && *verb != Verb::Workflow);
    let mut requests: Vec<_> = verbs.map(|verb| asks(Method::POST, verb, Some("a"))).collect();
    requests.push(Request::post("/temporary_file/a"));
    for request in requests {
        let (inner, mut handle) = tower_test::mock::pair::<Request<Option<Sent>>, Reply<App>>();
        let unread = streamed(stream::once(async { panic!("the body was read") }));
        let request = request.header(header::CONTENT_TYPE, KIND).body(unread).unwrap();
        let asked =
            tokio::spawn(FilesLayer::new(Memory::default(), LIMIT, FIELDS).layer(inner).oneshot(request.map(Some)));
        let (_, send) = handle.next_request().await.unwrap();
        send.send_response(Response::new(Body::Inner { body: App::new() }));
        assert!(asked.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn without_a_base_the_host_of_the_request_is_told() {
    let target = Target { place: Place::Gateway, verb: Verb::Upload, document: Some("n".into()) };
    let request = || Request::post("/temporary_file/n").extension(target.clone()).header(header::CONTENT_TYPE, KIND);
    let memory = Memory::default();
    let reply = memory.ask(request().header(header::HOST, "h:1").body(form(&[file("a", "")])).unwrap()).await;
    assert_eq!(text(reply.unwrap()).await, "http://h:1/temporary_file/n");
    let reply = memory.ask(request().body(form(&[file("a", "")])).unwrap()).await;
    assert_eq!(text(reply.unwrap()).await, "/temporary_file/n");
}
