//! Flower beside the gateway: a task shows up there as it is.

use crate::{
    celery::Worker,
    corner::{Corner, LONG},
    rabbit::rig,
    support::{get, until},
};
use serde_json::Value;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

/// Dropped, it is killed.
struct Flower {
    child: Child,
    url: String,
}

impl Flower {
    /// Starts Flower at the corner's broker and waits until it answers.
    fn start(corner: &Corner) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(corner.gateway.directory().join("flower.log")).unwrap();
        let child = Command::new(rig("SG_TEST_CELERY"))
            .args(["--broker", corner.broker.url(), "flower", "--address=127.0.0.1", &format!("--port={port}")])
            .env("FLOWER_UNAUTHENTICATED_API", "true")
            .current_dir(corner.gateway.directory())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let flower = Self { child, url };
        until(LONG, "Flower answers", || (flower.try_ask("/api/tasks").is_some()).then_some(()));
        flower
    }

    fn try_ask(&self, path: &str) -> Option<Value> {
        let answer = crate::support::request("GET", &format!("{}{path}", self.url)).try_send().ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// What it tells of a task, once it tells `state`.
    fn task(&self, uuid: &str, state: &str) -> Value {
        until(LONG, &format!("Flower shows {uuid} as {state}"), || {
            self.try_ask(&format!("/api/task/info/{uuid}")).filter(|task| task["state"] == state)
        })
    }
}

impl Drop for Flower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_task_shows_up_with_its_name_its_arguments_and_its_state() {
    let corner = Corner::new("flower", "", "", "");
    let worker = Worker::start(&corner.broker, &corner.queue, corner.gateway.directory(), &["-E"]);
    let flower = Flower::start(&corner);
    // Flower knows the worker before the tasks come: it listens.
    until(LONG, "Flower sees the worker", || {
        let workers = flower.try_ask("/api/workers?refresh=true")?;
        workers.as_object().is_some_and(|workers| !workers.is_empty()).then_some(())
    });
    let running = corner.submit("sleep", &[("sleep", "60"), ("secret", "pa55word")]);
    let task = flower.task(&running, "STARTED");
    assert_eq!(task["name"], "worker.sleep");
    assert_eq!((&task["args"], &task["kwargs"]), (&"(...)".into(), &"{}".into()), "{task}");
    assert!(!task.to_string().contains("pa55word"), "{task}");
    let cancelled = crate::support::cancel(&corner.gateway, "sleep", &running);
    assert_eq!(cancelled["status"], "REVOKED");
    flower.task(&running, "REVOKED");

    let done = corner.submit("echo", &[]);
    corner.end("echo", &done);
    assert_eq!(flower.task(&done, "SUCCESS")["name"], "worker.echo");
    let failed = corner.submit("fail", &[("msg", "boom")]);
    corner.end("fail", &failed);
    let failed = flower.task(&failed, "FAILURE");
    assert!(failed["exception"].as_str().is_some_and(|exception| exception.contains("boom")), "{failed}");
    // Flower's broker page and its listening do the gateway no harm.
    assert_eq!(get(&format!("{}/readyz", corner.gateway.url())).status, 200);
    drop(worker);
}
