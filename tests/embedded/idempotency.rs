//! The same submission twice, with an Idempotency-Key.

use crate::{OPEN, shell, starts, support::*};

fn submit_as(gateway: &Gateway, path: &str, key: &str, token: Option<&str>) -> Answer {
    let mut request = request("POST", &format!("{}/{path}", gateway.url())).header("Idempotency-Key", key);
    if let Some(token) = token {
        request = request.token(token);
    }
    request.send()
}

const NOTED: &str = "echo \"$SERVICE_GATEWAY_TASK $SERVICE_GATEWAY_RUN $$\" >> @DIR@/ran; echo 1";

#[test]
fn the_same_request_gives_the_same_task_and_another_is_refused() {
    let mut gateway = Gateway::start(&[OPEN, &shell("stub", NOTED, ""), &shell("other", "echo 2", "")].concat());
    let uuid =
        |answer: &Answer| answer.json()["uuid"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
    let first = uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "key-1", None));
    assert_eq!(uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "key-1", None)), first);
    assert_eq!(uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "\"key-1\"", None)), first, "quoted or not");
    end(&gateway, "stub", &first);
    assert_eq!(uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "key-1", None)), first, "also after its end");

    for other in ["stub/annotate?a=1&b=3", "stub/annotate", "stub/process?a=1&b=2", "other/annotate?a=1&b=2"] {
        submit_as(&gateway, other, "key-1", None).refused(422, 209);
    }
    assert_ne!(uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "key-2", None)), first);
    for bad in ["", "two words", "\"open", &"k".repeat(256), "é"] {
        submit_as(&gateway, "stub/annotate", bad, None).refused(400, 209);
    }

    gateway.kill9();
    gateway.restart();
    assert_eq!(uuid(&submit_as(&gateway, "stub/annotate?a=1&b=2", "key-1", None)), first, "also after a crash");
    submit_as(&gateway, "stub/annotate?a=1&b=3", "key-1", None).refused(422, 209);
    assert_eq!(starts(&gateway).iter().filter(|start| start.uuid == first).count(), 1, "it ran once");
}

#[test]
fn twenty_at_once_make_one_task() {
    let gateway = Gateway::start(&[OPEN, &shell("stub", NOTED, "")].concat());
    let submit = || submit_as(&gateway, "stub/annotate", "one", None).json()["uuid"].as_str().map(str::to_owned);
    let mut uuids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(submit)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    // One that comes while another is being written may be told so (409); it gets no other task.
    uuids.dedup();
    assert_eq!(uuids.len(), 1, "{uuids:?}");
    end(&gateway, "stub", &uuids[0]);
    assert_eq!(starts(&gateway).len(), 1);
}

#[test]
fn keys_are_each_subjects_own() {
    let gateway = Gateway::start(&[AUTH, &shell("stub", "echo 1", "")].concat());
    let (ann, bob) = (gateway.token(&["--subject", "ann"]), gateway.token(&["--subject", "bob"]));
    let of = |token: &str, path: &str| submit_as(&gateway, path, "same", Some(token));
    let anns = of(&ann, "stub/annotate?a=1");
    assert_eq!(of(&ann, "stub/annotate?a=1").json(), anns.json());
    let bobs = of(&bob, "stub/annotate?a=2");
    assert_eq!(bobs.status, 200, "{}", bobs.text());
    assert_ne!(bobs.json(), anns.json());
}
