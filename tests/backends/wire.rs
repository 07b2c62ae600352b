//! Our messages as Celery's own library reads them.

use crate::{
    celery::Worker,
    corner::Corner,
    old::{CELERY_3_1, CELERY_4_3, Old},
    rabbit::{rig, run, support},
    support::{PATIENCE, request},
};
use serde_json::{Value, json};
use std::process::Command;

/// What Celery 5's worker knows of the task that waits in this corner's queue.
fn decoded(corner: &Corner) -> Value {
    let mut command = Command::new(rig("SG_TEST_PYTHON"));
    command.arg(support().join("decode_task.py")).args(["--url", corner.broker.url(), "--queue", &corner.queue]);
    let output = run(command.args(["--task", "worker.echo"]), PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn celery_s_own_library_reads_what_we_wrote() {
    for protocol in [2, 1] {
        let corner = Corner::new("wire", &format!("task_protocol = {protocol}"), "run_limit = \"90s\"", "");
        let body =
            json!({"k": "hé ✓", "n": 1.5, "none": null, "list": [1, {"deep": true}], "big": 9_007_199_254_740_993_i64});
        let answer = request("POST", &format!("{}/echo/process?words=a%20b", corner.gateway.url())).json(&body).send();
        let uuid = answer.json()["uuid"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        corner.sent("echo", &uuid);

        let read = decoded(&corner);
        assert_eq!(read["protocol"], protocol);
        for (name, expected) in [
            ("name", json!("worker.echo")),
            ("id", json!(uuid)),
            ("correlation_id", json!(uuid)),
            ("kwargs", json!({})),
            ("embed", json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null})),
            ("time_limits", json!([90, null])),
            ("eta", Value::Null),
            ("expires", Value::Null),
            ("retries", json!(0)),
            ("delivery_mode", json!(2)),
        ] {
            assert_eq!(read[name], expected, "{name} (protocol {protocol})");
        }
        let argument = &read["args"][0];
        assert_eq!(read["args"].as_array().map(Vec::len), Some(1));
        assert_eq!(argument["service"]["type"], "echo");
        assert_eq!(argument["service"]["document"], json!({"url": null, "credentials": null}));
        assert_eq!(argument["annotation_service"], json!({"url": null, "credentials": null, "uuid": null}));
        let mut misc = body.clone();
        misc["words"] = "a b".into();
        assert_eq!(argument["service"]["misc"], misc);
        assert!(read["reply_to"].as_str().unwrap().starts_with("service-gateway.replies."));
        if protocol == 2 {
            assert_eq!((&read["root_id"], &read["parent_id"]), (&json!(uuid), &Value::Null));
            assert_eq!(read["argsrepr"], "(...)");
        }
    }
}

/// What a worker's own Celery has read of a call of ours, and what it should be.
fn reads_the_same_call(corner: &Corner) {
    let body = json!({"k": "hé ✓", "n": 1.5, "none": null, "list": [1, {"deep": true}]});
    let answer = request("POST", &format!("{}/call/process?words=a%20b", corner.gateway.url())).json(&body).send();
    let uuid = answer.json()["uuid"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
    let done = corner.end("call", &uuid);
    let read = &done["result"];
    assert_eq!(done["status"], "SUCCESS", "{done}");
    let id = json!(uuid);
    for (name, expected) in [("name", json!("worker.call")), ("id", id.clone()), ("correlation_id", id)] {
        assert_eq!(read[name], expected, "{name}");
    }
    for name in ["eta", "expires", "callbacks", "errbacks", "chord"] {
        assert_eq!(read[name], Value::Null, "{name}");
    }
    assert_eq!((&read["kwargs"], &read["retries"]), (&json!({}), &json!(0)));
    // Celery 3.1 and 4.3 give both limits in the order that our message has them; 5 too, since its code reads them so.
    assert!(read["timelimit"].as_array().unwrap().contains(&json!(90)), "{read}");
    assert_eq!(read["args"], json!([read["argument"]]));
    let mut misc = body;
    misc["words"] = "a b".into();
    assert_eq!(read["argument"]["service"]["misc"], misc);
    assert_eq!(read["argument"]["service"]["type"], "call");
    assert!(!read["reply_to"].as_str().unwrap().is_empty());
}

#[test]
fn workers_of_each_celery_read_the_same_call() {
    let corner = Corner::new("call5", "", "run_limit = \"90s\"", "");
    let worker = Worker::start(&corner.broker, &corner.queue, corner.gateway.directory(), &[]);
    reads_the_same_call(&corner);
    drop((worker, corner));
    for version in [CELERY_4_3, CELERY_3_1] {
        let broker = format!("result_backend = \"amqp\"\ntask_protocol = {}", version.protocol);
        let corner = Corner::new("callold", &broker, "run_limit = \"90s\"", "");
        // Where the machine has no Python for it, what was recorded is played, and that knows nothing of this task.
        if let Old::Real(worker) = version.worker(&corner) {
            reads_the_same_call(&corner);
            drop(worker);
        }
    }
}
