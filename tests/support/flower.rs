//! Flower (a web page for Celery's workers) as a process.

use crate::{
    rabbit::{Rabbit, rig},
    support::{PATIENCE, Port, request, until},
};
use serde_json::Value;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// Dropped, it is killed.
pub(crate) struct Flower {
    child: Child,
    url: String,
    _port: Port,
}

impl Flower {
    /// Starts Flower at this broker and waits until it answers. Its log is in `directory`.
    pub(crate) fn start(broker: &Rabbit, directory: &Path) -> Self {
        let port = Port::hold();
        let log = std::fs::File::create(directory.join("flower.log")).unwrap();
        let child = Command::new(rig("SG_TEST_CELERY"))
            .args([
                "--broker",
                broker.url(),
                "flower",
                "--address=127.0.0.1",
                &format!("--port={}", port.address().port()),
            ])
            .env("FLOWER_UNAUTHENTICATED_API", "true")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let url = format!("http://{}", port.address());
        let mut flower = Self { child, url, _port: port };
        until(2 * PATIENCE, "Flower answers", || {
            let ended = flower.child.try_wait().unwrap();
            assert!(ended.is_none(), "Flower ended; its log: {}", directory.join("flower.log").display());
            flower.ask("/api/tasks").is_some().then_some(())
        });
        flower
    }

    /// What it answers, if it is a success.
    pub(crate) fn ask(&self, path: &str) -> Option<Value> {
        self.send("GET", path)
    }

    /// The same, as a POST.
    pub(crate) fn tell(&self, path: &str) -> Option<Value> {
        self.send("POST", path)
    }

    fn send(&self, method: &str, path: &str) -> Option<Value> {
        let answer = request(method, &format!("{}{path}", self.url)).try_send().ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// What it tells of a worker whose name holds this, once it knows it and hears of it by events: from then on it
    /// misses no task.
    pub(crate) fn worker(&self, name: &str) -> Value {
        until(2 * PATIENCE, &format!("Flower sees the worker {name}"), || {
            let heard = self.ask("/api/workers?status=true")?;
            heard.as_object()?.iter().find(|(known, alive)| known.contains(name) && **alive == true)?;
            let workers = self.ask("/api/workers?refresh=true")?;
            let known = workers.as_object()?.keys().find(|known| known.contains(name))?;
            // Since 2.2 the lists of its tasks are asked for only with its name.
            let workers = self.ask(&format!("/api/workers?refresh=true&workername={known}"))?;
            workers.get(known).cloned()
        })
    }

    /// What it tells of a task, once it tells `state`.
    pub(crate) fn task(&self, uuid: &str, state: &str) -> Value {
        until(PATIENCE, &format!("Flower shows {uuid} as {state}"), || {
            self.ask(&format!("/api/task/info/{uuid}")).filter(|task| task["state"] == state)
        })
    }
}

impl Drop for Flower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
