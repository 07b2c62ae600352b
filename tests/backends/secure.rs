//! Broker and Redis over TLS: with the right certificates as without TLS; with others nothing is sent or heard.

use crate::{
    celery::{Program, Worker},
    corner::{LONG, queue},
    rabbit::{Rabbit, rig},
    support::{Gateway, end, get, status, submit, until},
};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

struct Secure {
    broker: String,
    redis: String,
    queue: String,
    /// Certificates of the authorities that the gateway is told to trust.
    trusted: String,
}

impl Secure {
    /// The servers of the rig, by their TLS ports; trusts both of their authorities.
    fn new(name: &str) -> Self {
        let authority = |variable| fs::read_to_string(rig(variable)).unwrap();
        Self {
            broker: rig("SG_TEST_AMQPS_URL"),
            redis: rig("SG_TEST_REDISS_URL"),
            queue: queue(name),
            trusted: authority("SG_TEST_AMQPS_CA") + &authority("SG_TEST_REDISS_CA"),
        }
    }

    fn start(&self, directory: &TempDir) -> Gateway {
        let trusted = directory.path().join("trusted.crt");
        fs::write(&trusted, &self.trusted).unwrap();
        let toml = format!(
            "[broker]\nurl = \"{}\"\npublish_timeout = \"60s\"\nresult_backend = \"{}\"\n[auth]\nmode = \"none\"\n\
             [services.echo]\nqueue = \"{}\"\nrequires_document = false\n",
            self.broker, self.redis, self.queue
        );
        Gateway::start_with(&toml, |command| {
            command.env("SSL_CERT_FILE", &trusted);
        })
    }
}

fn part(gateway: &Gateway, name: &str) -> (u16, String) {
    let answer = get(&format!("{}/readyz", gateway.url()));
    (answer.status, answer.json()["parts"][name].as_str().unwrap_or_default().to_owned())
}

#[test]
fn tasks_go_out_and_results_come_in_over_tls() {
    let (secure, directory, rabbit) = (Secure::new("secure"), TempDir::new().unwrap(), Rabbit::shared());
    let gateway = secure.start(&directory);
    until(LONG, "all is connected", || (part(&gateway, "broker") == (200, "ok".to_owned())).then_some(()));
    // The worker has its own ways to the same servers.
    let program =
        Program { environment: vec![("CELERY_RESULT_BACKEND", rig("SG_TEST_REDIS_URL"))], ..Program::default() };
    let _worker = Worker::start_as(program, &rabbit, &secure.queue, directory.path(), &[]);
    for _ in 0..5 {
        let uuid = submit(&gateway, "echo", &[]);
        let end = end(&gateway, "echo", &uuid);
        assert_eq!((&end["status"], &end["attempts"]), (&"SUCCESS".into(), &1.into()), "{end}");
    }
    assert_eq!(part(&gateway, "results"), (200, "ok".to_owned()));
}

#[test]
fn a_broker_that_nobody_vouches_for_gets_nothing() {
    let other = fs::read_to_string(rig("SG_TEST_REDISS_CA")).unwrap();
    let unknown = Secure { trusted: other, ..Secure::new("unknown") };
    let right = Secure::new("name");
    // Known, but the certificate is for 127.0.0.1.
    let named = Secure { broker: right.broker.replace("127.0.0.1", "localhost"), ..right };
    for secure in [unknown, named] {
        let directory = TempDir::new().unwrap();
        let gateway = secure.start(&directory);
        let uuid = submit(&gateway, "echo", &[]);
        let told = until(LONG, "it is told", || {
            let (code, told) = part(&gateway, "broker");
            (code == 503 && told.contains("certificate")).then_some(told)
        });
        assert!(!told.contains("guest:guest"), "{told}");
        let status = status(&gateway, "echo", &uuid);
        assert_eq!((&status["status"], &status["sent"]), (&"PENDING".into(), &Value::Null), "{told}");
    }
}

#[test]
fn results_are_not_heard_from_a_redis_that_nobody_vouches_for() {
    let other = fs::read_to_string(rig("SG_TEST_AMQPS_CA")).unwrap();
    let (secure, directory) = (Secure { trusted: other, ..Secure::new("redis") }, TempDir::new().unwrap());
    let gateway = secure.start(&directory);
    let told = until(LONG, "it is told", || {
        let (_, told) = part(&gateway, "results");
        told.to_lowercase().contains("certificate").then_some(told)
    });
    assert!(told.contains("Redis") && !told.contains("secret"), "{told}");
}
