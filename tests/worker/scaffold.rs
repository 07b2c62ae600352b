//! `service-gateway new-worker`: what it writes is really run, as it stands.

use crate::{
    place::Running,
    rabbit::{Rabbit, rig, run},
    support::{Documents, Gateway, PATIENCE, cli, end, submit, wait_for},
    workers::{Program, Worker},
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};
use tempfile::TempDir;

/// A new worker, in a directory of the test's.
struct New {
    _place: TempDir,
    directory: PathBuf,
    name: String,
}

impl New {
    fn worker(lang: &str) -> Self {
        let place = TempDir::with_prefix("sg-new-").unwrap();
        let name = format!("new-{lang}-{}", std::process::id());
        let output = cli(place.path(), &["new-worker", &name, "--lang", lang]);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert!(output.stdout.starts_with(&format!("{name}: see README.md")), "{}", output.stdout);
        let directory = place.path().join(&name);
        let readme = fs::read_to_string(directory.join("README.md")).unwrap();
        assert!(readme.contains(&name) && readme.lines().count() <= 12, "{readme}");
        let unit = fs::read_to_string(directory.join(format!("{name}-worker.service"))).unwrap();
        let new = Self { _place: place, directory, name };
        new.systemd_takes(&unit);
        let output = cli(&new.directory, &["check"]);
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
        new
    }

    /// systemd reads the unit as it is meant, and the unit lets nobody reach what only a trial may.
    fn systemd_takes(&self, unit: &str) {
        let start =
            unit.lines().find_map(|line| line.strip_prefix("ExecStart=/")).expect("a program by its whole path");
        let program = format!("/{}", start.split(' ').next().unwrap());
        // It looks for the program, too.
        let file = self.directory.join("verified.service");
        fs::write(&file, unit.replace(&program, env!("CARGO_BIN_EXE_service-gateway"))).unwrap();
        let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file), PATIENCE);
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert_eq!(said.lines().find(|line| line.contains("verified.service")), None, "{said}");
        fs::remove_file(file).unwrap();
        let name = format!("{}@%%h", self.name);
        match start {
            celery if celery.contains("celery") => assert!(celery.contains(&format!("--hostname {name} ")), "{celery}"),
            ours if ours.contains("worker --config") => assert!(unit.contains("ALLOW_HOSTS=\n"), "{unit}"),
            _ => {}
        }
    }

    /// Runs a command there; it must succeed.
    fn run(&self, command: &mut Command) -> String {
        let output = run(command.current_dir(&self.directory).env("PYTHONDONTWRITEBYTECODE", "1"), PATIENCE * 2);
        let text = [&*output.stdout, &*output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        assert!(output.status.success(), "{command:?}: {text}");
        text
    }

    /// A gateway with the service table as it was written, at this broker.
    fn gateway(&self, broker: &str) -> Gateway {
        Gateway::start_with("", |command| {
            command.current_dir(&self.directory).env("GATEWAY_BROKER__URL", broker);
        })
    }

    /// Has a document counted.
    fn counts(&self, gateway: &Gateway) {
        let documents = Documents::serve("as many as these");
        let uuid = submit(gateway, &self.name, &[("doc_url", &documents.url("a.txt"))]);
        let status = end(gateway, &self.name, &uuid);
        assert_eq!((&status["status"], &status["result"]["words"]), (&json!("SUCCESS"), &json!(4)), "{status}");
    }
}

#[test]
fn a_command() {
    let new = New::worker("command");
    assert!(new.run(&mut Command::new("./test.sh")).contains("ok"));
    new.counts(&new.gateway("embedded"));
}

#[test]
fn a_function_in_python() {
    let new = New::worker("python");
    new.run(Command::new(rig("SG_TEST_PYTHON")).args(["-m", "unittest"]));
    let broker = Rabbit::shared();
    let gateway = new.gateway(broker.url());
    wait_for("the queue is declared", || broker.queue(&new.name).is_some());
    let environment = vec![
        // The package that comes along, not the one that the rig installed.
        ("PYTHONPATH", new.directory.to_str().unwrap().to_owned()),
        ("SERVICE_GATEWAY_ALLOW_HOSTS", "127.0.0.1".to_owned()),
    ];
    let program = Program { app: "worker", environment, ..Program::default() };
    let _worker = Worker::start_as(program, &broker, &new.name, &new.directory, &[]);
    new.counts(&gateway);
}

/// Compiled against the library as this test was: a build of its own would compile every dependency once more.
#[test]
fn a_function_in_rust() {
    let new = New::worker("rust");
    let mut cargo = Command::new(env!("CARGO"));
    let metadata = new.run(cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]));
    assert!(metadata.contains(&format!("{}-worker", new.name)));
    let library = Library::find();
    new.run(&mut library.rustc("tests", &["--test"]));
    assert!(new.run(&mut Command::new("./tests")).contains("1 passed"));
    new.run(&mut library.rustc("program", &[]));

    let broker = Rabbit::shared();
    let gateway = new.gateway(broker.url());
    wait_for("the queue is declared", || broker.queue(&new.name).is_some());
    let mut program = Command::new(new.directory.join("program"));
    program.env("GATEWAY_BROKER__URL", broker.url()).env("SERVICE_GATEWAY_ALLOW_HOSTS", "127.0.0.1");
    let mut worker = Running::start(&mut program, &new.directory);
    new.counts(&gateway);
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.log());
}

/// The crate gateway-worker, compiled.
struct Library {
    rlib: PathBuf,
    deps: PathBuf,
}

impl Library {
    fn find() -> Self {
        let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libgateway_worker-") && name.ends_with(".rlib")
        };
        let all = fs::read_dir(&deps).unwrap().map(|entry| entry.unwrap().path()).filter(is_ours);
        let made = |path: &PathBuf| fs::metadata(path).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let rlib = all.max_by_key(made).expect("this test is linked with it");
        Self { rlib, deps }
    }

    fn rustc(&self, output: &str, more: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
        command.args(["src/main.rs", "--edition", "2024", "-D", "warnings", "-o", output]).args(more);
        command.args(["--extern".to_owned(), format!("gateway_worker={}", self.rlib.display())]);
        command.arg("-L").arg(format!("dependency={}", self.deps.display()));
        command
    }
}

#[test]
fn mistakes_are_told_and_leave_nothing() {
    let place = TempDir::new().unwrap();
    let told = |arguments: &[&str]| {
        let all: Vec<_> = ["new-worker"].iter().chain(arguments).copied().collect();
        let output = cli(place.path(), &all);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{arguments:?}: {}", output.stderr);
        output.stderr
    };
    for name in ["", "A", "a/b", "..", "a b", "-x", "é"] {
        let arguments = ["--lang", "command", "--", name];
        assert!(told(&arguments).contains("no name for a worker"), "{name}");
    }
    assert!(told(&["platform", "--lang", "command"]).contains("choose another route"), "a path of the gateway's own");
    assert!(told(&["words"]).contains("--lang"));
    assert!(told(&["words", "--lang", "cobol"]).contains("python"));
    assert!(told(&["words", "--lang", "rust", "--source", "."]).contains("--source"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    fs::create_dir(place.path().join("words")).unwrap();
    assert!(told(&["words", "--lang", "python"]).contains("there already"));
    let output = cli(place.path(), &["new-worker", "words", "--lang", "python", "--directory", "nowhere/words"]);
    assert_eq!(output.code, 1, "{}", output.stderr);
}
