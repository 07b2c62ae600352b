//! Queues that are missing or otherwise than configured; how many workers there are.

use crate::{
    corner::{Corner, LONG, common, names},
    rabbit::Rabbit,
    support::until,
};
use lapin::types::AMQPValue;
use serde_json::Value;

#[test]
fn a_task_without_a_queue_waits_until_there_is_one() {
    let corner = Corner::new("unroutable");
    corner.broker.delete(&corner.queue);
    let uuid = corner.submit("echo", &[]);
    until(LONG, "it is told that there is no queue", || {
        corner.gateway.log().lines().any(|line| line.contains(&uuid) && line.contains(&corner.queue)).then_some(())
    });
    let status = corner.status("echo", &uuid);
    assert_eq!((&status["status"], &status["sent"]), (&"PENDING".into(), &Value::Null), "{status}");
    // The worker declares it.
    let _worker = corner.worker(&[]);
    let end = corner.end("echo", &uuid);
    assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &1.into()), "{end}");
}

#[test]
fn a_queue_with_other_arguments_is_told_and_used_as_it_is() {
    let (queue, _) = names("mismatch");
    let broker = Rabbit::shared();
    broker.declare(&queue, &[("x-max-priority", AMQPValue::LongInt(5))]);
    let service = format!("[services.other]\ntask = \"echo\"\nqueue = \"{queue}\"\nrequires_document = false\n");
    let corner = Corner::with("mismatch", broker, &service);
    let (status, parts) = until(LONG, "the mismatch is told", || {
        Some(corner.ready()).filter(|(_, parts)| parts["broker"] == "ok" && parts["queues"] != "ok")
    });
    let told = parts["queues"].as_str().unwrap();
    assert_eq!(status, 200, "{parts}");
    assert!(told.contains(&queue) && told.contains("x-max-priority") && told.contains("used as it is"), "{told}");
    let directory = corner.gateway.directory();
    let arguments = ["task.queue_max_priority=5"];
    let _worker = crate::celery::Worker::start(&corner.broker, &queue, directory, &arguments);
    let end = corner.end("other", &corner.submit("other", &[]));
    assert_eq!(end["status"], "SUCCESS", "{end}");
}

#[test]
fn results_that_die_with_the_broker_are_warned_of() {
    let corner = Corner::new("fleeting");
    let worker = corner.worker(&[]);
    assert_eq!(corner.end("echo", &corner.submit("echo", &[]))["status"], "SUCCESS");
    assert_eq!(corner.ready().1["results"], "ok");
    worker.stop();
    let _careless = corner.worker(&["result.persistent=0"]);
    assert_eq!(corner.end("echo", &corner.submit("echo", &[]))["status"], "SUCCESS");
    let (status, parts) = corner.ready();
    let told = parts["results"].as_str().unwrap();
    assert!(status == 200 && told.contains("result_persistent"), "{status} {parts}");
}

#[test]
fn workers_are_counted() {
    let corner = Corner::new("counted");
    let count = || corner.get("/echo/info").json()["activeWorkers"].as_u64();
    // A broker that a busy machine lets answer late is asked again: until then their number is not known.
    until(LONG, "no worker", || (count() == Some(0)).then_some(()));
    let first = corner.worker(&[]);
    until(LONG, "one worker", || (count() == Some(1)).then_some(()));
    let _second = corner.worker(&[]);
    until(LONG, "two workers", || (count() == Some(2)).then_some(()));
    first.stop();
    until(LONG, "one worker again", || (count() == Some(1)).then_some(()));
}

#[test]
fn results_have_a_queue_of_this_installation_alone() {
    let corner = common();
    let id = corner.replies.strip_prefix("service-gateway.replies.").expect("the default name");
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
    assert_eq!(corner.broker.queue(&corner.replies).map(|queue| queue.consumers), Some(1));
}
