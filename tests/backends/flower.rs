//! Flower beside the gateway: a task shows up there as it is.

use crate::{celery::Worker, corner::Corner, shown::Flower, support::get};

#[test]
fn a_task_shows_up_with_its_name_its_arguments_and_its_state() {
    let corner = Corner::new("flower", "", "", "");
    let worker = Worker::start(&corner.broker, &corner.queue, corner.gateway.directory(), &["-E"]);
    let flower = Flower::start(&corner.broker, corner.gateway.directory());
    // Flower hears the worker before the tasks come.
    flower.worker(worker.name());
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
