//! A gateway that takes a request and dies: which requests go to the other one?

use crate::{
    OPEN, STUB,
    proxy::{Mount, Nginx},
    support::*,
};
use std::{
    io::Read,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

/// Reads each request and closes the connection without a word.
struct Dying {
    address: SocketAddr,
    read: Arc<AtomicUsize>,
}

impl Dying {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                count.fetch_add(1, SeqCst);
            }
        });
        Self { address, read }
    }
}

/// How many submissions the gateway has accepted.
fn accepted(gateway: &Gateway) -> u64 {
    get(&format!("{}/stub/stats", gateway.url())).json()["invocations"].as_u64().unwrap()
}

#[test]
fn a_submission_is_never_sent_twice_unless_its_key_makes_it_one() {
    let (gateway, dying) = (Gateway::start(&[OPEN, STUB].concat()), Dying::new());
    let nginx = Nginx::start(Mount::Prefix, [dying.address, gateway.address()]);
    let url = format!("{}/gateway/stub/annotate", nginx.url());
    let (mut lost, mut good) = (0, 0);
    for _ in 0..20 {
        match request("POST", &url).form(&[("a", "b")]).send().status {
            200 => good += 1,
            502 => lost += 1,
            other => panic!("{other}"),
        }
    }
    assert!(lost > 0 && good > 0, "{lost} {good}: both were asked");
    assert_eq!(accepted(&gateway), good, "what one has read the other does not get");
    // One more for the error page, which is a question and may be asked again.
    assert!(dying.read.load(SeqCst) >= lost, "{lost}");

    // With a key every one of them comes through, and is one task.
    for number in 0..10 {
        let answer =
            request("POST", &url).header("Idempotency-Key", &format!("key-{number}")).form(&[("a", "b")]).send();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(accepted(&gateway), good + 10);

    // So does every question.
    for _ in 0..10 {
        assert_eq!(get(&format!("{}/gateway/stub/info", nginx.url())).status, 200);
    }
}

#[test]
fn a_gateway_that_is_down_costs_no_submission() {
    let gateway = Gateway::start(&[OPEN, STUB].concat());
    let down = Port::hold();
    let nginx = Nginx::start(Mount::Prefix, [down.address(), gateway.address()]);
    let url = format!("{}/gateway/stub/annotate", nginx.url());
    for _ in 0..20 {
        let answer = request("POST", &url).form(&[("a", "b")]).send();
        assert_eq!(answer.status, 200, "not sent, so it may go to the other: {} {}", answer.text(), nginx.errors());
    }
    assert_eq!(accepted(&gateway), 20);
}
