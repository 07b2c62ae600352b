//! The exchanges that were recorded of the original gateway, asked again: the same answers, or a difference that is intended.
//!
//! | file | what |
//! |---|---|
//! | `recorded/http.jsonl` | the recording: one exchange a line |
//! | `replay.py` | asks again and compares, field by field |
//! | `intended.py` | the intended differences, each with its reason and its place in the contract |
//! | `worker.py` | the workers that stood behind the original, on the published package VestaService, here with Celery 5 |
//! | `mocks.py` | the document server and the annotation store that stood beside it |

#![allow(clippy::unwrap_used)] // tests

#[path = "../support/celery.rs"]
#[allow(dead_code)] // shared with other test programs
mod celery;
#[path = "../support/rabbit.rs"]
#[allow(dead_code)] // shared with other test programs
mod rabbit;
#[path = "../support/mod.rs"]
mod support;

use celery::{Program, Worker};
use rabbit::{Rabbit, rig, run};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use support::{Gateway, Port, get, until};

/// The key of the recorded tokens: 32 bytes, as the original's users had it.
const KEY: &str = "vJmMvm44x6RJcVXNPy6UDcSfJHOHNHrT1tKpo4IQ4MU=";
/// All exchanges, on a machine that others use too.
const LONG: Duration = Duration::from_secs(400);

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replay")
}

/// The document server and the annotation store.
struct Mocks {
    child: Child,
    address: String,
}

impl Mocks {
    fn start() -> Self {
        let mut command = Command::new(rig("SG_TEST_PYTHON"));
        command.arg(here().join("mocks.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, address: format!("127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Mocks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The services of the recordings; queues are those of this run.
fn services(run: &str) -> String {
    let about = "[services.@NAME@.about]\nname = \"@SHOWN@\"\nsynopsis = \"RESTful service providing service stub.\"\n\
        institution = \"CRIM\"\nrelease_time = \"2015-01-01T00:00:00Z\"\nsupport_email = \"info-cra@crim.ca\"\n\
        category = \"Data Manipulation\"\nresearch_subject = \"system integration\"\ntags = [\"stub\", \" research\"]\n\
        [services.@NAME@.pages]\nhome = \"https://github.com/crim-ca/Service\"\n\
        doc = \"https://github.com/crim-ca/Service#doc\"\nsupport = \"Not available,404\"\nsource = \",204\"\n";
    let mut text = String::new();
    // Name, route, task, queue, version.
    for (name, route, task, queue, version) in [
        ("stub", "stub", "stub", "stub", "0.4.3"),
        ("prog", "prog", "prog", "oq", "1.2.3"),
        ("mismatch", "mismatch", "prog", "oq", "9.9.9"),
        ("fail", "fail", "fail", "oq", "0.4.3"),
        ("retry", "retry", "retry", "oq", "0.4.3"),
        ("longrun", "longrun", "longrun", "oq", "0.4.3"),
        ("store", "store", "store", "oq", "0.4.3"),
        ("started", "started", "started", "oq", "0.4.3"),
        ("noparams", "noparams", "noparams", "oq", "0.4.3"),
        ("multi", "multi", "multi", "oq", "0.4.3"),
        ("ignore", "ignore", "ignore", "oq", "0.4.3"),
        ("progbad", "progbad", "progbad", "oq", "0.4.3"),
        ("unregistered", "unregistered", "doesnotexist", "oq", "0.4.3"),
        ("nobody", "nobody", "nobody", "nobodyqueue", "0.4.3"),
        ("keyname", "otherroute", "stub", "stub", "0.4.3"),
        ("simple_workflow", "simple_workflow", "simple_workflow", "oq", "0.4.3"),
    ] {
        let shown = if name == "stub" { "Stub service".to_owned() } else { format!("{route} service") };
        // Of what is cancelled: a queue of its own, which without the run's name is called as the other one.
        let queue = if ["longrun", "multi"].contains(&name) { format!("{run}.{queue}") } else { queue.to_owned() };
        let document = if name == "noparams" { "requires_document = false\n" } else { "" };
        text += &format!(
            "[services.{name}]\nroute = \"{route}\"\ntask = \"{task}\"\nqueue = \"{run}.{queue}\"\n\
             version = \"{version}\"\n{document}"
        );
        text += &about.replace("@NAME@", name).replace("@SHOWN@", &shown);
    }
    text
}

/// The original's configuration, in ours.
fn config(broker: &str, run: &str, mocks: &Mocks, more: &str) -> String {
    let documents = "[documents]\nget_url = \"http://mss:5000/get/{storage_doc_id}\"\n\
        upload_url = \"http://mss:5000/add\"\nschemes = [\"http\", \"https\", \"ftp\"]\nallow_hosts = [\"127.0.0.1\"]\n";
    let annotations = format!(
        "[annotations]\npost_url = \"http://{}/document/{{ann_doc_id}}/annotations?storageType=2\"\n",
        mocks.address
    );
    format!("[broker]\nurl = \"{broker}\"\npublish_timeout = \"60s\"\n{documents}{annotations}{more}{}", services(run))
}

#[test]
fn every_recorded_exchange_is_answered_as_it_was_or_as_intended() {
    let (broker, mocks) = (Rabbit::shared(), Mocks::start());
    let name = format!("sg-replay.{}", std::process::id());
    let open = "[auth]\nmode = \"none\"\n";
    let tokens = format!("[auth]\nkey = \"{KEY}\"\naudience = \"vlbTest\"\n");
    let start = |more: &str| Gateway::start(&config(broker.url(), &name, &mocks, more));
    let main = start(open);
    let jwt = start(&tokens);
    let short = start(&format!("{open}[store]\nkeep_results = \"2s\"\n"));
    // Nobody listens there.
    let nowhere = Port::hold();
    let away = Gateway::start(&config(&format!("amqp://{}/", nowhere.address()), &name, &mocks, open));
    for gateway in [&main, &jwt, &short] {
        until(LONG, "the broker is there", || (get(&format!("{}/readyz", gateway.url())).status == 200).then_some(()));
    }
    let environment = vec![("PYTHONPATH", format!("{}:{}", here().display(), rabbit::support().display()))];
    let worker = |queues: &str, arguments: &[&str]| {
        let program = Program { celery: "SG_TEST_CELERY", app: "worker", environment: environment.clone() };
        Worker::start_as(program, &broker, queues, main.directory(), arguments)
    };
    // Celery stops the process that has had a cancelled task, and with it whatever that has by then: nothing else shall.
    let workers = [
        worker(&format!("{name}.oq,{name}.stub"), &["--concurrency=6"]),
        worker(&format!("{name}.{name}.oq"), &["--concurrency=4"]),
    ];

    let mut replay = Command::new(rig("SG_TEST_PYTHON"));
    replay.arg(here().join("replay.py")).arg("--recorded").arg(here().join("recorded/http.jsonl"));
    replay.args(["--main", &main.url(), "--jwt", &jwt.url(), "--key", KEY, "--short", &short.url()]);
    replay
        .args(["--down", &away.url(), "--documents", &mocks.address, "--queues", &format!("{name}.")])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = run(&mut replay, LONG);
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    #[allow(clippy::print_stdout)] // what was compared belongs into the log of the tests
    {
        println!("{told}");
    }
    assert!(output.status.success(), "{told}");
    drop(workers);
    for queue in ["oq", "stub", "nobodyqueue", &format!("{name}.oq")] {
        broker.delete(&format!("{name}.{queue}"));
    }
}
