//! Temporary files through the real program: what a client sends and gets, and what lies on the disk then.

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};
use support::{AUTH, Answer, Gateway, Request, end, get, raw, request, wait_for};

const OPEN: &str = "[auth]\nmode = \"none\"\n[documents]\nallow_hosts = [\"127.0.0.1\"]\n";
const KIND: &str = "multipart/form-data; boundary=X";
const HEAD: &str = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"song.wav\"\r\n\r\n";
const TAIL: &str = "\r\n--X--\r\n";

/// A form with one file.
fn form(content: &[u8]) -> Vec<u8> {
    [HEAD.as_bytes(), content, TAIL.as_bytes()].concat()
}

fn uploads(gateway: &Gateway, path: &str, content: &[u8]) -> Request {
    request("POST", &format!("{}{path}", gateway.url())).body(KIND, form(content))
}

/// Uploads a file; gives its URL.
fn upload(gateway: &Gateway, path: &str, content: &[u8]) -> String {
    let answer = uploads(gateway, path, content).send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    answer.text()
}

/// What lies in the directory of temporary files, sorted.
fn listed(gateway: &Gateway) -> Vec<String> {
    let Ok(entries) = fs::read_dir(gateway.directory().join("files")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// `VmHWM` of the process: the most memory that it ever had, in bytes.
fn most_memory(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Sends all but the end of an upload that says it is 10 MB, and waits until some of it lies on the disk.
fn begin(gateway: &Gateway, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address()).unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {KIND}\r\nContent-Length: 10000000\r\n\r\n{HEAD}");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; 1_000_000]).unwrap();
    let written = |name: &str| fs::metadata(gateway.directory().join("files").join(name)).is_ok_and(|it| it.len() > 0);
    wait_for("some of it is written", || {
        listed(gateway).iter().any(|name| name.starts_with("uploading-") && written(name))
    });
    stream
}

#[test]
fn a_file_goes_in_and_comes_out() {
    let gateway = Gateway::start(OPEN);
    let missing = get(&format!("{}/temporary_file/first.txt", gateway.url()));
    missing.refused(404, 100);
    assert!(!gateway.directory().join("files").exists(), "the directory is made when the first file comes");

    let url = upload(&gateway, "/temporary_file/first.txt", b"hello");
    assert_eq!(url, format!("{}/temporary_file/first.txt", gateway.url()));
    let whole = get(&url);
    assert_eq!((whole.status, whole.text().as_str()), (200, "hello"));
    assert_eq!(whole.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((whole.header("content-length"), whole.header("accept-ranges")), (Some("5"), Some("bytes")));
    let etag = whole.header("etag").unwrap().to_owned();
    let head = request("HEAD", &url).send();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("5"), 0));
    assert_eq!(head.header("etag"), Some(&*etag));
    let part = request("GET", &url).header("Range", "bytes=1-2").send();
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "el", Some("bytes 1-2/5")));
    let beyond = request("GET", &url).header("Range", "bytes=9-").send();
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */5")));
    let known = request("GET", &url).header("If-None-Match", &etag).send();
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(request("GET", &url).header("Accept", "text/html").send().text(), "hello");

    assert_eq!(upload(&gateway, "/temporary_file/first.txt", b"second contents"), url);
    let replaced = request("GET", &url).header("If-None-Match", &etag).send();
    assert_eq!((replaced.status, replaced.text().as_str()), (200, "second contents"));
    let unnamed = upload(&gateway, "/temporary_file", b"x");
    assert!(unnamed.ends_with(".wav") && get(&unnamed).text() == "x", "{unnamed}");
    upload(&gateway, "/temporary_file/page.html", b"<script>");
    let page = get(&format!("{}/temporary_file/page.html", gateway.url()));
    assert_eq!(page.header("content-disposition"), Some("attachment; filename=\"page.html\""));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(listed(&gateway).len(), 3);
}

#[test]
fn an_upload_path_is_where_we_are_reached() {
    let gateway = Gateway::start(OPEN);
    let ask = |query: &str| request("GET", &format!("{}/temporary_upload_path{query}", gateway.url()));
    let answer = ask("?extension=wav").send();
    assert_eq!(answer.status, 201);
    let url = answer.text();
    assert!(url.starts_with(&format!("{}/temporary_file/", gateway.url())) && url.ends_with(".wav"), "{url}");
    let path = url.strip_prefix(&gateway.url()).unwrap();
    assert_eq!(upload(&gateway, path, b"abc"), url);
    assert_eq!(get(&url).text(), "abc");
    let proxied = ask("").header("Host", "sg.example:99").header("X-Script-Name", "/pfx").send().text();
    assert!(proxied.starts_with("http://sg.example:99/pfx/temporary_file/"), "{proxied}");
    for bad in ["a%2Fb", "..", "elevenchars"] {
        ask(&format!("?extension={bad}")).send().refused(400, 105);
    }
}

#[test]
fn uploads_need_the_token_or_the_shared_key_and_downloads_neither() {
    let gateway = Gateway::start(&format!("{AUTH}shared_key = \"open sesame\"\n"));
    let path = || request("GET", &format!("{}/temporary_upload_path", gateway.url()));
    let send = || uploads(&gateway, "/temporary_file/a.txt", b"hello");
    for refused in [path(), send(), path().header("X-Service-Key", "no"), send().token("no")] {
        refused.send().refused(401, 101);
    }
    assert_eq!(uploads(&gateway, "/temporary_file/a.txt?service_key=open", b"").send().status, 401);
    assert!(listed(&gateway).is_empty());
    for admitted in [send().token(&gateway.token(&[])), send().header("X-Service-Key", "open sesame")] {
        assert_eq!(admitted.send().status, 201);
    }
    assert_eq!(uploads(&gateway, "/temporary_file/b.txt?service_key=open+sesame", b"").send().status, 201);
    assert_eq!(path().header("X-Service-Key", "open sesame").send().status, 201);
    assert_eq!(get(&format!("{}/temporary_file/a.txt", gateway.url())).text(), "hello");
    assert!(!gateway.log().contains("sesame"), "{}", gateway.log());
    // A workers' key is no client's.
    let stats = request("POST", &format!("{}/nope/process", gateway.url())).header("X-Service-Key", "open sesame");
    stats.send().refused(401, 101);
}

#[test]
fn bad_uploads_are_refused_and_leave_nothing() {
    let gateway = Gateway::start(&format!("{OPEN}[files]\nmax_file = \"100 KiB\"\nmax_total = \"1 MiB\"\n"));
    let post = |path: &str, body: Vec<u8>| request("POST", &format!("{}{path}", gateway.url())).body(KIND, body).send();
    let field = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n";
    for body in [format!("{field}--X--\r\n"), format!("{HEAD}1\r\n{HEAD}2{TAIL}"), "--X--\r\n".into()] {
        post("/temporary_file/n", body.into()).refused(400, 206);
    }
    post("/temporary_file/n", [field.repeat(1000).as_bytes(), &form(b"x")].concat()).refused(400, 105);
    for name in ["..%2f..%2fetc%2fpasswd", "%2e%2e", ".hidden", "a%5cb", "a%00b", "a%0ab", &"x".repeat(129)] {
        post(&format!("/temporary_file/{name}"), form(b"x")).refused(400, 105);
        get(&format!("{}/temporary_file/{name}", gateway.url())).refused(404, 100);
    }
    for path in ["/temporary_file/../../etc/passwd", "/temporary_file/a/b", "/temporary_file/"] {
        post(path, form(b"x")).refused(404, 100);
    }
    let allowed = |answer: Answer| {
        assert_eq!(answer.status, 405);
        answer.header("allow").unwrap().to_owned()
    };
    let ask = |method: &str, path: &str| request(method, &format!("{}{path}", gateway.url())).send();
    assert_eq!(allowed(ask("PUT", "/temporary_file/first.txt")), "GET, HEAD, POST, OPTIONS");
    assert_eq!(allowed(ask("GET", "/temporary_file")), "POST, OPTIONS");
    assert_eq!(allowed(ask("POST", "/temporary_upload_path")), "GET, HEAD, OPTIONS");

    assert_eq!(post("/temporary_file/fits", form(&vec![b'x'; 100 << 10])).status, 201);
    post("/temporary_file/n", form(&vec![b'x'; (100 << 10) + 1])).refused(413, 208);
    post("/temporary_file/n", form(&vec![b'x'; 10 << 20])).refused(413, 208);
    let chunked = format!(
        "POST /temporary_file/n HTTP/1.1\r\nHost: h\r\nContent-Type: {KIND}\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{HEAD}\r\n{}",
        HEAD.len(),
        format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16)).repeat(10)
    );
    assert_eq!(raw(&gateway.address().to_string(), chunked.as_bytes()).unwrap().status, 413);
    wait_for("only the one that fits is left", || listed(&gateway) == ["temporary-fits"]);
    assert!(!gateway.directory().join("temporary-n").exists());
}

#[test]
fn ten_thousand_parts_are_not_read() {
    let gateway = Gateway::start(OPEN);
    let field = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n";
    let body = [field.repeat(10_000).as_bytes(), &form(b"x")].concat();
    let answer = request("POST", &format!("{}/temporary_file/n", gateway.url())).body(KIND, body).send();
    answer.refused(400, 105);
    assert!(listed(&gateway).is_empty());
}

#[test]
fn a_large_file_takes_room_on_the_disk_and_not_in_memory() {
    let gateway = Gateway::start(OPEN);
    let url = upload(&gateway, "/temporary_file/small.wav", b"x");
    assert_eq!(get(&url).status, 200);
    let before = most_memory(&gateway);
    let large: Vec<u8> = (0..50_000_000_u32).map(|number| (number % 253) as u8).collect();
    let url = upload(&gateway, "/temporary_file/large.wav", &large);
    let answer = get(&url);
    assert!(answer.body == large, "{} bytes came back", answer.body.len());
    let part = request("GET", &url).header("Range", "bytes=49999990-").send();
    assert_eq!(part.body, large[49_999_990..]);
    let grown = most_memory(&gateway) - before;
    assert!(grown < 20_000_000, "it took {grown} bytes of memory more");
}

#[test]
fn an_upload_that_is_broken_off_leaves_nothing() {
    let gateway = Gateway::start(OPEN);
    let stream = begin(&gateway, "/temporary_file/a.wav");
    drop(stream);
    wait_for("nothing is left", || listed(&gateway).is_empty());
    get(&format!("{}/temporary_file/a.wav", gateway.url())).refused(404, 100);
}

#[test]
fn an_upload_that_takes_too_long_is_refused_and_leaves_nothing() {
    // Long enough for us to see what lies on the disk meanwhile, on a busy machine too.
    let gateway = Gateway::start(&format!("{OPEN}[server]\nrequest_timeout = \"10s\"\n"));
    let mut stream = begin(&gateway, "/temporary_file/a.wav");
    let mut answer = String::new();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    wait_for("nothing is left", || listed(&gateway).is_empty());
}

#[test]
fn files_outlive_the_process_and_half_uploads_do_not() {
    let mut gateway = Gateway::start(OPEN);
    upload(&gateway, "/temporary_file/a.txt", b"hello");
    let stream = begin(&gateway, "/temporary_file/b.wav");
    gateway.kill9();
    drop(stream);
    assert_eq!(listed(&gateway).len(), 2, "kill -9 leaves what was half written");
    gateway.restart();
    wait_for("what was half written is swept away", || listed(&gateway) == ["temporary-a.txt"]);
    assert_eq!(get(&format!("{}/temporary_file/a.txt", gateway.url())).text(), "hello");
}

#[test]
fn the_oldest_goes_when_there_is_no_room_and_all_go_in_time() {
    let limits = "[files]\nmax_file = \"1 KiB\"\nmax_total = \"3 KiB\"\nkeep = \"3s\"\ndirectory = \"@DIR@/files\"\n";
    let gateway = Gateway::start(&format!("{OPEN}{limits}"));
    let urls: Vec<_> =
        (1..=4).map(|number| upload(&gateway, &format!("/temporary_file/{number}"), &[b'x'; 1000])).collect();
    assert!(!listed(&gateway).contains(&"temporary-1".to_owned()), "{:?}", listed(&gateway));
    get(&urls[0]).refused(404, 100);
    wait_for("all are gone", || listed(&gateway).is_empty());
    get(&urls[3]).refused(404, 100);
}

#[test]
fn a_worker_finds_the_file() {
    let worker = "[services.echo.worker]\ncommand = [\"cat\", \"{document}\"]\n";
    let gateway = Gateway::start(&format!("{OPEN}{worker}"));
    let url = upload(&gateway, "/temporary_file", b"a document");
    let answer = request("POST", &format!("{}/echo/annotate", gateway.url())).form(&[("doc_url", &url)]).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let end = end(&gateway, "echo", answer.json()["uuid"].as_str().unwrap());
    assert_eq!((&end["status"], &end["result"]), (&"SUCCESS".into(), &"a document".into()), "{end}");
}

#[test]
fn our_own_files_are_admitted_by_the_public_url() {
    let gateway =
        Gateway::start("[auth]\nmode = \"none\"\n[server]\npublic_url = \"http://127.0.0.1:1\"\n[services.echo]\n");
    let send =
        |url: &str| request("POST", &format!("{}/echo/annotate", gateway.url())).form(&[("doc_url", url)]).send();
    let url = upload(&gateway, "/temporary_file/a.txt", b"x");
    assert_eq!(url, "http://127.0.0.1:1/temporary_file/a.txt");
    assert_eq!(send(&url).status, 200);
    send("http://127.0.0.2:1/temporary_file/a.txt").refused(400, 211);
}
