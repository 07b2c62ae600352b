//! A full outbox, a broker short of memory, one that loses patience: nothing is lost, and clients are told.

use crate::{
    celery::Worker,
    corner::{Corner, LONG, PATIENT},
    gate::Gate,
    postgres::Postgres,
    proxy::Proxy,
    rabbit::Rabbit,
    support::{Answer, request, until},
};
use std::time::{Duration, Instant};

fn submit(corner: &Corner, service: &str) -> Answer {
    request("POST", &format!("{}/{service}/annotate", corner.gateway.url())).send()
}

/// A node, reached through a network that can be cut.
fn behind_a_proxy(keys: &str, toml: &str) -> (Corner, Proxy) {
    let broker = Rabbit::shared();
    let mut url = url::Url::parse(broker.url()).unwrap();
    let proxy = Proxy::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
    url.set_ip_host(proxy.address().ip()).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    let corner = Corner::at("pressure", broker, url.as_str(), keys, toml);
    corner.connected();
    (corner, proxy)
}

#[test]
fn an_outbox_that_is_full_says_so_and_one_queue_fills_half_of_it() {
    let apart = "[services.apart]\ntask = \"echo\"\nqueue = \"@QUEUE@.apart\"\nrequires_document = false\n";
    let (corner, network) = behind_a_proxy(&format!("outbox_depth = 6\n{PATIENT}"), apart);
    network.cut();
    corner.cannot_publish();
    let mut accepted: Vec<_> = (0..3).map(|_| corner.submit("echo", &[])).collect();
    let refuse = |service| {
        let asked = Instant::now();
        let answer = submit(&corner, service);
        let seconds = answer.header("retry-after").unwrap_or_else(|| panic!("{}", answer.text())).parse::<u32>();
        assert!(seconds.unwrap() > 0);
        answer.refused(503, 205);
        assert!(asked.elapsed() >= Duration::from_millis(900), "it waits a moment for a place: {:?}", asked.elapsed());
    };
    refuse("echo");
    refuse("custom_state"); // of the same queue
    // Another queue still has its places, until there are none at all.
    accepted.extend((0..3).map(|_| corner.submit("apart", &[])));
    refuse("apart");
    assert_eq!(corner.status("echo", &accepted[0])["status"], "PENDING", "status goes on");

    let healed = Instant::now();
    network.heal();
    for (n, uuid) in accepted.iter().enumerate() {
        corner.sent(if n < 3 { "echo" } else { "apart" }, uuid);
    }
    // Within 5 s on a machine that has time for us.
    assert!(healed.elapsed() < Duration::from_secs(60), "{:?}", healed.elapsed());
    accepted.truncate(3);
    accepted.push(corner.submit("echo", &[]));
    let _worker = corner.worker(&[]);
    for uuid in &accepted {
        let end = corner.end("echo", uuid);
        assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &1.into()), "{end}");
    }
}

#[test]
fn a_broker_short_of_memory_gets_each_task_once() {
    let (broker, timeout) = (Rabbit::own(), Duration::from_secs(15));
    let url = broker.url().to_owned();
    let corner = Corner::at("memory", broker, &url, &format!("publish_timeout = \"{}s\"\n", timeout.as_secs()), "");
    corner.connected();
    let worker = corner.worker(&[]);
    let runs = |uuid: &str| worker.log().matches(&format!("[{uuid}] received")).count();
    corner.end("echo", &corner.submit("echo", &[]));
    corner.broker.ctl(&["set_vm_memory_high_watermark", "0"]);
    let accepted: Vec<_> = (0..30).map(|_| corner.submit("echo", &[])).collect();
    let parts = until(LONG, "the alarm is told", || {
        Some(corner.ready().1).filter(|parts| parts["broker"].as_str().is_some_and(|text| text.contains("memory")))
    });
    assert_eq!((&parts["store"], corner.get("/livez").status), (&"ok".into(), 200), "{parts}");
    // What the broker was given waits in its socket, and is not sent again.
    let told = Instant::now();
    until(LONG, "longer than publish_timeout", || (told.elapsed() > timeout + Duration::from_secs(2)).then_some(()));
    let pending = corner.status("echo", &accepted[29]);
    assert_eq!((&pending["status"], &pending["sent"]), (&"PENDING".into(), &serde_json::Value::Null), "{pending}");

    corner.broker.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    for uuid in &accepted {
        let end = corner.end("echo", uuid);
        assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &1.into()), "{end}");
        assert_eq!(runs(uuid), 1, "{uuid}");
    }
    corner.connected();
}

/// The store is away for longer than the broker waits for a receipt: it closes our channel, and gives the result again.
#[test]
fn results_outlast_the_brokers_patience() {
    let (broker, store) = (Rabbit::own(), Postgres::own());
    broker.ctl(&["eval", "[application:set_env(rabbit, K, 2000) || K <- [consumer_timeout, channel_tick_interval]]."]);
    let corner = Corner::with("patience", broker, &format!("[store]\nurl = \"{}\"\n", store.url()));
    corner.connected();
    let _worker: Worker = corner.worker(&[]);
    let gate = Gate::new();
    let uuid = corner.submit("sleep", &[("sleep", "0"), ("gate", gate.name())]);
    corner.state("sleep", &uuid, "STARTED");
    store.stop();
    gate.open();
    until(LONG, "the broker loses patience", || {
        let log = corner.gateway.log();
        (log.contains("PRECONDITION_FAILED") || log.contains("delivery acknowledgement")).then_some(())
    });
    store.start();
    corner.connected();
    let end = corner.end("sleep", &uuid);
    assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &1.into()), "{end}");
    corner.connected();
    until(LONG, "nothing is left unacknowledged", || (corner.broker.messages(&corner.replies) == 0).then_some(()));
}
