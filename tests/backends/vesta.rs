//! The worker package that the original's users have: VestaService, from PyPI, and the stub that comes with it.

use crate::{
    celery::{Program, Worker},
    corner::{Corner, LONG},
    support::{Documents, Port, is_state, until},
};
use serde_json::json;

/// The stub takes a document, and gives back what it was asked.
fn works(celery: &'static str, broker: &str) {
    let document = Documents::serve("hello");
    let more =
        "[services.stub]\nqueue = \"@QUEUE@\"\nversion = \"0.4.3\"\n[documents]\nallow_hosts = [\"127.0.0.1\"]\n";
    let corner = Corner::new("vesta", broker, "", more);
    let program = Program { celery, app: "vesta_worker", environment: Vec::new() };
    let worker = Worker::start_as(program, &corner.broker, &corner.queue, corner.gateway.directory(), &[]);
    let url = document.url("a.txt");
    let uuid = corner.submit("stub", &[("doc_url", &url), ("said", "hé ✓")]);
    let done = corner.end("stub", &uuid);
    assert!(is_state(&done, "SUCCESS"), "{done}");
    let result = &done["result"]["result"];
    assert_eq!(result["type"], "Useless");
    assert_eq!(result["value"]["service"]["document"], json!({"url": url, "credentials": null}));
    assert_eq!(result["value"]["service"]["misc"], json!({"doc_url": url, "said": "hé ✓"}));
    assert_eq!(document.served(), 1);

    // Its own exceptions keep their codes: nobody gives this document.
    let gone = Port::hold();
    let failed = corner.submit("stub", &[("doc_url", &format!("http://{}/a.txt", gone.address()))]);
    let failed = corner.end("stub", &failed);
    assert!(is_state(&failed, "FAILURE") && failed["result"]["code"].is_u64(), "{failed}");
    until(LONG, "its worker is counted", || {
        let info = crate::support::get(&format!("{}/stub/info", corner.gateway.url())).json();
        (info["activeWorkers"] == 1).then_some(())
    });
    drop(worker);
}

#[test]
fn it_works_on_a_current_celery() {
    works("SG_TEST_CELERY", "");
}

#[test]
fn it_works_on_the_celery_that_it_asks_for() {
    if std::env::var("SG_TEST_CELERY_VESTA").is_err() {
        #[allow(clippy::print_stderr)] // to the person who reads what was tested
        {
            eprintln!("no Python 2.7 for VestaService and its Celery 4.3: tested with a current Celery alone");
        }
        return;
    }
    works("SG_TEST_CELERY_VESTA", "result_backend = \"amqp\"");
}
