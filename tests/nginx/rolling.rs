//! Two gateways on one PostgreSQL and one RabbitMQ are restarted one after the other, while clients submit and ask.

use crate::{
    OPEN,
    celery::Worker,
    postgres::Postgres,
    proxy::{Mount, Nginx},
    rabbit::Rabbit,
    support::*,
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(120);
/// Clients that submit, without keys: nothing may be lost, and nothing doubled.
const SUBMITTING: usize = 4;
/// Clients that ask.
const ASKING: usize = 2;

fn gateway(store: &Postgres, broker: &Rabbit, queue: &str) -> Gateway {
    let toml = format!(
        "{OPEN}[broker]\nurl = \"{}\"\n[store]\nurl = \"{}\"\n[services.echo]\nqueue = \"{queue}\"\nrequires_document = false\n",
        broker.url(),
        store.url()
    );
    let gateway = Gateway::start(&toml);
    ready(&gateway);
    gateway
}

fn ready(gateway: &Gateway) {
    until(LONG, "the gateway is ready", || (get(&format!("{}/readyz", gateway.url())).status == 200).then_some(()));
}

#[test]
fn no_request_fails_while_gateways_are_restarted() {
    let (store, broker, directory) =
        (Postgres::shared(), Rabbit::shared(), TempDir::with_prefix("sg-test-rolling-").unwrap());
    let queue = format!("sg-test.rolling.{}", uuid::Uuid::now_v7());
    let mut gateways = [gateway(&store, &broker, &queue), gateway(&store, &broker, &queue)];
    let _worker = Worker::start(&broker, &queue, directory.path(), &["--concurrency=2"]);
    let nginx = Nginx::start(Mount::Prefix, gateways.each_ref().map(Gateway::address));
    let url = format!("{}/gateway/echo", nginx.url());

    let (enough, submitted, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let submit = || {
        let mut uuids = Vec::new();
        while !enough.load(Relaxed) {
            let answer = request("POST", &format!("{url}/annotate")).form(&[("n", "1")]).try_send();
            let answer = answer.unwrap_or_else(|why| panic!("a submission failed: {why}\n{}", nginx.errors()));
            assert_eq!(answer.status, 200, "{}\n{}", answer.text(), nginx.errors());
            uuids.push(answer.json()["uuid"].as_str().unwrap().to_owned());
            submitted.fetch_add(1, Relaxed);
        }
        uuids
    };
    let ask = || {
        while !enough.load(Relaxed) {
            // Not its statistics: those are 503 until a gateway that starts has its broker.
            let answer = get(&format!("{url}/info"));
            assert_eq!(answer.status, 200, "{}\n{}", answer.text(), nginx.errors());
            asked.fetch_add(1, Relaxed);
        }
    };
    let more = || {
        let (before, then) = (submitted.load(Relaxed), asked.load(Relaxed));
        until(LONG, "requests go on", || {
            (submitted.load(Relaxed) >= before + 100 && asked.load(Relaxed) >= then + 50).then_some(())
        });
    };
    let uuids: Vec<String> = std::thread::scope(|scope| {
        let submitting: Vec<_> = (0..SUBMITTING).map(|_| scope.spawn(submit)).collect();
        let asking: Vec<_> = (0..ASKING).map(|_| scope.spawn(ask)).collect();
        let mut restarts = || {
            for _ in 0..2 {
                for gateway in &mut gateways {
                    more();
                    gateway.stop_and_start();
                    ready(gateway);
                }
            }
            more();
        };
        // Clients end also when a restart fails: the scope waits for them.
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut restarts));
        enough.store(true, Relaxed);
        for client in asking {
            client.join().unwrap();
        }
        let uuids = submitting.into_iter().flat_map(|client| client.join().unwrap()).collect();
        restarted.unwrap();
        uuids
    });
    let kept = store.number("SELECT count(*) FROM service_gateway.task");
    assert_eq!(kept, uuids.len() as i64, "each submission is one task");
    let distinct: std::collections::HashSet<_> = uuids.iter().collect();
    assert_eq!(distinct.len(), uuids.len());
    // The last are the least sure.
    for uuid in uuids.iter().rev().take(50) {
        let end = until(LONG, "its end", || Some(status(&gateways[0], "echo", uuid)).filter(is_end));
        assert_eq!(end["status"], "SUCCESS", "{end}");
    }
}
