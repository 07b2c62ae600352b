//! A handler in Rust, as `examples/worker.rs` has one.

use crate::{
    place::{Place, SERVICE},
    support::PATIENCE,
};
use gateway_worker::{
    Address, Client, Failure, GuardCommand, HandlerProgress, HandlerTask, Limits, Policy, QueueSpec, RunnerSettings,
    Service, Stop, WorkerOptions, work,
};
use serde_json::{Value, json};
use std::thread;

async fn handle(task: HandlerTask, progress: HandlerProgress) -> Result<Value, Failure> {
    match task.argument["service"]["misc"]["do"].as_str() {
        Some("fail") => Err(Failure::new("DownloadError", "told so")),
        Some("panic") => panic!("told so"),
        Some("wait") => {
            progress.tell(50.0);
            std::future::pending().await
        }
        _ => Ok(json!({"attempt": task.attempt})),
    }
}

#[test]
fn a_handler_is_a_worker_like_any_other() {
    let place = Place::new("handler", "exit 1", "");
    let queue = QueueSpec { name: place.queue.clone(), kind: Default::default(), arguments: Vec::new() };
    let client = Client::new(Policy::default(), Limits::default()).unwrap();
    let runner = RunnerSettings::new(place.file("runs"), GuardCommand::this_binary(), client);
    let service = Service { queue, concurrency: 2, version: "1.2.3".into(), ..Service::handled(SERVICE, handle) };
    let mut options = WorkerOptions::new(Address::parse(place.broker.url()).unwrap(), vec![service], runner);
    options.name = format!("{}-handler", place.queue);
    let stop = Stop::default();
    let asked = stop.clone();
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(2 * PATIENCE, work(options, asked)).await })
    });
    let ends = |what: &str| {
        let uuid = place.submit(&[("do", what)]);
        let status = place.end(&uuid);
        (status["status"].clone(), status["result"].clone())
    };
    assert_eq!(ends("this"), (json!("SUCCESS"), json!({"attempt": 1})));
    assert_eq!(ends("fail"), (json!("FAILURE"), json!({"code": 301, "message": "told so"})));
    assert_eq!(ends("panic").1["code"], 306);
    let waits = place.submit(&[("do", "wait")]);
    place.until(&waits, "PROGRESS");
    crate::support::cancel(&place.gateway, SERVICE, &waits);
    place.holds(0);
    stop.again();
    worker.join().unwrap().expect("it stops in time").unwrap();
}
